"""Configuration of a training run: TOML to frozen dataclasses, nothing unknown accepted."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from catalogs.errors import ScannerError


@dataclass(frozen=True)
class Model:
    """Shape of the masked autoencoder; ``dim`` must divide by 4 (sin-cos positions) and by ``heads``."""

    bands: tuple[str, ...] = ("u", "g", "r", "i", "z")
    pixel_scale: float = 0.18577  # arcsec
    window: int = 64
    patch: int = 8
    dim: int = 192
    depth: int = 12
    heads: int = 3
    decoder_dim: int = 128
    decoder_depth: int = 4
    decoder_heads: int = 4
    mask_ratio: float = 0.75
    normalised_target: bool = False  # targets of zero mean and unit variance in every patch

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise _bad(f"bands {list(self.bands)} are empty or repeat")
        if self.window % self.patch:
            raise _bad(f"window {self.window} is not a multiple of patch {self.patch}")
        for name, dim, heads in (("", self.dim, self.heads), ("decoder_", self.decoder_dim, self.decoder_heads)):
            if dim % 4 or dim % heads:
                raise _bad(f"{name}dim {dim} must divide by 4 and by {name}heads {heads}")
        if not 0 < self.mask_ratio < 1:
            raise _bad(f"mask_ratio {self.mask_ratio} must lie between 0 and 1")

    @property
    def patches(self) -> int:
        return (self.window // self.patch) ** 2


@dataclass(frozen=True)
class Augment:
    """What the loader does to a stored cutout; all of it is drawn from (seed, epoch, row)."""

    jitter: int = 4  # px: the crop's centre moves by up to this much along each axis
    flips: bool = True  # one of the 8 flips and quarter turns
    drop_band: float = 0.15  # chance that a band is hidden from the encoder; one band always stays
    drop_patch: float = 0.0  # chance that a patch of one band alone is hidden
    noise: float = 0.0  # noise is added, of up to so many times the sky noise of the cutout's band


@dataclass(frozen=True)
class Objective:
    """What is learned beside the reconstruction; with all weights 0 the model is a plain masked autoencoder.

    ``contrast`` and ``simulated`` need two views of every cutout: a step then holds twice the images of ``batch``.
    """

    contrast: float = 0.0  # weight of: two masked views of an object are told from all others of the batch (InfoNCE)
    temperature: float = 0.1
    simulated: float = 0.0  # weight of: what the simulator put there (galaxy, star, look-alike, lens)
    denoise: float = 0.0  # weight of: visible pixels too are predicted, as they were before ``noise`` was added
    projection: int = 128  # dimensions in which views are compared; thrown away after the training
    pooling: str = "gaussian"  # the vector that the terms see; export pools alike

    @property
    def views(self) -> int:
        return 2 if self.contrast or self.simulated else 1


@dataclass(frozen=True)
class Data:
    """Which cutouts an epoch holds: every training row of the shards once, some sources more often."""

    repeat: Mapping[str, int] = field(default_factory=dict)  # source of a shard in the manifest -> times an epoch


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and cosine decay. One step sees ``batch`` cutouts, over all ranks and micro-batches."""

    steps: int = 4000
    batch: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    final_lr: float = 1e-5
    warmup: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    ema: float = 0.0  # decay a step of the averaged weights, which are then what is kept; 0: the last weights are

    def __post_init__(self) -> None:
        if self.batch % self.accumulate:
            raise _bad(f"batch {self.batch} is not a multiple of accumulate {self.accumulate}")
        if not 0 <= self.ema < 1:
            raise _bad(f"ema {self.ema} must lie between 0 and 1")


@dataclass(frozen=True)
class Run:
    """How the run is carried out; none of it changes the model except ``seed`` and ``precision``."""

    seed: int = 0
    precision: str = "float32"  # or "bfloat16": autocast
    threads: int = 0  # of torch; 0 = its own choice
    loaders: int = 0  # processes that make batches; 0 = one thread, enough for a CPU
    log_every: int = 10
    validate_every: int = 500
    validate_rows: int = 2048
    checkpoint_every: int = 250
    calibrate_rows: int = 4096
    embed_rows: int = 10_000

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise _bad(f"precision {self.precision!r} is neither float32 nor bfloat16")


@dataclass(frozen=True)
class Config:
    """One training run. ``name`` ends up in the model's contract."""

    name: str = "unnamed"
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    objective: Objective = field(default_factory=Objective)
    optimiser: Optimiser = field(default_factory=Optimiser)
    run: Run = field(default_factory=Run)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], source: str = "the configuration") -> Config:
        """Raises ``ScannerError`` ``config.bad``, which names the key, for anything unknown or of another type."""
        parts: dict[str, type] = {
            part.name: get_type_hints(cls)[part.name] for part in fields(cls) if part.name != "name"
        }
        _refuse_unknown(tables, cls, source, "at the top")
        try:
            built = {key: _build(parts[key], tables[key], source, key) for key in parts if key in tables}
            return cls(**{**tables, **built})
        except TypeError as error:
            raise _bad(f"{source}: {error}") from error


def read(path: Path) -> Config:
    """Read a TOML configuration; ``config.missing`` or ``config.bad`` where it cannot be."""
    try:
        return Config.from_dict(tomllib.loads(path.read_text("utf-8")), str(path))
    except FileNotFoundError as error:
        raise ScannerError("config.missing", f"There is no configuration {path}.", "See training/configs.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(f"{path} is not TOML: {error}") from error


def _build(part: type, table: Any, source: str, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise _bad(f"{source}: [{where}] must be a table")
    _refuse_unknown(table, part, source, f"in [{where}]")
    hints = get_type_hints(part)
    return part(**{key: _typed(value, hints[key], f"{source}: {key} in [{where}]") for key, value in table.items()})


def _typed(value: Any, hint: Any, what: str) -> Any:
    if str(hint).startswith("tuple") and isinstance(value, list | tuple):
        return tuple(value)
    if str(hint).startswith("collections.abc.Mapping") and isinstance(value, Mapping):
        return dict(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _bad(f"{what} must be {getattr(hint, '__name__', hint)}, not {value!r}")
    return value


def _refuse_unknown(table: Mapping[str, Any], part: type, source: str, where: str) -> None:
    known = [f.name for f in fields(part)]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise _bad(f"{source}: unknown key {unknown[0]!r} {where}; known: {', '.join(known)}")


def _bad(why: str) -> ScannerError:
    return ScannerError(
        "config.bad", f"Bad configuration: {why}.", "training/configs/small.toml is a complete example."
    )

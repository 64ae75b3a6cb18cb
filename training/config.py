"""Configuration of a training run: TOML to frozen dataclasses; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_toml, read_record
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.bands import BANDS

POOLINGS = ("mean", "cls", "central", "gaussian")
"""Ways to pool patches to one vector; see ``training.model.pooling``."""
RETIRED = ("keep", "keep_share")
"""Keys of ``[score]`` in what earlier versions recorded."""


@dataclass(frozen=True)
class Model:
    """Shape of the masked autoencoder; ``dim`` is a multiple of 4 (sin-cos positions) and of ``heads``."""

    bands: tuple[str, ...] = BANDS
    pixel_scale: float = PIXEL_SCALE  # arcsec
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
        _at_least(1, self, "window", "patch", "dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")
        _positive(self, "pixel_scale")
        if self.window % self.patch:
            raise _bad(f"window {self.window} is not a multiple of patch {self.patch}")
        for name, dim, heads in (("", self.dim, self.heads), ("decoder_", self.decoder_dim, self.decoder_heads)):
            if dim % 4 or dim % heads:
                raise _bad(f"{name}dim {dim} must be a multiple of 4 and of {name}heads {heads}")
        if not 0 < self.mask_ratio < 1 or int(self.patches * (1 - self.mask_ratio)) == 0:
            raise _bad(f"mask_ratio {self.mask_ratio} must lie between 0 and 1 and leave a visible patch")

    @property
    def patches(self) -> int:
        return (self.window // self.patch) ** 2


@dataclass(frozen=True)
class Augment:
    """Augmentation of a stored cutout; all of it is drawn from (seed, epoch, row)."""

    jitter: int = 4  # px: the crop's centre moves by up to this much along each axis
    flips: bool = True  # one of the 8 flips and quarter turns
    drop_band: float = 0.15  # chance that a band is hidden from the encoder; one band always stays
    drop_patch: float = 0.0  # chance that a patch of one band alone is hidden
    noise: float = 0.0  # most added noise, in units of the background noise of the cutout's band

    def __post_init__(self) -> None:
        _at_least(0, self, "jitter", "noise")
        _share(self, "drop_band", "drop_patch")


@dataclass(frozen=True)
class Objective:
    """Weights of the terms beside the reconstruction; with all of them 0 the model is a plain masked autoencoder.

    ``contrast`` and ``simulated`` need two views of every cutout: a step then holds twice the images of ``batch``.
    """

    contrast: float = 0.0  # weight of telling views of an object from all others of the micro-batch (InfoNCE)
    temperature: float = 0.1
    simulated: float = 0.0  # weight of the kind of simulated objects (galaxy, star, look-alike, lens)
    denoise: float = 0.0  # weight of predicting visible pixels as they were before ``noise`` was added
    projection: int = 128  # dimensions in which views are compared; dropped after the training
    pooling: str = "gaussian"  # of the vectors that the terms use; an export pools in the same way

    def __post_init__(self) -> None:
        _at_least(0, self, "contrast", "simulated", "denoise")
        _at_least(1, self, "projection")
        _positive(self, "temperature")
        if self.pooling not in POOLINGS:
            raise _bad(f"pooling {self.pooling!r} is none of {', '.join(POOLINGS)}")

    @property
    def views(self) -> int:
        return 2 if self.contrast or self.simulated else 1


@dataclass(frozen=True)
class Data:
    """Cutouts of an epoch: every training row of the shards once, some sources more often.

    With ``lenses`` only so many painted ones are used, drawn by the seed of the run. They are repeated in place of the
    others, so that the share of lenses stays.
    """

    repeat: Mapping[str, int] = field(default_factory=dict)  # source in the manifest -> times in an epoch
    lenses: int = 0  # painted lenses, each with its host and look-alike; 0: all

    def __post_init__(self) -> None:
        _at_least(0, self, "lenses")
        for source, times in self.repeat.items():
            if times < 0:
                raise _bad(f"repeat of {source!r} must be at least 0, not {times}")


@dataclass(frozen=True)
class Score:
    """Lens score of the third stage; without ``classes`` there is none, and the run pre-trains an autoencoder.

    ``classes`` are labels of the cutouts, first ``lens``; a cutout of another label counts as ``galaxy``. The
    first ``given`` of them have a score in the exported file, at the log-odds of ``prevalence``.
    """

    classes: tuple[str, ...] = ()
    given: int = 1
    hidden: int = 256  # width of the head
    pooling: str = "gaussian"  # of the patches that the head sees beside the class token
    whitening: float = 0.8  # of the embedding, whose statistics are computed anew after the training
    frozen: bool = False  # only the head is trained, and the embedding stays as it is
    smoothing: float = 0.05  # of the labels
    blend: float = 1.0  # share of the weights of this stage in those that are kept; the rest are those it began with
    prevalence: float = 0.001  # share of lenses among the objects of a scan, which the scores are calibrated to

    def __post_init__(self) -> None:
        if self.classes and (self.classes[0] != "lens" or "galaxy" not in self.classes):
            raise _bad(f"classes {list(self.classes)} must begin with lens, and have galaxy among them")
        if len(set(self.classes)) != len(self.classes):
            raise _bad(f"classes {list(self.classes)} repeat")
        if self.classes and not 1 <= self.given < len(self.classes):
            raise _bad(f"given {self.given} must be at least 1 and less than the number of classes")
        if self.pooling not in POOLINGS:
            raise _bad(f"pooling {self.pooling!r} is none of {', '.join(POOLINGS)}")
        _at_least(1, self, "hidden")
        _share(self, "whitening", "smoothing", "blend")
        if not 0 < self.prevalence < 1:
            raise _bad(f"prevalence {self.prevalence} must lie between 0 and 1")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scores in the exported file."""
        return self.classes[: self.given]


@dataclass(frozen=True)
class Optimiser:
    """AdamW with linear warm-up and cosine decay. A step takes ``batch`` cutouts, over all ranks and micro-batches."""

    steps: int = 4000
    batch: int = 128
    accumulate: int = 1
    lr: float = 1e-3
    final_lr: float = 1e-5
    warmup: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    ema: float = 0.0  # decay a step of averaged weights, which are then kept; 0: the last weights are kept

    def __post_init__(self) -> None:
        _at_least(1, self, "steps", "batch", "accumulate")
        _at_least(0, self, "lr", "final_lr", "warmup", "weight_decay")
        _positive(self, "clip")
        if self.batch % self.accumulate:
            raise _bad(f"batch {self.batch} is not a multiple of accumulate {self.accumulate}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in (*self.betas, self.ema)):
            raise _bad(f"ema {self.ema} and two betas {self.betas} must lie between 0 and 1")


@dataclass(frozen=True)
class RunOptions:
    """Execution of the run.

    ``seed``, ``precision`` and ``calibrate_rows`` (by the stretch of pixels) change the weights; ``embed_rows`` changes
    how an export is centred and rotated. The other options change nothing that is kept.
    """

    seed: int = 0
    precision: str = "float32"  # or "bfloat16": autocast
    threads: int = 0  # of torch; 0: its default
    loaders: int = 0  # processes that make batches; 0: one thread, enough for a CPU
    log_every: int = 10
    validate_every: int = 500
    validate_rows: int = 2048
    checkpoint_every: int = 250
    calibrate_rows: int = 4096
    embed_rows: int = 10_000

    def __post_init__(self) -> None:
        _at_least(0, self, "seed", "threads", "loaders")
        _at_least(1, self, "log_every", "validate_every", "validate_rows", "checkpoint_every")
        _at_least(1, self, "calibrate_rows", "embed_rows")
        if self.precision not in ("float32", "bfloat16"):
            raise _bad(f"precision {self.precision!r} is neither float32 nor bfloat16")


@dataclass(frozen=True)
class Config:
    """Configuration of one training run; ``name`` is written into the model's contract."""

    name: str = "unnamed"
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    objective: Objective = field(default_factory=Objective)
    score: Score = field(default_factory=Score)
    optimiser: Optimiser = field(default_factory=Optimiser)
    run: RunOptions = field(default_factory=RunOptions)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], source: str = "the configuration") -> Config:
        """Make a configuration of parsed TOML or JSON.

        Raises:
            ScannerError: ``config.bad`` names a key that is unknown or whose value does not do.
        """
        try:
            return read_record(tables, cls)
        except ValueError as error:
            raise _bad(f"{source}: {error}") from error

    @classmethod
    def from_recorded(cls, tables: Mapping[str, Any], source: str) -> Config:
        """Make the configuration that a checkpoint or a release recorded, by an earlier version too; see ``from_dict``.

        Keys that said how weights were trained, and that no longer exist, are passed over.
        """
        score = {key: value for key, value in tables.get("score", {}).items() if key not in RETIRED}
        return cls.from_dict({**tables, "score": score}, source)


def read(path: Path) -> Config:
    """Read a TOML configuration.

    Raises:
        ScannerError: ``config.missing`` or ``config.bad``.
    """
    try:
        return Config.from_dict(load_toml(path), str(path))
    except FileNotFoundError as error:
        raise ScannerError(
            ErrorCode.CONFIG_MISSING, f"There is no configuration {path}.", "See training/configs."
        ) from error
    except ValueError as error:
        raise _bad(f"{path} is not TOML: {error}") from error


def _at_least(least: float, part: object, *names: str) -> None:
    _refuse(part, names, lambda number: number >= least, f"at least {least:g}")


def _positive(part: object, *names: str) -> None:
    _refuse(part, names, lambda number: number > 0, "positive")


def _share(part: object, *names: str) -> None:
    _refuse(part, names, lambda number: 0 <= number <= 1, "a share from 0 to 1")


def _refuse(part: object, names: tuple[str, ...], accept: Callable[[float], bool], must: str) -> None:
    """Raise ``config.bad`` for the first of the numbers ``names`` of ``part`` that is out of range, as NaN is."""
    for name in names:
        if not accept(number := getattr(part, name)):
            raise _bad(f"{name} {number} must be {must}")


def _bad(why: str) -> ScannerError:
    message = f"{why.removesuffix('.')}."  # ``why`` may be the message of an error of this kind
    return ScannerError(ErrorCode.CONFIG_BAD, message, "training/configs/small.toml is a complete example.")

"""The model file's contract: what ``encoder.onnx`` says about the pixels it wants and the vectors it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from catalogs.errors import ScannerError

CONTRACT_KEY = "scanner.contract"
CONTRACT_VERSION = 1
DEFAULT_MODEL = "small"
MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Contract:
    """Input and output of an encoder: ``flux`` float32 [N, B, S, S] in ``flux_unit`` to ``embedding`` float32 [N, D].

    ``bands`` are in channel order, ``pixel_scale`` is in arcsec, ``window`` is S in pixels, ``embedding_dim`` is D.
    ``mask_ratio`` is 0: an encoder that still hides patches would give another vector at every call.
    """

    bands: tuple[str, ...]
    pixel_scale: float
    window: int
    embedding_dim: int
    pooling: str
    stretch: Mapping[str, Any]
    weights_sha256: str
    training_run: str
    licence: str
    flux_unit: str = "nJy"
    mask_ratio: float = 0.0
    version: int = CONTRACT_VERSION

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bands": list(self.bands), "stretch": dict(self.stretch)}

    @classmethod
    def from_json(cls, text: str, source: str = "the model") -> Contract:
        """Parse and check ``metadata_props["scanner.contract"]``.

        Raises ``ScannerError`` ``model.bad_contract`` (a key is missing or makes no sense) or ``model.version``.
        """
        try:
            found = json.loads(text)
            version = found["version"]
            if version != CONTRACT_VERSION:
                raise ScannerError(
                    "model.version",
                    f"{source} has contract version {version}; this scanner reads version {CONTRACT_VERSION}.",
                    "Export the checkpoint again with this release: python -m export CHECKPOINT encoder.onnx",
                )
            contract = cls(**{f.name: found[f.name] for f in fields(cls)} | {"bands": tuple(found["bands"])})
        except (ValueError, KeyError, TypeError) as error:
            raise _bad(source, f"its contract cannot be read ({error!r})") from error
        contract._check(source)
        return contract

    def _check(self, source: str) -> None:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise _bad(source, f"bands {self.bands} are empty or repeat")
        if self.window < 8 or self.embedding_dim < 1 or not self.pixel_scale > 0:
            raise _bad(source, "window, embedding_dim and pixel_scale must be positive")
        if self.flux_unit != "nJy":
            raise _bad(source, f"flux_unit is {self.flux_unit!r}; pixels here are in nJy")
        if self.mask_ratio != 0:
            raise _bad(source, f"mask_ratio is {self.mask_ratio}: an encoder must see every patch")


def _bad(source: str, why: str) -> ScannerError:
    return ScannerError(
        "model.bad_contract", f"{source} is refused: {why}.", "Export it with: python -m export CHECKPOINT encoder.onnx"
    )


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in MODELS.glob("*/encoder.onnx"))


def resolve(name_or_path: str | Path) -> Path:
    """Path of a model given as a file or as the name of a shipped one; ``model.missing`` where there is neither."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    named = MODELS / str(name_or_path) / "encoder.onnx"
    if len(path.parts) == 1 and named.is_file():
        return named
    raise ScannerError(
        "model.missing",
        f"There is no model file {str(name_or_path)!r}.",
        f"Give a path to an encoder.onnx, or the name of a shipped model: {', '.join(shipped()) or 'none'}.",
    )

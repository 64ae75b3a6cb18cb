"""The contract of a model file: what pixels ``encoder.onnx`` takes, and what vectors and scores it gives."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.store.scores import Scores
from scanner.encoder import onnx_file, options
from scanner.encoder.options import FORMATS, ONNXRUNTIME

CONTRACT_KEY = "scanner.contract"
VERSIONS = (1, 2)
"""Versions of the contract that are read; the second has ``scores``."""

DEFAULT_MODEL = "small"
NEIGHBOURS = 10
"""Number of nearest neighbours that are compared to measure the accuracy loss of a number format."""

MODELS = Path(__file__).parents[1] / "models"
ENCODER, SUMS = "encoder.onnx", "SHA256SUMS"

_FINEST, _COARSEST = 1e-3, 1e3  # arcsec, of any image
_SHA256 = re.compile("[0-9a-f]{64}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contract:
    """Input and output of an encoder: ``flux`` float32 [N, B, S, S] in ``flux_unit`` to ``embedding`` float32 [N, D].

    A file with ``scores`` also gives ``scores`` float32 [N, K], the columns in the order of their names.

    ``bands`` are in channel order, ``pixel_scale`` is in arcsec, ``window`` is S in pixels, ``embedding_dim`` is D.
    ``mask_ratio`` is 0: an encoder that still hides patches would give another vector at every call.

    ``precision`` is the number format of the weights; ``fidelity``, where that is not fp32, its agreement with fp32 as
    measured at export: ``centred_cosine``, ``least_centred_cosine``, ``neighbour_overlap``, of how many ``windows``.
    With scores also ``score_rms`` and ``score_largest``, the differences in units of the scatter of a score, and
    ``score_rank_correlation``, each of the score that agrees least.
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
    precision: str = "fp32"
    fidelity: Mapping[str, Any] | None = None
    scores: Scores | None = None

    @property
    def version(self) -> int:
        """Version of the contract: 2 with scores, 1 without."""
        return 1 if self.scores is None else 2

    @property
    def frame(self) -> tuple[tuple[str, ...], int, float]:
        """What a ``WindowFrame`` is made of: bands, side of a window in pixels, pixel scale in arcsec."""
        return self.bands, self.window, self.pixel_scale

    @property
    def cost(self) -> str:
        """The accuracy loss of the number format, in words; empty for fp32."""
        if self.fidelity is None:
            return ""
        text = (
            "centred cosine with fp32 {centred_cosine:.4f} (least {least_centred_cosine:.4f}), {neighbour_overlap:.1%} "
            "of the {neighbours} nearest neighbours as in fp32, of {windows} windows"
        )
        if self.scores is not None:
            text += (
                "; scores differ from fp32 by {score_rms:.3f} of their scatter (at most {score_largest:.2f}), with a "
                "rank correlation of {score_rank_correlation:.4f}"
            )
        return text.format(**self.fidelity, neighbours=NEIGHBOURS)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        values = {**asdict(self), "bands": list(self.bands), "stretch": dict(self.stretch), "version": self.version}
        if self.scores is not None:
            values["scores"] = self.scores.to_dict()
        return {name: value for name, value in values.items() if name not in ("fidelity", "scores") or value}

    @classmethod
    def from_json(cls, text: str, source: str = "the model") -> Contract:
        """Parse and check ``metadata_props["scanner.contract"]``.

        Raises:
            ScannerError: ``model.bad_contract`` (a key is missing or invalid), ``model.version``.
        """
        try:
            values = load_json(text)
            version = values["version"]
            if version not in VERSIONS:
                raise ScannerError(
                    ErrorCode.MODEL_VERSION,
                    f"{source} has contract version {version}; this scanner reads versions 1 and 2.",
                    "Export the checkpoint again with this release: python -m export CHECKPOINT encoder.onnx",
                )
            # A later release may add keys. Of ours, only ``precision`` and ``fidelity`` may be missing, as they are in
            # files of the first release, and ``scores``: a file that does not say its unit must not get one.
            names = [f.name for f in fields(cls)]
            missing = [name for name in names if name not in ("precision", "fidelity", "scores", *values)]
            if missing:
                raise ValueError(f"{missing[0]} is missing")
            contract = read_record({name: values[name] for name in names if name in values}, cls)
            if type(version) is not int or version != contract.version:
                scores = "without" if contract.scores is None else "with"
                raise ValueError(f"version is {version}, but a contract {scores} scores has version {contract.version}")
            # The digest of a run holds these numbers as the file spells them: 1 and 1.0 would be two runs.
            contract = replace(contract, pixel_scale=values["pixel_scale"], mask_ratio=values["mask_ratio"])
            contract.cost  # noqa: B018  (all its numbers are there)
            json.dumps(contract.to_dict(), allow_nan=False)  # catalogues keep it as JSON
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _bad(source, f"its contract cannot be read: {error}") from error
        contract._check(source)
        return contract

    def _check(self, source: str) -> None:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise _bad(source, f"bands {self.bands} are empty or repeat")
        texts = (*self.bands, self.pooling, self.training_run, self.licence, *self.stretch)
        if not all(text.isprintable() for text in texts):
            raise _bad(source, "a text of its contract holds control characters")
        if not _SHA256.fullmatch(self.weights_sha256):
            raise _bad(source, f"weights_sha256 {self.weights_sha256[:80]!r} is not a SHA-256")
        if self.window < 8 or self.embedding_dim < 1:
            raise _bad(source, "window must be at least 8 pixels, and embedding_dim at least 1")
        if not _FINEST < self.pixel_scale < _COARSEST:
            raise _bad(source, f"pixel_scale {self.pixel_scale} is not that of an image, in arcsec")
        if self.flux_unit != "nJy":
            raise _bad(source, f"flux_unit is {self.flux_unit!r}; pixels here are in nJy")
        if self.mask_ratio != 0:
            raise _bad(source, f"mask_ratio is {self.mask_ratio}: an encoder must use every patch")
        if self.precision not in FORMATS or (self.fidelity is None) != (self.precision == "fp32"):
            raise _bad(source, f"precision {self.precision!r} is unknown, or its accuracy loss is missing")


def _bad(source: str, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.MODEL_BAD_CONTRACT,
        f"{source} is refused: {why}.",
        "Export it with: python -m export CHECKPOINT encoder.onnx",
    )


def read(path: Path) -> Contract:
    """Read the contract in a model file; no session is opened, so the graph itself is not looked at.

    Raises:
        ScannerError: ``model.unreadable``, ``model.no_contract``, ``model.bad_contract``, ``model.version``.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Contract, str | None, bytes]:
    """The contract of a model file, its seal (None: it has none), and its bytes."""
    try:
        model = onnx_file.read_bytes(path)
        metadata = onnx_file.read_metadata(model)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    text = metadata.get(CONTRACT_KEY)
    if text is None:
        raise ScannerError(
            ErrorCode.MODEL_NO_CONTRACT,
            f"{path} has no {CONTRACT_KEY!r} in its metadata: its bands, units and pixel scale are unknown.",
            "Use a model written by: python -m export CHECKPOINT encoder.onnx",
        )
    return Contract.from_json(text, str(path)), metadata.get(onnx_file.SEAL_KEY), model


def _unreadable(path: Path, error: Exception) -> ScannerError:
    return ScannerError(
        ErrorCode.MODEL_UNREADABLE,
        f"{path} is not an ONNX model: {error}.",
        "Give an encoder.onnx, as python -m export writes it, or the name of a shipped model.",
    )


@dataclass(frozen=True)
class ModelFile:
    """A model as a file: its path, SHA-256 and contract, and how it is to be computed. ``Encoder`` opens it.

    ``precision`` is the number format of the weights, or bf16, which ``runtime`` computes from a file in fp32.
    """

    path: Path
    sha256: str
    contract: Contract
    precision: str
    runtime: str = ONNXRUNTIME

    @classmethod
    def find(cls, name_or_path: str | Path, precision: str | None = None, runtime: str = ONNXRUNTIME) -> ModelFile:
        """The file of a model for a precision (None: that of the file), which is as it was exported.

        Raises:
            ScannerError: As ``resolve`` and ``read`` do; ``runtime.unknown`` and ``device.precision`` where runtime and
                precision do not go together; ``model.other_precision``, and ``model.other_weights`` where a
                file of another number format was left behind by an earlier model; ``model.external_data`` and
                ``model.damaged`` where the digest of the file would not be, or is not, that of what was exported.
        """
        options.check(runtime, precision)
        wanted = options.file_format(precision)
        path, full = resolve(name_or_path, wanted), resolve(name_or_path)
        contract, seal, model = _read(path)
        sha256 = hashlib.sha256(model).hexdigest()
        _check_weights(path, contract, seal, model, sha256)
        if wanted is not None and wanted != contract.precision:
            computed = "" if wanted == precision else f", from which {precision} is computed"
            raise ScannerError(
                ErrorCode.MODEL_OTHER_PRECISION,
                f"{path} is in {contract.precision}, not in {wanted}{computed}.",
                f"Say --precision {contract.precision}, or give the model's encoder.onnx.",
            )
        # ``encoder_int8.onnx`` may be older than the ``encoder.onnx`` beside it.
        if path != full and read(full).weights_sha256 != contract.weights_sha256:
            raise ScannerError(
                ErrorCode.MODEL_OTHER_WEIGHTS,
                f"{path} holds other weights than {full.name} beside it.",
                "Write both again: python -m export RUN FOLDER",
            )
        options.check(runtime, precision or contract.precision)
        return cls(path, sha256, contract, precision or contract.precision, runtime)


def _check_weights(path: Path, contract: Contract, seal: str | None, model: bytes, sha256: str) -> None:
    """Refuse a file that keeps weights elsewhere, or whose bytes are not those that were exported."""
    try:
        if onnx_file.has_external_data(model):
            raise ScannerError(
                ErrorCode.MODEL_EXTERNAL_DATA,
                f"{path} keeps weights in other files: its SHA-256 would not tell one set of weights from another.",
                "Store the weights in the file itself: python -m export writes it so.",
            )
    except ValueError as error:
        raise _unreadable(path, error) from error
    # Files of earlier releases have no seal, but theirs may be listed.
    expected = seal or _published_sha256(path, contract)
    if expected is None:
        log.info("%s was written by an earlier release: damage to its weights cannot be noticed.", path)
    elif expected != (onnx_file.seal(model) if seal else sha256):
        raise ScannerError(
            ErrorCode.MODEL_DAMAGED,
            f"{path} has changed since it was exported: the weights may not be those of its weights_sha256.",
            "Copy or download the file again, or export it again: python -m export RUN FOLDER",
        )


def _published_sha256(path: Path, contract: Contract) -> str | None:
    """SHA-256 that a release gives for a file: the one beside it, or the shipped one with these weights."""
    beside = _sums(path.parent).get(path.name)
    if beside is not None:
        return beside
    for folder in MODELS.glob("*/"):
        sums = _sums(folder)
        if sums and read(folder / ENCODER).weights_sha256 == contract.weights_sha256:
            return sums.get(of_precision(Path(ENCODER), contract.precision).name)
    return None


def _sums(folder: Path) -> dict[str, str]:
    """Names and SHA-256 of the files of a release, which lists them as ``sha256sum`` does; empty for other folders."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def shipped() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{ENCODER}"))


def of_precision(path: Path, precision: str) -> Path:
    """Path of another number format beside ``path``: ``encoder_int8.onnx`` beside ``encoder.onnx``."""
    if precision == "fp32" or path.stem.endswith(f"_{precision}"):
        return path
    return path.with_stem(f"{path.stem}_{precision}")


def resolve(name_or_path: str | Path, precision: str | None = None) -> Path:
    """Path of a model given as a file or as the name of a shipped one, or of its file in another number format.

    Raises:
        ScannerError: ``model.missing``; ``model.no_precision`` where there is no file in that format.
    """
    path = _find(name_or_path)
    other = of_precision(path, precision or "fp32")
    if not _is_file(other):
        raise ScannerError(
            ErrorCode.MODEL_NO_PRECISION,
            f"The model {path.name} does not exist in {precision}: there is no {other.name} beside it.",
            f"python -m export RUN FOLDER writes {other.name}; or scan with --precision fp32, which is exact.",
        )
    return other


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if _is_file(path):
        return path
    named = MODELS / str(name_or_path) / ENCODER
    if len(path.parts) == 1 and _is_file(named):
        return named
    raise ScannerError(
        ErrorCode.MODEL_MISSING,
        f"There is no model file {str(name_or_path)!r}.",
        f"Give a path to an encoder.onnx, or the name of a shipped model: {', '.join(shipped()) or 'none'}.",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or a folder without permission
        return False

"""An encoder in another number format: written only if its vectors are those of float32, and says what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from export.to_onnx import add_contract
from export.verify import ROWS, cases
from scanner.encoder.contract import NEIGHBOURS, Contract

UNIT_TOLERANCE = 1e-3
PROVIDERS = ["CPUExecutionProvider"]

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Between unit vectors of two formats, the mean of all taken out first: cosines, and the share of near neighbours.

    Without that the cosine says little: vectors that all share a large mean agree in it.
    """

    centred_cosine: float
    least_centred_cosine: float
    neighbour_overlap: float
    windows: int

    def __str__(self) -> str:
        return (
            f"centred cosine {self.centred_cosine:.5f} (least {self.least_centred_cosine:.5f}), "
            f"{self.neighbour_overlap:.1%} of the {NEIGHBOURS} nearest neighbours in common, of {self.windows} windows"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Bar:
    """What a file of a format must reach to be written."""

    centred_cosine: float
    neighbour_overlap: float


BARS: Mapping[str, Bar] = {"fp16": Bar(0.999, 0.95), "int8": Bar(0.995, 0.95)}


def write_format(
    model: onnx.ModelProto, precision: str, contract: Contract, out: Path, full: Path, flux: Vectors
) -> Agreement:
    """Write ``model`` to ``out`` if its vectors of ``flux`` [N, B, S, S] are those of the float32 file ``full``.

    Its contract says the format and the agreement. Raises ``ScannerError`` ``export.precision`` where the agreement is
    below the format's ``BARS``, or a vector is not of unit length on any of the cases of ``export.verify``.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS)
    for name, batch in cases(flux[:ROWS]):
        length = np.linalg.norm(session.run(None, {"flux": batch})[0], axis=1)
        if not np.abs(length - 1).max() < UNIT_TOLERANCE:
            raise _refused(precision, f"on the check {name!r} a vector is not of unit length")
    reference = onnxruntime.InferenceSession(full, providers=PROVIDERS)
    agreement = agree(vectors(reference, flux), vectors(session, flux))
    bar = BARS[precision]
    if not (
        agreement.centred_cosine >= bar.centred_cosine and agreement.neighbour_overlap >= bar.neighbour_overlap
    ):  # NaN fails too
        raise _refused(precision, str(agreement))
    said = add_contract(model, replace(contract, precision=precision, fidelity=agreement.to_dict()))
    with replacing(out) as temporary:
        temporary.write_bytes(said.SerializeToString(deterministic=True))
    return agreement


def vectors(session: Any, flux: Vectors, batch: int = 16) -> Vectors:
    """``flux`` [N, B, S, S] through a session, to [N, D]."""
    parts = (flux[start : start + batch] for start in range(0, len(flux), batch))
    return np.concatenate([session.run(["embedding"], {"flux": part})[0] for part in parts])


def agree(one: Vectors, other: Vectors) -> Agreement:
    """How alike two sets of unit vectors [N, D] of the same N objects are; ``one`` gives the mean."""
    mean = one.mean(axis=0)
    a, b = one - mean, other - mean
    cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    nearest = [_nearest(found) for found in (one, other)]
    common = [len(set(first) & set(second)) / len(first) for first, second in zip(*nearest, strict=True)]
    return Agreement(float(cosine.mean()), float(cosine.min()), float(np.mean(common)), len(one))


def _nearest(found: Vectors) -> NDArray[np.intp]:
    likeness = found @ found.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)[:, : min(NEIGHBOURS, len(found) - 1)]


def _refused(precision: str, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.EXPORT_PRECISION,
        f"{precision} changes the vectors too much: {why}. No {precision} file was written.",
        "Give --cutouts to calibrate and compare on real pixels; else scan with the float32 file.",
    )

"""Number formats: a file is written only if its embeddings agree with those of float32, and records the agreement."""

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
    """Agreement of the unit vectors of two formats: cosines after centring, and the share of common neighbours.

    Without centring the cosine means little: vectors that share a large mean agree in it.
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
class Threshold:
    """Least agreement of a file that is written."""

    centred_cosine: float
    neighbour_overlap: float


THRESHOLDS: Mapping[str, Threshold] = {"fp16": Threshold(0.999, 0.95), "int8": Threshold(0.995, 0.95)}


def write_format(
    model: onnx.ModelProto, precision: str, contract: Contract, out: Path, full: Path, flux: Vectors
) -> Agreement:
    """Write ``model`` to ``out`` if its vectors of ``flux`` [N, B, S, S] agree with those of the float32 file ``full``.

    The contract of the file holds the format and the agreement.

    Raises:
        ScannerError: ``export.precision`` if the agreement is below the ``THRESHOLDS`` of the format, or a vector of a
            case of ``export.verify`` is not of unit length.
    """
    # Unit length on all cases, such as missing bands and sentinels, which the agreement does not cover.
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS)
    for name, batch in cases(flux[:ROWS]):
        length = np.linalg.norm(session.run(None, {"flux": batch})[0], axis=1)
        if not np.abs(length - 1).max() < UNIT_TOLERANCE:
            raise _refused(precision, f"on the check {name!r} a vector is not of unit length")
    reference = onnxruntime.InferenceSession(full, providers=PROVIDERS)
    agreement = agree(vectors(reference, flux), vectors(session, flux))
    least = THRESHOLDS[precision]
    if not (
        agreement.centred_cosine >= least.centred_cosine and agreement.neighbour_overlap >= least.neighbour_overlap
    ):  # NaN fails too
        raise _refused(precision, str(agreement))
    described = add_contract(model, replace(contract, precision=precision, fidelity=agreement.to_dict()))
    with replacing(out) as temporary:
        temporary.write_bytes(described.SerializeToString(deterministic=True))
    return agreement


def vectors(session: Any, flux: Vectors, batch: int = 16) -> Vectors:
    """Embed ``flux`` [N, B, S, S] by a session, to [N, D]."""
    parts = (flux[start : start + batch] for start in range(0, len(flux), batch))
    return np.concatenate([session.run(["embedding"], {"flux": part})[0] for part in parts])


def agree(one: Vectors, other: Vectors) -> Agreement:
    """Compare two sets of unit vectors [N, D] of the same N objects, both centred by the mean of ``one``."""
    # Both are centred by the same vector [D], so that a shift between the formats lowers the cosine [N].
    mean = one.mean(axis=0)
    a, b = one - mean, other - mean
    cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    # Neighbours are those of a search, which compares the vectors as they are.
    nearest = [_nearest(part) for part in (one, other)]
    common = [len(set(first) & set(second)) / len(first) for first, second in zip(*nearest, strict=True)]
    return Agreement(float(cosine.mean()), float(cosine.min()), float(np.mean(common)), len(one))


def _nearest(rows: Vectors) -> NDArray[np.intp]:
    # Cosines [N, N]. An object is not its own neighbour.
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)[:, : min(NEIGHBOURS, len(rows) - 1)]


def _refused(precision: str, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.EXPORT_PRECISION,
        f"{precision} changes the vectors too much: {why}. No {precision} file was written.",
        "Give --cutouts to calibrate and compare on real pixels, or scan with the float32 file.",
    )

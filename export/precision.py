"""Number formats: a file is written only if its vectors and scores agree with those of float32, as it then records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import spearmanr

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from export.to_onnx import add_contract
from export.verify import ROWS, cases
from scanner.encoder.contract import NEIGHBOURS, Contract

UNIT_TOLERANCE = 1e-3
PROVIDERS = ["CPUExecutionProvider"]

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class ScoreAgreement:
    """Agreement of the scores of two formats, each number that of the score that agrees least.

    Differences, the root of their mean square and the largest, are in units of the scatter (standard deviation) of a
    score over the windows: what is small beside it moves few objects across a threshold.
    """

    score_rms: float
    score_largest: float
    score_rank_correlation: float

    def __str__(self) -> str:
        return (
            f"scores differ by {self.score_rms:.4f} of their scatter (at most {self.score_largest:.3f}), "
            f"rank correlation {self.score_rank_correlation:.5f}"
        )


@dataclass(frozen=True)
class Agreement:
    """Agreement of two formats: of unit vectors by cosines after centring and by common neighbours, and of scores.

    Without centring the cosine means little: vectors that share a large mean agree in it.
    """

    centred_cosine: float
    least_centred_cosine: float
    neighbour_overlap: float
    windows: int
    scores: ScoreAgreement | None = None

    def __str__(self) -> str:
        return (
            f"centred cosine {self.centred_cosine:.5f} (least {self.least_centred_cosine:.5f}), "
            f"{self.neighbour_overlap:.1%} of the {NEIGHBOURS} nearest neighbours in common, of {self.windows} windows"
        ) + (f"; {self.scores}" if self.scores else "")

    def to_dict(self) -> dict[str, Any]:
        """Make the ``fidelity`` of a contract."""
        vectors = {name: value for name, value in asdict(self).items() if name != "scores"}
        return vectors | (asdict(self.scores) if self.scores else {})


@dataclass(frozen=True)
class Threshold:
    """Least agreement of a file that is written; that of scores is their greatest difference and least correlation."""

    centred_cosine: float
    neighbour_overlap: float
    scores: ScoreAgreement

    def passed_by(self, agreement: Agreement) -> bool:
        """Whether an agreement suffices; one with NaN does not."""
        scores, bound = agreement.scores, self.scores
        return (
            agreement.centred_cosine >= self.centred_cosine
            and agreement.neighbour_overlap >= self.neighbour_overlap
            and (
                scores is None
                or (
                    scores.score_rms <= bound.score_rms
                    and scores.score_largest <= bound.score_largest
                    and scores.score_rank_correlation >= bound.score_rank_correlation
                )
            )
        )


# A score scatters by a few units of log-odds. A twentieth of that is less than its calibration is known to, and moves
# few objects across a threshold; independent errors of this size leave a rank correlation of 0.998. Half precision
# rounds more finely. One object in some hundred may move ten times as far.
THRESHOLDS: Mapping[str, Threshold] = {
    "fp16": Threshold(0.999, 0.95, ScoreAgreement(0.005, 0.05, 0.9999)),
    "int8": Threshold(0.995, 0.95, ScoreAgreement(0.05, 0.5, 0.998)),
}


def write_format(
    model: onnx.ModelProto, precision: str, contract: Contract, out: Path, full: Path, flux: Vectors
) -> Agreement:
    """Write ``model`` to ``out`` if what it gives for ``flux`` [N, B, S, S] agrees with the float32 file ``full``.

    The contract of the file holds the format and the agreement.

    Raises:
        ScannerError: ``export.precision`` if the agreement is below the ``THRESHOLDS`` of the format, or if in a case
            of ``export.verify`` a vector is not of unit length or a score is not finite.
    """
    # All cases, such as missing bands and sentinels, which the agreement does not cover.
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS)
    for name, batch in cases(flux[:ROWS]):
        made, *scores = session.run(None, {"flux": batch})
        if not np.abs(np.linalg.norm(made, axis=1) - 1).max() < UNIT_TOLERANCE:
            raise _refused(precision, f"on the check {name!r} a vector is not of unit length")
        if not all(np.isfinite(score).all() for score in scores):
            raise _refused(precision, f"on the check {name!r} a score is not finite")
    reference = onnxruntime.InferenceSession(full, providers=PROVIDERS)
    agreement = agree(vectors(reference, flux), vectors(session, flux))
    if contract.scores is not None:
        scores = agree_scores(*(outputs(one, flux, "scores") for one in (reference, session)))
        agreement = replace(agreement, scores=scores)
    if not THRESHOLDS[precision].passed_by(agreement):
        raise _refused(precision, str(agreement))
    described = add_contract(model, replace(contract, precision=precision, fidelity=agreement.to_dict()))
    with replacing(out) as temporary:
        temporary.write_bytes(described.SerializeToString(deterministic=True))
    return agreement


def vectors(session: Any, flux: Vectors, batch: int = 16) -> Vectors:
    """Embed ``flux`` [N, B, S, S] by a session, to [N, D]."""
    return outputs(session, flux, "embedding", batch)


def outputs(session: Any, flux: Vectors, name: str, batch: int = 16) -> Vectors:
    """Compute an output of a session for ``flux`` [N, B, S, S]: ``embedding`` [N, D] or ``scores`` [N, K]."""
    parts = (flux[start : start + batch] for start in range(0, len(flux), batch))
    return np.concatenate([session.run([name], {"flux": part})[0] for part in parts])


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


def agree_scores(one: Vectors, other: Vectors) -> ScoreAgreement:
    """Compare two sets of scores [N, K] of the same N objects, by the scatter of ``one``.

    The scores of a head that tells nothing are all the same. They agree where they are so in both sets.
    """
    scatter = one.std(axis=0)
    difference = (other - one) / np.where(scatter > 0, scatter, 1)
    correlations = [
        spearmanr(a, b).statistic if min(np.ptp(a), np.ptp(b)) > 0 else float(np.ptp(a) == np.ptp(b))
        for a, b in zip(one.T, other.T, strict=True)
    ]
    return ScoreAgreement(
        float(np.sqrt((difference**2).mean(axis=0)).max()), float(np.abs(difference).max()), float(min(correlations))
    )


def _nearest(rows: Vectors) -> NDArray[np.intp]:
    # Cosines [N, N]. An object is not its own neighbour.
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)[:, : min(NEIGHBOURS, len(rows) - 1)]


def _refused(precision: str, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.EXPORT_PRECISION,
        f"{precision} changes the results too much: {why}. No {precision} file was written.",
        "Give --cutouts to calibrate and compare on real pixels, or scan with the float32 file.",
    )

"""Agreement of two ways to compute the same embeddings and scores, and how much of it a precision must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.encoder.buffers import Encoded
from scanner.encoder.contract import NEIGHBOURS

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
    """Least agreement of a precision that may be used; that of scores is their greatest difference and correlation."""

    centred_cosine: float
    neighbour_overlap: float
    scores: ScoreAgreement

    def passed_by(self, agreement: Agreement) -> bool:
        """Whether an agreement suffices; one with NaN does not."""
        return not self.list_failures(agreement)

    def list_failures(self, agreement: Agreement) -> list[str]:
        """Name each number of an agreement that does not suffice, with its bound."""
        least = [
            ("centred cosine", agreement.centred_cosine, self.centred_cosine),
            ("share of common neighbours", agreement.neighbour_overlap, self.neighbour_overlap),
        ]
        most: list[tuple[str, float, float]] = []
        if (scores := agreement.scores) is not None:
            bound = self.scores
            least.append(("rank correlation of scores", scores.score_rank_correlation, bound.score_rank_correlation))
            most.append(("rms difference of scores", scores.score_rms, bound.score_rms))
            most.append(("largest difference of scores", scores.score_largest, bound.score_largest))
        # Negated comparisons, which NaN fails.
        low = [f"{name} {value:.6g} (at least {end:g} is needed)" for name, value, end in least if not value >= end]
        high = [f"{name} {value:.6g} (at most {end:g} is allowed)" for name, value, end in most if not value <= end]
        return low + high


# In fp32 two runtimes add up in another order, no more. A score scatters by a few units of log-odds. In 8 bits it may
# move by a twentieth of that: this is less than its calibration is known to, and moves few objects across a threshold.
# Independent errors of this size leave a rank correlation of 0.998. Half precision rounds more finely. One object in
# some hundred may move ten times as far.
THRESHOLDS: Mapping[str, Threshold] = {
    "fp32": Threshold(0.9999, 0.99, ScoreAgreement(0.002, 0.02, 0.9999)),
    "fp16": Threshold(0.999, 0.95, ScoreAgreement(0.005, 0.05, 0.9999)),
    "int8": Threshold(0.995, 0.95, ScoreAgreement(0.05, 0.5, 0.998)),
    "bf16": Threshold(0.995, 0.95, ScoreAgreement(0.05, 0.5, 0.998)),
}


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


def agree_fully(one: Encoded, other: Encoded) -> Agreement:
    """Compare what two encoders give for the same N windows: vectors, and scores where the model gives them."""
    agreement = agree(one.vectors, other.vectors)
    return replace(agreement, scores=agree_scores(one.scores, other.scores)) if one.scores.size else agreement


def agree_scores(one: Vectors, other: Vectors) -> ScoreAgreement:
    """Compare two sets of scores [N, K] of the same N objects, by the scatter of ``one``.

    The scores of a head that tells nothing are all the same. They agree where they are so in both sets.
    """
    # Imported here: few models have scores, and fewer scans compare them.
    from scipy.stats import spearmanr

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

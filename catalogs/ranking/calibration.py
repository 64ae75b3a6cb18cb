"""From scores to probabilities: a logistic curve through scores of objects that the scorer was not fitted to.

Examples and ordinary objects are divided into folds, and each fold is scored by a scorer fitted to the others. A
logistic curve is fitted to these scores, both kinds weighing half: it gives the likelihood ratio of a score for objects
like the examples and for ordinary objects. The prevalence of such objects turns it into a probability.

Source: Platt (1999), Probabilistic outputs for support vector machines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking import Method, methods
from catalogs.ranking.methods import Scorer
from catalogs.search.examples import Examples
from catalogs.store.vectors import Vectors

FEWEST = 5
"""Examples below which there are no probabilities."""
FOLDS = 10
PENALTY = 1e-3
"""Of the squared slope, for scores of unit scatter: without it the curve is a step where both kinds separate fully."""


@dataclass(frozen=True)
class Calibration:
    """Log of the likelihood ratio as ``slope * score + offset``; ``slope`` is never negative."""

    slope: float
    offset: float

    def odds(self, scores: NDArray[np.floating], prevalence: float) -> NDArray[np.float64]:
        """Compute the log of the odds [N] of being like the examples, if a share ``prevalence`` of the objects is."""
        return np.asarray(self.slope * scores.astype(np.float64) + self.offset + np.log(prevalence / (1 - prevalence)))

    def probability(self, scores: NDArray[np.floating], prevalence: float) -> NDArray[np.float64]:
        """Compute the probability [N] of being like the examples, if a share ``prevalence`` of the objects is."""
        return methods.to_probability(self.odds(scores, prevalence))


@dataclass(frozen=True)
class CalibratedScorer:
    """A scorer fitted to ``vectors`` [J, D], and its calibration (None where there are too few examples)."""

    scorer: Scorer
    calibration: Calibration | None
    vectors: Vectors


def calibrate(method: Method, like: Examples, unlike: Vectors, ordinary: Vectors, seed: int = 0) -> Calibration | None:
    """Calibrate a ``method`` with these examples, against ``ordinary`` objects [M, D]; None below 5 examples."""
    if len(like) < FEWEST or len(ordinary) < 2:
        return None
    count = min(FOLDS, len(like), len(ordinary))
    rng = np.random.default_rng(seed)
    # All orientations of an example are in one fold.
    of_example = (rng.permutation(len(like)) % count)[like.owner]
    of_ordinary = rng.permutation(len(ordinary)) % count
    like_scores, ordinary_scores = np.empty(len(like.vectors)), np.empty(len(ordinary))
    for fold in range(count):
        rest = like.vectors[of_example != fold], unlike, ordinary[of_ordinary != fold]
        scorer = methods.fit_scorer(method, *rest)
        like_scores[of_example == fold] = scorer(like.vectors[of_example == fold])
        ordinary_scores[of_ordinary == fold] = scorer(ordinary[of_ordinary == fold])
    return fit_curve(like_scores, ordinary_scores)


def fit_curve(like: NDArray[np.floating], ordinary: NDArray[np.floating]) -> Calibration:
    """Fit the logistic curve to scores of examples and of ordinary objects."""
    scores = np.concatenate([like, ordinary]).astype(np.float64)
    # Scores of unit scatter, so that one penalty suits all methods.
    middle, width = scores.mean(), max(float(scores.std()), 1e-12)
    positive = np.arange(len(scores)) < len(like)
    share = np.where(positive, 0.5 / len(like), 0.5 / len(ordinary))
    line = methods.fit_logistic(((scores - middle) / width)[:, None], positive, share, PENALTY)
    # In units of the scores. A falling curve means that they do not separate the kinds: the likelihood ratio is 1.
    slope = float(line.weights[0]) / width
    return Calibration(slope, line.offset - slope * middle) if slope > 0 else Calibration(0.0, 0.0)


def check_prevalence(prevalence: float) -> None:
    """Refuse a prevalence that is not a share.

    Raises:
        ScannerError: ``rank.bad_prevalence``.
    """
    if not 0 < prevalence < 1:
        hint = "Give the share of objects that you expect to be like the examples, such as 0.001."
        raise ScannerError(ErrorCode.RANK_BAD_PREVALENCE, f"{prevalence} is not a share between 0 and 1.", hint)

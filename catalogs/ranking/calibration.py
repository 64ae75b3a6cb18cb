"""From scores to probabilities: a logistic curve through scores of objects that the scorer was not fitted to.

The curve gives the likelihood ratio of a score for objects like the examples and for ordinary objects. The prevalence
of such objects turns it into a probability.

Source: Platt (1999), Probabilistic outputs for support vector machines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking import methods

PENALTY = 1e-3
"""Of the squared slope, for scores of unit scatter: without it the curve is a step where both kinds separate fully."""


@dataclass(frozen=True)
class Calibration:
    """Log of the likelihood ratio as ``slope * score + offset``; ``slope`` is never negative."""

    slope: float
    offset: float

    def odds(self, scores: NDArray[np.floating], prevalence: float) -> NDArray[np.float64]:
        """Compute the log of the odds [N] of being like the examples, if a share ``prevalence`` of the objects is."""
        return np.asarray(self.slope * scores.astype(np.float64) + self.offset + log_odds(prevalence))

    def probability(self, scores: NDArray[np.floating], prevalence: float) -> NDArray[np.float64]:
        """Compute the probability [N] of being like the examples, if a share ``prevalence`` of the objects is."""
        return methods.to_probability(self.odds(scores, prevalence))


def log_odds(probability: float) -> float:
    """Compute the natural log of the odds of a probability."""
    return float(np.log(probability / (1 - probability)))


def of_log_odds(prevalence: float) -> Calibration:
    """Make the calibration of scores that are log-odds already, at a prevalence that their model states."""
    return Calibration(1.0, -log_odds(prevalence))


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

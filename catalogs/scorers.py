"""How objects are scored by examples: like their mean, like the nearest of them, or as a trained probe says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.vectors import Vectors

Method = Literal["centroid", "nearest", "probe"]
METHODS: tuple[Method, ...] = ("centroid", "nearest", "probe")
PENALTY = 0.1
"""Of the probe's squared weights. From 1e-4 to 1e-1 (with 1 to 24 examples) the strongest was the best throughout."""
MANY = 8
"""Examples from which ``nearest`` finds more among its first 50 than ``centroid``."""


def automatic(examples: int) -> Method:
    """The method for so many examples, by measurement.

    47 real lenses among 2,753 objects of MegaCam g r i pixels, the others found with 1, 3, 8 and 24 of them (mean of
    12 draws; average precision): centroid 0.20 0.21 0.19 0.14, nearest 0.19 0.19 0.19 0.16, probe against a random
    sample 0.19 0.19 0.16 0.12; of the first 50, centroid 0.21 0.22 0.21 0.14, nearest 0.21 0.21 0.22 0.17. The probe is
    never chosen by itself. (The fewer lenses are left to find, the lower each number.)
    """
    return "nearest" if examples >= MANY else "centroid"


@dataclass(frozen=True)
class Linear:
    """``weights`` [D] and ``offset`` of a score that is a dot product; ``logistic`` where it is the log of odds."""

    weights: NDArray[np.float64]
    offset: float = 0.0
    logistic: bool = False

    def __call__(self, unit: Vectors) -> NDArray[np.float32]:
        """Scores [N] of unit vectors [N, D]."""
        scores: NDArray[np.float32] = unit @ self.weights.astype(np.float32) + np.float32(self.offset)
        return scores


def centroid(like: Vectors, unlike: Vectors) -> Linear:
    """Along the line from the mean of ``unlike`` [M, D] to the mean of ``like`` [P, D], of unit length.

    The means' difference, since all embeddings share a part that says nothing.
    """
    direction = like.mean(axis=0, dtype=np.float64) - unlike.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(direction)
    return Linear(direction / length if length > 0 else direction)


def probe(like: Vectors, unlike: Vectors, penalty: float = PENALTY) -> Linear:
    """Logistic regression, both sides weighing half: minimises mean log-loss + penalty / 2 * |weights|^2."""
    from scipy.optimize import minimize

    points = np.vstack([like, unlike]).astype(np.float64)
    positive = np.arange(len(points)) < len(like)
    share = np.where(positive, 0.5 / len(like), 0.5 / len(unlike))

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, odds = values[:-1], points @ values[:-1] + values[-1]
        misfit = share @ np.logaddexp(0, np.where(positive, -odds, odds))
        pull = share * (probability(odds) - positive)
        gradient = np.append(points.T @ pull + penalty * weights, pull.sum())
        return float(misfit + penalty / 2 * weights @ weights), gradient

    found = minimize(loss, np.zeros(points.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return Linear(found[:-1], float(found[-1]), logistic=True)


def nearest(unit: Vectors, like: Vectors, rows: int = 8192) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine [N] with the most similar example, and which [N] that is; ``rows`` at a time, to bound the memory."""
    best = np.empty(len(unit), np.float32)
    which = np.empty(len(unit), np.int64)
    for start in range(0, len(unit), rows):
        cosines = unit[start : start + rows] @ like.T
        which[start : start + rows] = cosines.argmax(axis=1)
        best[start : start + rows] = cosines.max(axis=1)
    return best, which


def probability(odds: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-odds)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(odds.astype(np.float64) / 2)))

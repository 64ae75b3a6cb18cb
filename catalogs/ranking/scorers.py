"""How objects are scored by examples: like their mean, like the nearest of them, or as a trained probe says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.ranking import Method
from catalogs.store.vectors import Vectors, along

PENALTY = 0.1
"""Of the probe's squared weights. From 1e-4 to 1e-1 (with 1 to 24 examples) the strongest was the best throughout."""
MANY = 8
"""Examples from which ``probe`` finds more than ``centroid``."""
AGAINST = 0.25
"""What counterexamples weigh beside ordinary objects, which weigh 1 - AGAINST. Eight rounds of marking 20 candidates,
from 3 real lenses of 47 among 2,753 objects: shares of 0 to 0.75 find the same (39 of 44) by centroid or probe; what
``nearest`` takes off finds as much up to 0.5 (39), and less at 0.75 (38) and 1 (35)."""
_ROWS = 8192  # compared at a time, to bound the memory
_LEAST = np.float32(-2)  # below every cosine


def automatic(examples: int) -> Method:
    """The method for so many examples, by measurement (``studies.ranking``).

    47 real lenses among 2,693 other objects of MegaCam g r i pixels, the others found by 1, 3, 8, 16 and 24 of them
    (mean of 30 draws). Recall of 50 objects: centroid 0.52 0.60 0.65 0.68 0.66, probe 0.51 0.59 0.65 0.68 0.67, nearest
    0.45 0.55 0.59 0.64 0.66. Average precision: centroid 0.47 0.53 0.56 0.53 0.46, probe 0.46 0.52 0.55 0.52 0.47,
    nearest 0.39 0.46 0.48 0.43 0.33. (The fewer lenses are left to find, the lower that is.) Intervals are
    +-0.06: the two are alike, and from 8 examples on the probe finds a hundredth more.
    """
    return "probe" if examples >= MANY else "centroid"


@dataclass(frozen=True)
class Linear:
    """``weights`` [D] and ``offset`` of a score that is a dot product with the unit vector."""

    weights: NDArray[np.float64]
    offset: float = 0.0

    def __call__(self, embedding: Vectors, length: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Scores [N] of vectors [N, D] of these ``length`` [N] (None: of unit length)."""
        scores = along(embedding, self.weights.astype(np.float32))
        if length is not None:
            scores = scores / length
        return scores + np.float32(self.offset)


@dataclass(frozen=True)
class Nearest:
    """Cosine with the most similar of ``like`` [V, D], less ``AGAINST`` times that with the most similar ``unlike``."""

    like: Vectors
    unlike: Vectors

    def __call__(self, embedding: Vectors, length: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Scores [N] of vectors [N, D] of these ``length`` [N] (None: of unit length)."""
        scores = nearest(embedding, self.like)[0]
        if len(self.unlike):
            scores -= np.float32(AGAINST) * nearest(embedding, self.unlike)[0]
        return scores if length is None else scores / length


Scorer = Linear | Nearest


def learned(method: Method, like: Vectors, unlike: Vectors, ordinary: Vectors) -> Scorer:
    """A scorer from examples [V, D], counterexamples [U, D] (U may be 0) and ordinary objects [M, D], M > 0."""
    if method == "nearest":
        return Nearest(like, unlike)
    return centroid(like, ordinary, unlike) if method == "centroid" else probe(like, ordinary, unlike)


def centroid(like: Vectors, ordinary: Vectors, unlike: Vectors | None = None) -> Linear:
    """Along the line from the mean of the others to the mean of ``like`` [V, D], of unit length.

    The means' difference, since all embeddings share a part that says nothing.
    """
    others = ordinary.mean(axis=0, dtype=np.float64)
    if unlike is not None and len(unlike):
        others = (1 - AGAINST) * others + AGAINST * unlike.mean(axis=0, dtype=np.float64)
    direction = like.mean(axis=0, dtype=np.float64) - others
    length = np.linalg.norm(direction)
    return Linear(direction / length if length > 0 else direction)


def probe(like: Vectors, ordinary: Vectors, unlike: Vectors | None = None) -> Linear:
    """Logistic regression, examples and others weighing half each: the score is the log of odds."""
    others = [(ordinary, 1.0)]
    if unlike is not None and len(unlike):
        others = [(ordinary, 1 - AGAINST), (unlike, AGAINST)]
    points = np.vstack([like, *(vectors for vectors, _ in others)])
    share = np.concatenate([np.full(len(v), 0.5 * weight / len(v)) for v, weight in [(like, 1.0), *others]])
    return logistic(points, np.arange(len(points)) < len(like), share, PENALTY)


def logistic(
    points: NDArray[np.floating], target: NDArray[np.floating | np.bool_], share: NDArray[np.float64], penalty: float
) -> Linear:
    """Minimises the log-loss, summed with weights ``share`` [N], of ``target`` [N] in 0..1, + penalty / 2 |weights|^2.

    ``points`` are [N, D].
    """
    from scipy.optimize import minimize

    at: NDArray[np.float64] = points.astype(np.float64)
    wanted = target.astype(np.float64)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, odds = values[:-1], along(at, values[:-1]) + values[-1]
        misfit = share @ (np.logaddexp(0, odds) - wanted * odds)
        pull = share * (probability(odds) - wanted)
        gradient = np.append(at.T @ pull + penalty * weights, pull.sum())
        return float(misfit + penalty / 2 * weights @ weights), gradient

    found = minimize(loss, np.zeros(points.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return Linear(found[:-1], float(found[-1]))


def nearest(vectors: Vectors, like: Vectors) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Largest dot product [N] with a row of ``like`` [V, D], and which [N] that is (-2 and 0 where V is 0)."""
    best, which = np.full(len(vectors), _LEAST, np.float32), np.zeros(len(vectors), np.int64)
    for start in range(0, len(vectors) if len(like) else 0, _ROWS):
        products = vectors[start : start + _ROWS] @ like.T
        here = products.argmax(axis=1)
        which[start : start + _ROWS] = here
        best[start : start + _ROWS] = products[np.arange(len(here)), here]
    return best, which


def probability(odds: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-odds)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(odds.astype(np.float64) / 2)))

"""Methods by examples: a score of how much an object looks like examples, by their mean, the nearest one, or a probe.

The names of the methods stand in ``catalogs.ranking``, where the commands find them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from catalogs.parallel import one_core
from catalogs.ranking import ExampleMethod, Method
from catalogs.store.vectors import Vectors, along

PENALTY = 0.1
"""Of the squared weights of the probe."""
MANY = 8
"""Examples from which ``auto`` takes the probe."""
AGAINST = 0.25
"""Weight of counterexamples; ordinary objects weigh 1 - AGAINST."""
_ROWS = 8192
"""Rows compared at a time, to bound the memory."""
_LEAST = np.float32(-2)
"""Below every cosine."""


def choose_method(examples: int, has_score: bool) -> Method:
    """Choose the method for a number of examples in a catalogue with or without a lens score.

    ``studies.ranking`` measures the choice.
    """
    if has_score:
        return "fused" if examples else "score"
    return choose_by_examples(examples)


def choose_by_examples(examples: int) -> ExampleMethod:
    """Choose the method by examples alone, for their number."""
    return "probe" if examples >= MANY else "centroid"


@dataclass(frozen=True)
class Linear:
    """``weights`` [D] and ``offset`` of a score that is a dot product with the unit vector."""

    weights: NDArray[np.float64]
    offset: float = 0.0

    def __call__(self, embedding: Vectors, length: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Score vectors [N, D] of these ``length`` [N] (None: of unit length)."""
        # Dividing the scores by the lengths is cheaper than dividing the vectors.
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
        """Score vectors [N, D] of these ``length`` [N] (None: of unit length)."""
        scores = find_nearest(embedding, self.like)[0]
        if len(self.unlike):
            scores -= np.float32(AGAINST) * find_nearest(embedding, self.unlike)[0]
        return scores if length is None else scores / length


VectorScorer = Linear | Nearest


def fit_scorer(method: ExampleMethod, like: Vectors, unlike: Vectors, ordinary: Vectors) -> VectorScorer:
    """Fit a scorer to examples [V, D], counterexamples [U, D] (U may be 0) and ordinary objects [M, D], M > 0."""
    match method:
        case "centroid":
            return fit_centroid(like, ordinary, unlike)
        case "nearest":
            return Nearest(like, unlike)
        case "probe":
            return fit_probe(like, ordinary, unlike)
        case _:
            assert_never(method)


def fit_centroid(like: Vectors, ordinary: Vectors, unlike: Vectors | None = None) -> Linear:
    """Score along the line from the mean of the other objects to the mean of ``like`` [V, D]."""
    # The difference of the means removes the part that all embeddings share.
    others = ordinary.mean(axis=0, dtype=np.float64)
    if unlike is not None and len(unlike):
        others = (1 - AGAINST) * others + AGAINST * unlike.mean(axis=0, dtype=np.float64)
    direction = like.mean(axis=0, dtype=np.float64) - others
    length = np.linalg.norm(direction)
    return Linear(direction / length if length > 0 else direction)


def fit_probe(like: Vectors, ordinary: Vectors, unlike: Vectors | None = None) -> Linear:
    """Fit a logistic regression in which examples and others weigh half each; the score is the log of the odds."""
    others = [(ordinary, 1.0)]
    if unlike is not None and len(unlike):
        others = [(ordinary, 1 - AGAINST), (unlike, AGAINST)]
    # Weights [V + M + U] sum to one half for each side, whatever the numbers of objects.
    points = np.vstack([like, *(vectors for vectors, _ in others)])
    share = np.concatenate([np.full(len(v), 0.5 * weight / len(v)) for v, weight in [(like, 1.0), *others]])
    return fit_logistic(points, np.arange(len(points)) < len(like), share, PENALTY)


def fit_logistic(
    points: NDArray[np.floating],
    target: NDArray[np.floating | np.bool_],
    share: NDArray[np.float64],
    penalty: float,
    towards: NDArray[np.float64] | None = None,
) -> Linear:
    """Minimise the log-loss of ``target`` [N] in 0..1 at ``points`` [N, D], weighted by ``share`` [N].

    penalty / 2 |weights|^2 is added to the loss; with weights ``towards`` [D] that are expected, it is their distance
    from these, and no weight is negative.
    """
    from scipy.optimize import minimize

    at: NDArray[np.float64] = points.astype(np.float64)
    expected = target.astype(np.float64)
    start = np.zeros(points.shape[1]) if towards is None else towards
    # The offset has no bounds.
    bounds = [(None if towards is None else 0.0, None)] * len(start) + [(None, None)]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # The last value is the offset, which the penalty leaves free.
        weights, odds = values[:-1], along(at, values[:-1]) + values[-1]
        # logaddexp does not overflow for large odds.
        misfit = share @ (np.logaddexp(0, odds) - expected * odds)
        pull = share * (to_probability(odds) - expected)
        away = weights - start
        gradient = np.append(at.T @ pull + penalty * away, pull.sum())
        return float(misfit + penalty / 2 * away @ away), gradient

    first: NDArray[np.float64] = np.append(start, 0.0)
    # A block of its own, since scipy has a BLAS of its own.
    with one_core():
        best = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}).x
    return Linear(best[:-1], float(best[-1]))


def find_nearest(vectors: Vectors, like: Vectors) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the largest dot product [N] with a row of ``like`` [V, D], and that row [N] (-2 and 0 where V is 0)."""
    best, which = np.full(len(vectors), _LEAST, np.float32), np.zeros(len(vectors), np.int64)
    for start in range(0, len(vectors) if len(like) else 0, _ROWS):
        products = vectors[start : start + _ROWS] @ like.T
        here = products.argmax(axis=1)
        which[start : start + _ROWS] = here
        best[start : start + _ROWS] = products[np.arange(len(here)), here]
    return best, which


def to_probability(odds: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute 1 / (1 + exp(-odds)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(odds.astype(np.float64) / 2)))

"""Measures of a ranking, from the number of wrong objects above each right one, and their estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import DRAWS, Estimate, draw_counts

Places = NDArray[np.int64]
Floats = NDArray[np.float64]
Measure = Callable[[Places], Floats]


def places(above: NDArray[np.int64]) -> Places:
    """Compute the places [..., n], from 1, of n right objects that have ``above`` [..., n] wrong ones above them."""
    return _number(np.sort(above, axis=-1))


def _number(above: NDArray[np.int64]) -> Places:
    # Above the n-th right object lie n - 1 right ones besides the wrong ones.
    return above + np.arange(1, above.shape[-1] + 1)


def average_precision(ranks: Places) -> Floats:
    """Compute the mean over the right objects of the purity down to their places."""
    return np.asarray((np.arange(1, ranks.shape[-1] + 1) / ranks).mean(axis=-1))


def recall(k: int) -> Measure:
    """Make the measure: share of the right objects that are among the first ``k``."""
    return lambda ranks: np.asarray((ranks <= k).mean(axis=-1))


def purity(k: int, others: int | None = None) -> Measure:
    """Make the measure: share of the first ``k`` that is right, also called precision at k.

    With the number of wrong objects, ``others``, a list is no longer than these and the right ones.
    """

    def measure(ranks: Places) -> Floats:
        listed = k if others is None else min(k, others + ranks.shape[-1])
        return np.asarray((ranks <= k).sum(axis=-1) / listed)

    return measure


def ndcg(k: int) -> Measure:
    """Make the measure: discounted cumulative gain of the first ``k`` over that of a perfect ranking.

    Source: Järvelin & Kekäläinen 2002, ACM TOIS 20, 422.
    """

    def measure(ranks: Places) -> Floats:
        gain = np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0).sum(axis=-1)
        return np.asarray(gain / (1 / np.log2(np.arange(2, min(k, ranks.shape[-1]) + 2))).sum())

    return measure


def estimate(
    above: Sequence[NDArray[np.int64]], objects: Sequence[NDArray[np.int64]], measure: Measure, seed: int = 0
) -> Estimate:
    """Estimate the mean of a measure over rankings, from ``above`` [n] and the numbers of the ``objects`` [n] of each.

    Rankings are drawn again, and so are right objects, so the interval covers the choice of the examples and that of
    the objects to be found. An object that several rankings seek is drawn as often in all of them: more rankings of
    the same objects tell no more about other objects.
    """
    value = np.mean([measure(places(one)) for one in above])
    everyone, columns = np.unique(np.concatenate(objects), return_inverse=True)
    counts = draw_counts(np.zeros(len(everyone)), seed).astype(np.int64)  # [DRAWS, objects]
    ends = np.cumsum([len(one) for one in objects])[:-1]
    by_ranking = np.stack(
        [_draw_again(one, counts[:, own], measure) for one, own in zip(above, np.split(columns, ends), strict=True)]
    )
    # The generator of the counts would repeat itself here, so the seed is another one.
    picked = np.random.default_rng([seed, 1]).integers(len(above), size=(len(above), DRAWS))
    of_draws = np.take_along_axis(by_ranking, picked, axis=0)
    # Of few objects, a draw may hold none that a ranking seeks. Such a ranking is left out, and a draw of no others.
    has_value = np.isfinite(of_draws)
    valid = has_value.any(axis=0)
    draws = np.where(has_value, of_draws, 0).sum(axis=0)[valid] / has_value.sum(axis=0)[valid]
    return Estimate.of(float(value), draws)


def _draw_again(above: NDArray[np.int64], counts: NDArray[np.int64], measure: Measure) -> Floats:
    """Measure a ranking with each right object as often as ``counts`` [DRAWS, n] say: [DRAWS], NaN without any."""
    sizes, values = counts.sum(axis=1), np.full(len(counts), np.nan)
    by_size, order = np.argsort(sizes, kind="stable"), np.argsort(above)
    drawn = np.repeat(np.tile(above[order], len(counts)), counts[np.ix_(by_size, order)].ravel())
    # Draws with equally many objects make a table, which a measure takes at once.
    start = 0
    for size, number in zip(*np.unique(sizes, return_counts=True), strict=True):
        stop = start + size * number
        if size:
            values[sizes == size] = measure(_number(drawn[start:stop].reshape(number, size)))
        start = stop
    return values

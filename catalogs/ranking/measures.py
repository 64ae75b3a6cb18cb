"""Measures of a ranking, from the number of wrong objects above each right one, and their estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import DRAWS, Estimate, draw_rows

Places = NDArray[np.int64]
Floats = NDArray[np.float64]
Measure = Callable[[Places], Floats]


def places(above: NDArray[np.int64]) -> Places:
    """Compute the places [..., n], from 1, of n right objects that have ``above`` [..., n] wrong ones above them."""
    # Above the n-th right object lie n - 1 right ones besides the wrong ones.
    return np.sort(above, axis=-1) + np.arange(1, above.shape[-1] + 1)


def average_precision(ranks: Places) -> Floats:
    """Compute the mean over the right objects of the purity down to their places."""
    return np.asarray((np.arange(1, ranks.shape[-1] + 1) / ranks).mean(axis=-1))


def recall(k: int) -> Measure:
    """Make the measure: share of the right objects that are among the first ``k``."""
    return lambda ranks: np.asarray((ranks <= k).mean(axis=-1))


def purity(k: int) -> Measure:
    """Make the measure: share of the first ``k`` that is right, also called precision at k."""
    return lambda ranks: np.asarray((ranks <= k).sum(axis=-1) / k)


def ndcg(k: int) -> Measure:
    """Make the measure: discounted cumulative gain of the first ``k`` over that of a perfect ranking.

    Source: Järvelin & Kekäläinen 2002, ACM TOIS 20, 422.
    """

    def measure(ranks: Places) -> Floats:
        gain = np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0).sum(axis=-1)
        return np.asarray(gain / (1 / np.log2(np.arange(2, min(k, ranks.shape[-1]) + 2))).sum())

    return measure


def estimate(above: Sequence[NDArray[np.int64]], measure: Measure, seed: int = 0) -> Estimate:
    """Estimate the mean of a measure over rankings, ``above`` [n] of each.

    Rankings are drawn again, and within each its right objects, so the interval covers the choice of the examples and
    that of the objects to be found. Rankings of equal length draw the same objects.
    """
    rng = np.random.default_rng(seed)
    value = np.mean([measure(places(one)) for one in above])
    # The seed of the inner draws depends on the number of objects alone, so rankings of equal length share them.
    by_ranking = np.stack([measure(places(one[draw_rows(len(one), DRAWS, [seed, len(one)])])) for one in above])
    picked = rng.integers(len(above), size=(len(above), DRAWS))
    return Estimate.of(float(value), np.take_along_axis(by_ranking, picked, axis=0).mean(axis=0))

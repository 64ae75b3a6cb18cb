"""Krippendorff's alpha: how far the grades of several people agree beyond chance; any grade may be missing.

Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import Estimate, draw_rows

METRICS = ORDINAL, NOMINAL, INTERVAL = "ordinal", "nominal", "interval"
DRAWS = 500

Floats = NDArray[np.float64]


def krippendorff_alpha(values: Floats, metric: str = ORDINAL) -> float:
    """Compute alpha of values [U, R] of U objects by R people, NaN where one gave none.

    1 is perfect agreement, 0 that of chance. It is NaN where it says nothing: no object has two values, or all values
    are the same.
    """
    return _alpha(*_counts(values), metric)


def estimate_alpha(values: Floats, metric: str = ORDINAL, seed: int = 0) -> Estimate:
    """Estimate alpha with its 95 % interval: the objects are drawn again, and draws without a value do not count."""
    counts, levels = _counts(values)
    value = _alpha(counts, levels, metric)
    if not np.isfinite(value):
        return Estimate(value, np.nan, np.nan)
    draws = np.array([_alpha(counts[rows], levels, metric) for rows in draw_rows(len(counts), DRAWS, seed)])
    return Estimate.of(value, draws[np.isfinite(draws)])


def _counts(values: Floats) -> tuple[Floats, Floats]:
    """Count the values of each object [U, V], of those with two values or more; and list the V values, ascending."""
    given = values[np.isfinite(values).sum(axis=1) >= 2]
    levels = np.unique(given[np.isfinite(given)])
    return (given[:, :, None] == levels).sum(axis=1).astype(float), levels


def _alpha(counts: Floats, levels: Floats, metric: str) -> float:
    totals = counts.sum(axis=0)  # n_c
    if (totals > 0).sum() < 2:
        return float("nan")
    distances = _distances(totals, levels, metric)
    # Coincidences o_ck: pairs of values by two people, each object with the weight of its number of people.
    observed = (counts.T @ (counts / (counts.sum(axis=1, keepdims=True) - 1)) * distances).sum()
    expected = (np.outer(totals, totals) * distances).sum() / (totals.sum() - 1)
    return float(1 - observed / expected)


def _distances(totals: Floats, levels: Floats, metric: str) -> Floats:
    """The squared differences [V, V] between values, that depend on how often each is given where they are ordinal."""
    if metric == NOMINAL:
        return np.asarray(levels[:, None] != levels[None, :], float)
    if metric == INTERVAL:
        return np.asarray((levels[:, None] - levels[None, :]) ** 2)
    reached = np.cumsum(totals) - totals / 2
    return np.asarray((reached[:, None] - reached[None, :]) ** 2)

"""Completeness and contamination: at thresholds of the score, and in bins of what the lenses are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.completeness.injected import MOST, Search
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Share

LEVELS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Other objects a square degree at the thresholds of the table."""
BINS = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold of the score: the share of the lenses and the number of other objects that reach it."""

    score: float
    completeness: Share
    others: int
    per_degree: float


@dataclass(frozen=True)
class Bin:
    """The lenses with a property from ``low`` to ``high``, and its ``median``: how many are detected, and found."""

    low: float
    high: float
    median: float
    detected: Share
    found: Share


def at_score(search: Search, score: float) -> Threshold:
    """Measure at a threshold of the score.

    Raises:
        ScannerError: ``completeness.low_threshold``.
    """
    if len(search.others) == MOST and score < search.others[-1]:
        message = f"More than {MOST:,} other objects reach the threshold {score:g}."
        raise ScannerError(
            ErrorCode.COMPLETENESS_LOW_THRESHOLD, message, "Give a higher threshold, or a stricter --where."
        )
    # Others are stored highest first, so that the negated scores ascend.
    others = int(np.searchsorted(-search.others, -score, side="right"))
    completeness = Share.of(int((search.score >= score).sum()), len(search.score))
    return Threshold(score, completeness, others, others / search.area)


def at_level(search: Search, per_degree: float) -> Threshold:
    """Measure at the threshold that fewer than this many other objects a square degree reach.

    A lens that reaches it is among the first ``per_degree`` of a square degree without other lenses.
    """
    place = max(round(per_degree * search.area), 1)
    if place > len(search.others):
        # All objects that have a score are listed.
        scores = np.append(search.others, search.score[np.isfinite(search.score)])
        return at_score(search, float(scores.min()) if len(scores) else 0.0)
    # Just above the object that is the last of these. Scores are float32, so no other lies between.
    return at_score(search, float(np.nextafter(np.float32(search.others[place - 1]), np.float32(np.inf))))


def curve(search: Search) -> list[Threshold]:
    """Measure at the ``LEVELS`` that the catalogue reaches, from one other object in all to as many as there are."""
    reached = [level for level in LEVELS if 1 <= level * search.area <= len(search.others)]
    return [at_level(search, level) for level in reached]


def fine_curve(search: Search, points: int = 80) -> list[Threshold]:
    """Measure at levels evenly in the logarithm, for a figure."""
    counts = np.unique(np.geomspace(1, max(len(search.others), 1), points).astype(int))
    return [at_level(search, count / search.area) for count in counts]


def in_bins(search: Search, score: float, bins: int = BINS) -> dict[str, list[Bin]]:
    """Measure in bins of every property, which hold about as many lenses each."""
    found = search.score >= score
    measured = {}
    for name, values in search.lenses.properties.items():
        known = np.isfinite(values)
        if known.any():
            measured[name] = [
                Bin(
                    float(low),
                    float(high),
                    float(np.median(values[inside])),
                    Share.of(int(search.detected[inside].sum()), int(inside.sum())),
                    Share.of(int(found[inside].sum()), int(inside.sum())),
                )
                for low, high, inside in _divide(values, known, bins)
            ]
    return measured


def _divide(values: Floats, known: NDArray[np.bool_], bins: int) -> list[tuple[float, float, NDArray[np.bool_]]]:
    """Divide values at their quantiles, rounded to three digits, or one by one where there are few.

    Bins without a lens are left out.
    """
    distinct = np.unique(values[known])
    if len(distinct) <= bins:
        return [(float(value), float(value), values == value) for value in distinct]
    edges = np.quantile(values[known], np.linspace(0, 1, bins + 1))
    inner = np.unique([float(f"{edge:.3g}") for edge in edges[1:-1]])
    lowest, highest = edges[0], edges[-1]
    inner = inner[(inner > lowest) & (inner < highest)]
    cuts = np.array([lowest, *inner, highest])
    # A value on an edge belongs to the bin above it; the highest one to the last bin.
    number = np.searchsorted(inner, values, side="right")
    divided = [(cuts[i], cuts[i + 1], known & (number == i)) for i in range(len(cuts) - 1)]
    return [(low, high, inside) for low, high, inside in divided if inside.any()]

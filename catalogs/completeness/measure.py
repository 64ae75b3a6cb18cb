"""Completeness and contamination: at thresholds of the score, and in bins of what the lenses are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.completeness.injected import Search
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import CONFIDENCE, Share

LEVELS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Other objects a square degree at the thresholds of the table."""
BINS = 8
"""The most bins of a property."""
EACH = 10
"""Lenses of a bin: with fewer its interval says little."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold of the score: the share of the lenses and the number of other objects that reach it.

    ``per_degree`` is this number a square degree, and the two after it are its 95 % Poisson interval.
    """

    score: float
    completeness: Share
    others: int
    per_degree: float
    per_degree_low: float
    per_degree_high: float


@dataclass(frozen=True)
class Bin:
    """The lenses with a property from ``low`` to ``high``, and its ``median``: how many are detected, and found."""

    low: float
    high: float
    median: float
    detected: Share
    found: Share


def check_threshold(score: float) -> None:
    """Raise ValueError if a threshold of the score is not finite."""
    if not math.isfinite(score):
        raise ValueError(f"The threshold must be finite, not {score}.")


def check_level(per_degree: float) -> None:
    """Raise ValueError if a number of objects a square degree is not positive and finite."""
    if not 0 < per_degree < math.inf:
        raise ValueError(f"The number of objects a square degree must be positive and finite, not {per_degree}.")


def at_score(search: Search, score: float) -> Threshold:
    """Measure at a threshold of the score.

    Raises:
        ScannerError: ``completeness.low_threshold``.
        ValueError: The threshold is not finite.
    """
    check_threshold(score)
    # Those that tie with the last score that is kept might not all be kept.
    if search.is_truncated and score <= search.others[-1]:
        kept = f"{len(search.others):,}"
        message = f"At least {kept} other objects reach the threshold {score:g}; only the highest {kept} are counted."
        hint = "Give a higher threshold, or a stricter --where."
        raise ScannerError(ErrorCode.COMPLETENESS_LOW_THRESHOLD, message, hint)
    return _count(search, score)


def _count(search: Search, score: float) -> Threshold:
    # Others are stored highest first, so that the negated scores ascend.
    others = int(np.searchsorted(-search.others, -score, side="right"))
    completeness = Share.of(int((search.score >= score).sum()), len(search.score))
    low, high = poisson_interval(others)
    return Threshold(score, completeness, others, others / search.area, low / search.area, high / search.area)


def poisson_interval(count: int) -> tuple[float, float]:
    """Compute the 95 % interval of the mean of a Poisson distribution from one ``count``.

    Source: Garwood (1936), Biometrika 28, 437.
    """
    from scipy.special import gammaincinv

    tail = (1 - CONFIDENCE) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low, float(gammaincinv(count + 1, 1 - tail))


def at_level(search: Search, per_degree: float) -> Threshold:
    """Measure at the threshold that fewer than this many other objects a square degree reach.

    A lens that reaches it is among the first ``per_degree`` of a square degree without other lenses.

    Raises:
        ScannerError: ``completeness.low_threshold``; ``rank.no_ordinary`` for less than one object on all of the area.
        ValueError: The number is not positive and finite.
    """
    check_level(per_degree)
    _check_area(search, per_degree)
    place = max(round(per_degree * search.area), 1)
    if place > len(search.others) and search.is_truncated:
        message = (
            f"{per_degree:g} other objects a square degree are {place:,} on {search.area:.4g} square degrees; "
            f"only the highest {len(search.others):,} are counted."
        )
        hint = "Give a lower --per-degree, or a stricter --where."
        raise ScannerError(ErrorCode.COMPLETENESS_LOW_THRESHOLD, message, hint)
    if place > len(search.others):
        # All objects that have a score are listed.
        scores = np.append(search.others, search.score[np.isfinite(search.score)])
        return _count(search, float(scores.min()) if len(scores) else 0.0)
    # Just above the object that is the last of these. Scores are float32, so no other lies between.
    return _count(search, float(np.nextafter(np.float32(search.others[place - 1]), np.float32(np.inf))))


def _check_area(search: Search, per_degree: float) -> None:
    """Refuse a level of less than one object on the area, whose threshold would lie above the highest of them."""
    # One object in all is often computed as count / area, which rounding may put a little below it.
    if per_degree * search.area > 1 - 1e-9:
        return
    smallest = 1 / search.area
    message = (
        f"{per_degree:g} other objects a square degree are {per_degree * search.area:.2g} on {search.area:.3g} square "
        f"degrees, less than one. The smallest level that this area can measure is {smallest:,.4g}."
    )
    # Rounded up to three digits, so that the number itself is one that is taken.
    unit = 10.0 ** (math.floor(math.log10(smallest)) - 2)
    hint = f"Give --per-degree {math.ceil(smallest / unit) * unit:.6g} or more, or scan more of the sky."
    raise ScannerError(ErrorCode.RANK_NO_ORDINARY, message, hint)


def curve(search: Search) -> list[Threshold]:
    """Measure at the ``LEVELS`` that the catalogue reaches, from one other object in all to as many as there are."""
    reached = [level for level in LEVELS if 1 <= level * search.area <= len(search.others)]
    return [at_level(search, level) for level in reached]


def fine_curve(search: Search, points: int = 80) -> list[Threshold]:
    """Measure at levels evenly in the logarithm, for a figure."""
    counts = np.unique(np.geomspace(1, max(len(search.others), 1), points).astype(int))
    return [at_level(search, count / search.area) for count in counts]


def in_bins(search: Search, score: float, bins: int | None = None) -> dict[str, list[Bin]]:
    """Measure in bins of every property, which hold about as many lenses each.

    By default a bin holds about ``EACH`` lenses or more, and there are ``BINS`` at most.
    """
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
                for low, high, inside in _divide(values, known, bins or _count_bins(int(known.sum())))
            ]
    return measured


def _count_bins(lenses: int) -> int:
    return min(max(lenses // EACH, 1), BINS)


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

"""Estimates: a value with its 95 % interval, by bootstrap, or that of Wilson for a share of counts.

Objects are drawn again with replacement. The same number of objects and the same seed give the same draws, so what is
estimated for two models on the same objects is paired: ``difference`` compares them draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1000
MEAN_DRAWS = 2000
_ENDS = (2.5, 97.5)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """``found`` of ``total``: their ratio ``value`` and its 95 % interval, all NaN where ``total`` is 0.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209; recommended by Brown, Cai & DasGupta (2001), Stat. Sci. 16, 101,
    for small counts and shares near 0 or 1.
    """

    found: int
    total: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: int, total: int) -> Share:
        """Estimate a share from counts."""
        if total == 0:
            return cls(found, total, np.nan, np.nan, np.nan)
        from astropy.stats import binom_conf_interval

        low, high = binom_conf_interval(found, total, confidence_level=CONFIDENCE, interval="wilson")
        return cls(found, total, found / total, float(low), float(high))


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Floats) -> Estimate:
        """The interval holds the middle 95 % of what the ``draws`` [D] give."""
        low, high = np.percentile(draws, _ENDS)
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True)
class PairedEstimate(Estimate):
    """An estimate that keeps its ``draws`` [DRAWS], to be compared with another of the same objects.

    ``spread`` is the standard deviation between random seeds, where ``average`` has put several together; else NaN.
    """

    draws: Floats = field(repr=False, compare=False)
    spread: float = float("nan")

    @classmethod
    def of(cls, value: float, draws: Floats, spread: float = float("nan")) -> PairedEstimate:
        """As ``Estimate.of``."""
        interval = Estimate.of(value, draws)
        return cls(interval.value, interval.low, interval.high, draws, spread)


def draw_rows(count: int, draws: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """Draw ``count`` of ``count`` objects with replacement, ``draws`` times: their rows [draws, count]."""
    return np.random.default_rng(seed).integers(count, size=(draws, count))


def draw_counts(strata: NDArray[np.generic], seed: int = 0) -> Floats:
    """Count how often each of N objects is drawn with replacement among its own stratum [N]: [DRAWS, N].

    Counts serve what is a weighted sum over objects; they are drawn once for all models.
    """
    members = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    counts = np.empty((DRAWS, len(strata)))
    for rows, draws in zip(members, _counts(tuple(map(len, members)), seed), strict=True):
        counts[:, rows] = draws
    return counts


@lru_cache(maxsize=4)
def _counts(sizes: tuple[int, ...], seed: int) -> tuple[Floats, ...]:
    random = np.random.default_rng(seed)
    # How often each of N objects is drawn in N draws with replacement is multinomial. The same sizes and seed give all
    # models the same draws, and the cache keeps these.
    return tuple(random.multinomial(size, np.full(size, 1 / size), DRAWS).astype(np.float64) for size in sizes)


def estimate_mean(shares: Floats, seed: int = 0) -> Estimate:
    """Estimate the mean of the shares [Q] that were found of each question, the questions drawn again."""
    return Estimate.of(shares.mean(), shares[draw_rows(len(shares), MEAN_DRAWS, seed)].mean(axis=1))


def estimate_paired_mean(values: Floats) -> PairedEstimate:
    """Estimate the mean over queries or objects [N], drawn alike for all models."""
    # There is one stratum: all objects are drawn together.
    counts = draw_counts(np.zeros(len(values)))
    return PairedEstimate.of(np.asarray(values, np.float64).mean(), counts @ values / len(values))


def average(estimates: Sequence[PairedEstimate]) -> PairedEstimate:
    """Average several estimates draw by draw, and compute the spread between them."""
    values = [estimate.value for estimate in estimates]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    draws = np.mean([estimate.draws for estimate in estimates], axis=0)
    return PairedEstimate.of(float(np.mean(values)), draws, spread)


def difference(one: PairedEstimate, other: PairedEstimate) -> PairedEstimate:
    """Estimate by how much ``one`` is above ``other``, draw by draw."""
    return PairedEstimate.of(one.value - other.value, one.draws - other.draws)


def measure_recall(truth: Sequence[int] | NDArray[np.int64], answer: Sequence[int] | NDArray[np.int64]) -> float:
    """Tell which share of ``truth`` is in ``answer``."""
    return len(set(map(int, truth)) & set(map(int, answer))) / max(len(truth), 1)

"""Estimates: a value with its 95 % interval, by bootstrap, or that of Wilson for a share of counts.

Objects are drawn again with replacement. The same number of objects and the same seed give the same draws, so what is
estimated for two models on the same objects is paired: ``difference`` compares them draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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

    ``counts`` are (N,) for a share of N objects, whose interval is that of Wilson, and (L, M) for the area under the
    curve of L objects against M others; else they are empty. ``spread`` is the standard deviation between random
    seeds, where ``average`` has put several together; else NaN.
    """

    draws: Floats = field(repr=False, compare=False)
    spread: float = float("nan")
    counts: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, value: float, draws: Floats, spread: float = float("nan"), counts: tuple[int, ...] = ()
    ) -> PairedEstimate:
        """As ``Estimate.of``."""
        interval = Estimate.of(value, draws)
        return cls(interval.value, interval.low, interval.high, draws, spread, counts)

    @property
    def is_share(self) -> bool:
        """Tell whether the interval is that of Wilson."""
        return len(self.counts) == 1


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


def estimate_paired_mean(values: Floats, seed: int = 0) -> PairedEstimate:
    """Estimate the mean over queries or objects [N], drawn alike for all models.

    Estimates of other objects that are to be averaged with it need another ``seed``.
    """
    # There is one stratum: all objects are drawn together.
    counts = draw_counts(np.zeros(len(values)), seed)
    return PairedEstimate.of(np.asarray(values, np.float64).mean(), counts @ values / len(values))


def estimate_paired_share(has: NDArray[np.generic]) -> PairedEstimate:
    """Estimate the share of the objects [N] that have a property (1 or 0), drawn alike for all models.

    The interval is that of Wilson, since every draw of equal values is the same. The draws serve for differences.

    Raises:
        ValueError: A value is neither 1 nor 0.
    """
    values = np.asarray(has, np.float64)
    if not np.isin(values, (0, 1)).all():
        raise ValueError("a share is of values that are 1 or 0")
    share = Share.of(int(values.sum()), len(values))
    return replace(estimate_paired_mean(values), low=share.low, high=share.high, counts=(share.total,))


def average(estimates: Sequence[PairedEstimate]) -> PairedEstimate:
    """Average several estimates of the same objects draw by draw, and compute the spread between them.

    Of shares, the ends of the intervals are averaged: more estimates are no more objects.
    """
    values = [estimate.value for estimate in estimates]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    draws = np.mean([estimate.draws for estimate in estimates], axis=0)
    mean = PairedEstimate.of(float(np.mean(values)), draws, spread, estimates[0].counts)
    if not mean.is_share:
        return mean
    low, high = (float(np.mean([getattr(one, end) for one in estimates])) for end in ("low", "high"))
    return replace(mean, low=low, high=high)


def difference(one: PairedEstimate, other: PairedEstimate) -> PairedEstimate:
    """Estimate by how much ``one`` is above ``other``, draw by draw."""
    return PairedEstimate.of(one.value - other.value, one.draws - other.draws)


def measure_recall(truth: Sequence[int] | NDArray[np.int64], answer: Sequence[int] | NDArray[np.int64]) -> float:
    """Tell which share of ``truth`` is in ``answer``."""
    return len(set(map(int, truth)) & set(map(int, answer))) / max(len(truth), 1)

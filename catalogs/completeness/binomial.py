"""Shares of counts, with the binomial interval of Wilson."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

"""Estimates: a value with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


_DRAWS = 2000


def interval(shares: NDArray[np.float64], seed: int = 0) -> Estimate:
    """Mean of the shares [Q] found for each question, resampled over the questions."""
    means = shares[np.random.default_rng(seed).integers(len(shares), size=(_DRAWS, len(shares)))].mean(axis=1)
    return Estimate(float(shares.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975)))


def shared(truth: Sequence[int] | NDArray[np.int64], found: Sequence[int] | NDArray[np.int64]) -> float:
    """Which share of ``truth`` is in ``found``."""
    return len(set(map(int, truth)) & set(map(int, found))) / max(len(truth), 1)

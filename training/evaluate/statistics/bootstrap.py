"""Estimates that know how sure they are: every object counts as often as a resample draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.evaluate.statistics.metrics import Bools, Floats

DRAWS = 1000
LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value and its bootstrap ``draws`` [DRAWS].

    The same resamples serve every model, so draws of two models pair (see ``difference``). ``spread`` is the standard
    deviation between seeds, where ``averaged`` has put several together; NaN otherwise.
    """

    value: float
    draws: Floats = field(repr=False, compare=False)
    spread: float = float("nan")

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return float(np.percentile(self.draws, LEVEL[0]))

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return float(np.percentile(self.draws, LEVEL[1]))


@lru_cache(maxsize=4)
def _counts(sizes: tuple[int, ...], seed: int) -> tuple[Floats, ...]:
    random = np.random.default_rng(seed)
    return tuple(random.multinomial(size, np.full(size, 1 / size), DRAWS).astype(np.float64) for size in sizes)


def resamples(strata: NDArray[np.generic], seed: int = 0) -> Floats:
    """How often each of N objects is drawn, with replacement among its own stratum [N]: [DRAWS, N]."""
    rows = [np.flatnonzero(strata == name) for name in np.unique(strata)]
    counts = np.empty((DRAWS, len(strata)))
    for part, drawn in zip(rows, _counts(tuple(map(len, rows)), seed), strict=True):
        counts[:, part] = drawn
    return counts


def mean_estimate(values: Floats) -> Estimate:
    """Mean over queries, objects or draws [N]."""
    values = np.asarray(values, np.float64)
    counts = resamples(np.zeros(len(values)))
    return Estimate(float(values.mean()), counts @ values / len(values))


def auc_estimate(score: Floats, is_lens: Bools, strata: NDArray[np.generic] | None = None) -> Estimate:
    """Chance that a lens scores above a negative, a tie counting a half; lenses and negatives (or ``strata``) resampled
    each among themselves."""
    counts = resamples(is_lens if strata is None else strata)
    lenses, others = score[is_lens][:, None], score[~is_lens]
    won = (lenses > others) + 0.5 * (lenses == others)
    draws = np.einsum("dl,dl->d", counts[:, is_lens], counts[:, ~is_lens] @ won.T)
    return Estimate(float(won.mean()), draws / won.size)


def r2_estimate(truth: Floats, predicted: Floats) -> Estimate:
    """Share of the variance of ``truth`` that ``predicted`` explains; 0 for its mean, negative for worse."""
    counts, centred = resamples(np.zeros(len(truth))), truth - truth.mean()

    def explained(weights: Floats) -> Floats:
        mean = weights @ centred / len(truth)
        return np.asarray(1 - weights @ (truth - predicted) ** 2 / (weights @ centred**2 - len(truth) * mean**2))

    return Estimate(float(explained(np.ones(len(truth)))), explained(counts))


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several estimates, draw by draw, and their spread."""
    values = [estimate.value for estimate in estimates]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Estimate(float(np.mean(values)), np.mean([estimate.draws for estimate in estimates], axis=0), spread)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """``one`` less ``other``, paired: both were resampled alike."""
    return Estimate(one.value - other.value, one.draws - other.draws)

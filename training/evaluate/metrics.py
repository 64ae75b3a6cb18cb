"""Measures of a ranking, one number a query, and bootstrap intervals of their means.

Notation: a query's candidates, best first, are bool ``hits`` [n]: whether each is a lens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DRAWS = 1000
LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def average_precision(hits: Bools) -> float:
    """Mean, over the lenses, of the precision at their ranks."""
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def precision(hits: Bools, k: int = 10) -> float:
    """Share of lenses among the first ``k``."""
    return float(np.mean(hits[:k]))


def recall(hits: Bools, k: int = 50) -> float:
    """Share of all lenses that are among the first ``k``."""
    return float(hits[:k].sum() / hits.sum())


def ndcg(hits: Bools, k: int = 10) -> float:
    """Discounted cumulative gain of the first ``k`` over that of a perfect ranking; gains of 0 and 1."""
    discount = 1 / np.log2(np.arange(2, min(k, len(hits)) + 2))
    return float(hits[:k] @ discount / discount[: int(hits.sum())].sum())


MEASURES: dict[str, Callable[[Bools], float]] = {
    "mAP": average_precision,
    "P@10": precision,
    "recall@50": recall,
    "nDCG@10": ndcg,
}


def leave_one_out(similarity: Floats, is_lens: Bools) -> dict[str, Floats]:
    """Every measure for every lens as query against all other objects: [number of lenses] each.

    ``similarity`` [N, N]; equal similarities keep the order of the objects reversed, lenses first in the data last.
    """
    everyone = np.arange(len(is_lens))
    hits = []
    for query in np.flatnonzero(is_lens):
        others = everyone[everyone != query][::-1]
        hits.append(is_lens[others[np.argsort(-similarity[query, others], kind="stable")]])
    return {name: np.array([measure(row) for row in hits]) for name, measure in MEASURES.items()}


def auc(score: Floats, is_lens: Bools) -> float:
    """Chance that a lens scores above a negative; a tie counts a half."""
    ranks, lenses = rankdata(score), int(is_lens.sum())
    return float((ranks[is_lens].sum() - lenses * (lenses + 1) / 2) / (lenses * (len(score) - lenses)))


def mean_estimate(values: Floats, seed: int = 0) -> Estimate:
    """Mean over queries (or objects, or draws) with its interval, by resampling them."""
    values = np.asarray(values, np.float64)
    picks = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    return Estimate(float(values.mean()), *_interval(values[picks].mean(axis=1)))


def auc_estimate(score: Floats, is_lens: Bools, seed: int = 0) -> Estimate:
    """Area under the curve with its interval, by resampling lenses and negatives each among themselves."""
    random, parts = np.random.default_rng(seed), (np.flatnonzero(is_lens), np.flatnonzero(~is_lens))
    draws = []
    for _ in range(DRAWS):
        pick = np.concatenate([random.choice(part, len(part)) for part in parts])
        draws.append(auc(score[pick], is_lens[pick]))
    return Estimate(auc(score, is_lens), *_interval(np.array(draws)))


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, LEVEL)
    return float(low), float(high)

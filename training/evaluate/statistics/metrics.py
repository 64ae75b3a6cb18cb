"""Measures of a ranking, one number a query.

Notation: a query's candidates, best first, are bool ``hits`` [n]: whether each is a lens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def average_precision(hits: Bools) -> float:
    """Mean, over the lenses, of the precision at their ranks."""
    ranks = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def precision(hits: Bools, k: int = 10) -> float:
    """Share of lenses among the first ``k``: the purity of the list."""
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
    "recall@10": lambda hits: recall(hits, 10),
    "recall@50": recall,
    "nDCG@10": ndcg,
}


def ranked(score: Floats, is_lens: Bools) -> Bools:
    """``is_lens`` by falling score. Of equal scores the later object comes first: lenses are stored first."""
    return np.asarray(is_lens[::-1][np.argsort(-score[::-1], kind="stable")])


def leave_one_out(similarity: Floats, is_lens: Bools) -> list[Bools]:
    """Hits of every lens as query against all other objects; ``similarity`` [N, N]."""
    everyone = np.arange(len(is_lens))
    others = ((query, everyone != query) for query in np.flatnonzero(is_lens))
    return [ranked(similarity[query, rest], is_lens[rest]) for query, rest in others]


def recall_curve(hits: Sequence[Bools], most: int = 500) -> Floats:
    """Mean over queries of the recall among the first 1, 2, ..., ``most`` candidates: [most]."""
    curves = [np.cumsum(row)[:most] / row.sum() for row in hits]
    return np.asarray(np.mean(curves, axis=0), np.float64)

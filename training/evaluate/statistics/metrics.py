"""Rankings of lenses among other objects, and the measures of them that a table shows.

Notation: the candidates of a query, best first, are bool ``hits`` [n]: whether each is a lens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.ranking.measures import Measure, Places, average_precision, ndcg, purity, recall

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MEASURES: dict[str, Measure] = {
    "mAP": average_precision,
    "P@10": purity(10),
    "recall@10": recall(10),
    "recall@50": recall(50),
    "nDCG@10": ndcg(10),
}


def places(hits: Bools) -> Places:
    """Find the places of the lenses, from 1, for ``catalogs.ranking.measures``."""
    return np.flatnonzero(hits) + 1


def ranked(score: Floats, is_lens: Bools) -> Bools:
    """Sort ``is_lens`` by falling score; of equal scores the later comes first, since lenses are stored first."""
    return np.asarray(is_lens[::-1][np.argsort(-score[::-1], kind="stable")])


def auc(score: Floats, is_lens: Bools) -> float:
    """Compute the chance that a lens scores above a negative, a tie counting a half."""
    return float(wins(score, is_lens).mean())


def wins(score: Floats, is_lens: Bools) -> Floats:
    """Tell for each pair whether the lens scores higher: 1, 0, or a half for a tie, [lenses, negatives]."""
    lenses, others = score[is_lens][:, None], score[~is_lens]
    return np.asarray((lenses > others) + 0.5 * (lenses == others))


def leave_one_out(similarity: Floats, is_lens: Bools) -> list[Bools]:
    """Rank all other objects for each lens as query; ``similarity`` is [N, N]."""
    everyone = np.arange(len(is_lens))
    others = ((query, everyone != query) for query in np.flatnonzero(is_lens))
    return [ranked(similarity[query, rest], is_lens[rest]) for query, rest in others]


def recall_curve(hits: Sequence[Bools], most: int = 500) -> Floats:
    """Average the recall among the first 1, 2, ..., ``most`` candidates over queries: [most]."""
    curves = [np.cumsum(row)[:most] / row.sum() for row in hits]
    return np.asarray(np.mean(curves, axis=0), np.float64)

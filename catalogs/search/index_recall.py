"""How well the index answers: against exact search, over the whole catalogue, as it would be asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Estimate, estimate_mean, measure_recall
from catalogs.index.coverage import covering
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import VECTORS
from catalogs.search.candidates import Candidates
from catalogs.search.hits import Hits
from catalogs.store import vectors
from catalogs.store.tile_store import Snapshot, TileStore
from catalogs.store.vectors import Vectors

QUESTIONS = 200
_TIMED = 15
_TOGETHER = 100


@dataclass(frozen=True)
class Verified:
    """Recall against exact search over ``rows`` indexed rows, and milliseconds a question, search alone (median).

    ``default`` is what a question to this catalogue gets: ``exact`` or ``index``.
    """

    rows: int
    questions: int
    recall_at_10: Estimate
    recall_at_100: Estimate
    index_ms: float
    exact_ms: float
    default: str
    recipe: IndexSettings


def verify(catalogue: TileStore, questions: int = QUESTIONS, seed: int = 0) -> Verified:
    """Ask for neighbours of ``questions`` random objects, each through the index and exactly, itself left out.

    Raises ``ScannerError`` ``index.none`` where there is no index, and as ``covering`` does.
    """
    snapshot = catalogue.snapshot()
    asked, rows, recipe = _drawn(snapshot, questions, seed)
    shares: dict[int, list[float]] = {10: [], 100: []}
    for start in range(0, len(asked), _TOGETHER):
        some = asked[start : start + _TOGETHER]
        exact, by_index = (_ask(snapshot, some, way) for way in ("exact", "index"))
        for truth, found in zip(exact, by_index, strict=True):
            others, answered = (hits.object_id[hits.object_id != truth.object_id[0]] for hits in (truth, found))
            for k, of_each in shares.items():
                of_each.append(measure_recall(others[:k], answered[:k]))
    index_ms, exact_ms = _latency(snapshot, asked[:_TIMED])
    return Verified(
        rows=rows,
        questions=len(asked),
        recall_at_10=estimate_mean(np.array(shares[10])),
        recall_at_100=estimate_mean(np.array(shares[100])),
        index_ms=index_ms,
        exact_ms=exact_ms,
        default="index" if Candidates(snapshot, asked[:1]).large else "exact",
        recipe=recipe,
    )


def _ask(snapshot: Snapshot, questions: Vectors, way: str) -> list[Hits]:
    """The 101 best of the indexed rows: the first of the exact ones is the object that asked."""
    return Candidates(snapshot, questions, way=way, indexed_only=True).best(101)


def _latency(snapshot: Snapshot, questions: Vectors) -> tuple[float, float]:
    took: dict[str, list[float]] = {"index": [], "exact": []}
    for question in questions:
        for way, seconds in took.items():
            search = Candidates(snapshot, question[None], way=way, indexed_only=True)
            began = time.perf_counter()
            search.best(104)
            seconds.append(time.perf_counter() - began)
    return 1000 * median(took["index"]), 1000 * median(took["exact"])


def _drawn(snapshot: Snapshot, count: int, seed: int) -> tuple[Vectors, int, IndexSettings]:
    """Unit vectors of random indexed objects, how many are indexed, and how the index is asked."""
    shards = [shard for shard, _ in covering(snapshot.catalogue, snapshot.footers) if shard.rows]
    if not shards:
        message = f"The catalogue {snapshot.catalogue.path} has no index to verify."
        raise ScannerError(
            ErrorCode.INDEX_NONE, message, f"Make one: scanner index --catalog {snapshot.catalogue.path}"
        )
    rng = np.random.default_rng(seed)
    sizes = np.array([shard.rows for shard in shards])
    shares: NDArray[np.int64] = rng.multinomial(min(count, int(sizes.sum())), sizes / sizes.sum())
    found = []
    for shard, share in zip(shards, shares, strict=True):
        rows = HalfVectors(shard.path(snapshot.catalogue.path / "index", VECTORS), shard.dim)
        found += list(rows.leading(shard.dim, np.sort(rng.choice(shard.rows, min(share, shard.rows), replace=False))))
    return vectors.unit(np.concatenate(found)), int(sizes.sum()), shards[0].recipe

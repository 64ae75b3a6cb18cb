"""Recall of the index: its answers compared with exact search, over the whole catalogue."""

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
from catalogs.store import vectors
from catalogs.store.backend import Snapshot
from catalogs.store.tile_store import TileStore, need_folder
from catalogs.store.vectors import Vectors

QUESTIONS = 200
_TIMED = 15
_TOGETHER = 100


@dataclass(frozen=True)
class Verified:
    """Recall against exact search over ``rows`` indexed rows, and the median milliseconds of a search.

    ``default`` is how this catalogue answers a question by default: ``exact`` or ``index``.
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
    """Search for the neighbours of ``questions`` random objects, each through the index and exactly.

    Raises:
        ScannerError: ``index.none`` where there is no index; codes of ``coverage.covering``.
    """
    snapshot = catalogue.snapshot()
    directions, rows, recipe = _draw_questions(snapshot, questions, seed)
    shares: dict[int, list[float]] = {10: [], 100: []}
    for start in range(0, len(directions), _TOGETHER):
        some = directions[start : start + _TOGETHER]
        # Each object finds itself, so one more than 100 is asked for.
        exact, by_index = (_search(snapshot, some, way).best(101) for way in ("exact", "index"))
        for truth, answer in zip(exact, by_index, strict=True):
            # The first of the exact answer is the object itself.
            others, answered = (hits.object_id[hits.object_id != truth.object_id[0]] for hits in (truth, answer))
            for k, shares_at_k in shares.items():
                shares_at_k.append(measure_recall(others[:k], answered[:k]))
    took: dict[str, list[float]] = {"index": [], "exact": []}
    for direction in directions[:_TIMED]:
        for way, seconds in took.items():
            search = _search(snapshot, direction[None], way)
            began = time.perf_counter()
            # A question for ten neighbours takes as many candidates.
            search.best(104)
            seconds.append(time.perf_counter() - began)
    return Verified(
        rows=rows,
        questions=len(directions),
        recall_at_10=estimate_mean(np.array(shares[10])),
        recall_at_100=estimate_mean(np.array(shares[100])),
        index_ms=1000 * median(took["index"]),
        exact_ms=1000 * median(took["exact"]),
        default="index" if Candidates(snapshot, directions[:1]).large else "exact",
        recipe=recipe,
    )


def _search(snapshot: Snapshot, directions: Vectors, way: str) -> Candidates:
    return Candidates(snapshot, directions, way=way, indexed_only=True)


def _draw_questions(snapshot: Snapshot, count: int, seed: int) -> tuple[Vectors, int, IndexSettings]:
    """Draw unit vectors of random indexed objects; also return how many are indexed, and the settings of the index."""
    catalogue = need_folder(snapshot.catalogue)
    shards = [shard for shard, _ in covering(catalogue, snapshot.footers) if shard.rows]
    if not shards:
        message = f"The catalogue {catalogue.path} has no index to verify."
        raise ScannerError(ErrorCode.INDEX_NONE, message, f"Make one: scanner index --catalog {catalogue.path}")
    rng = np.random.default_rng(seed)
    sizes = np.array([shard.rows for shard in shards])
    shares: NDArray[np.int64] = rng.multinomial(min(count, int(sizes.sum())), sizes / sizes.sum())
    blocks: list[Vectors] = []
    for shard, share in zip(shards, shares, strict=True):
        halves = HalfVectors(shard.path(catalogue.path / "index", VECTORS), shard.dim)
        numbers = np.sort(rng.choice(shard.rows, min(share, shard.rows), replace=False))
        blocks += halves.leading(shard.dim, numbers)
    return vectors.unit(np.concatenate(blocks)), int(sizes.sum()), shards[0].recipe

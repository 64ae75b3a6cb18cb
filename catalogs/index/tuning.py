"""Tuning an engine by measurement: the cheapest trees and effort that reach a target recall.

Recall is measured within one shard, on rows of its own as queries, each left out of its own answer. Over many shards it
can only be higher: each shard then has to find fewer of the nearest ten.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Estimate, estimate_mean, measure_recall
from catalogs.index.engine import Engine, find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ENGINE, VECTORS, Shard
from catalogs.store.vectors import Vectors, unit

log = logging.getLogger(__name__)

QUERIES = 200
NEAREST = 10
FOLDER = ".tuning-"
_AS_QUICK = 0.1


def tune(shard: Shard, folder: Path, target: float, trees: Sequence[int]) -> IndexSettings:
    """Choose the trees and effort with which ``shard`` reaches ``target`` recall@10 in the least time.

    The lower end of the interval has to reach it. Of equally quick settings, those with the fewest trees are taken.

    Raises:
        ScannerError: ``index.recall``: no settings reach the target.
    """
    rows = HalfVectors(shard.path(folder, VECTORS), shard.dim)
    test = _RecallTest(rows, shard.recipe)
    candidates: list[tuple[float, IndexSettings]] = []
    highest = 0.0
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=folder) as scratch:
        for count in trees:
            settings = replace(shard.recipe, trees=count)
            path = shard.path(folder, ENGINE)
            # The shard's own file serves for its own number of trees; others are built in a scratch folder.
            if settings.file_key != shard.recipe.file_key:
                path = Path(scratch) / f"{count}{ENGINE}"
                find_engine(settings.engine).build(path, rows, settings, on_disk=False)
            settings, seconds, recall = test.least_effort(path, settings, target)
            highest = max(highest, recall.low)
            label = f"{count} trees, effort {settings.effort}" if count else f"effort {settings.effort}"
            log.info("%s: recall@10 %.3f [%.3f, %.3f], %.2f ms a shard", label, recall.value, recall.low, recall.high,
                     1000 * seconds)  # fmt: skip
            if recall.low >= target:
                candidates.append((seconds, settings))
    if not candidates:
        raise ScannerError(
            ErrorCode.INDEX_RECALL,
            f"No settings reach a recall of {target} with {shard.recipe.dims} dimensions: at most {highest:.3f}.",
            "Index more --index-dims, or lower --target-recall; exact search does not depend on the index.",
        )
    return choose_cheapest(candidates)


def choose_cheapest(candidates: Sequence[tuple[float, IndexSettings]]) -> IndexSettings:
    """Of settings with their seconds, take those of the fewest trees that are within a tenth of the quickest."""
    enough = (1 + _AS_QUICK) * min(seconds for seconds, _ in candidates)
    return min((settings for seconds, settings in candidates if seconds <= enough), key=lambda one: one.trees)


class _RecallTest:
    """Queries to one shard, and their exact answers."""

    def __init__(self, rows: HalfVectors, settings: IndexSettings) -> None:
        self._rows = rows
        # Sorted numbers read the memory map from front to back.
        self._numbers = np.sort(np.random.default_rng(settings.seed).permutation(len(rows))[:QUERIES])
        nothing = np.zeros((0, rows.dim), np.float32)
        self._queries: Vectors = unit(np.concatenate([nothing, *rows.leading(rows.dim, self._numbers)]))
        # Each query finds itself, so one more is asked for.
        answers = rows.best(self._queries, NEAREST + 1) if len(self._numbers) else []
        self._truth = [_others(number, *answer) for number, answer in zip(self._numbers, answers, strict=True)]

    def least_effort(self, path: Path, settings: IndexSettings, target: float) -> tuple[IndexSettings, float, Estimate]:
        """Find the least effort that reaches ``target`` (else the most), its seconds a query, and its recall."""
        engine = find_engine(settings.engine)
        loaded = engine.load(path, settings)
        seconds, recall = 0.0, Estimate(1.0, 1.0, 1.0)
        # Efforts ascend, so the first that reaches the target is the least.
        for effort in engine.EFFORTS if len(self._numbers) else engine.EFFORTS[:1]:
            settings = replace(settings, effort=effort)
            if len(self._numbers):
                seconds, recall = self._measure(engine, loaded, settings)
            if recall.low >= target:
                break
        return settings, seconds, recall

    def _measure(self, engine: Engine, loaded: object, settings: IndexSettings) -> tuple[float, Estimate]:
        took, shares = [], []
        for number, query, truth in zip(self._numbers, self._queries, self._truth, strict=True):
            began = time.perf_counter()
            # As a query does it: candidates of the engine, ranked again by exact cosines.
            nearest = engine.nearest(loaded, query[: settings.dims], settings.candidates, settings.effort)
            cosine = self._rows.cosines(nearest, query)
            took.append(time.perf_counter() - began)
            shares.append(measure_recall(truth, _others(number, nearest, cosine)))
        return median(took), estimate_mean(np.array(shares))


def _others(itself: int, numbers: NDArray[np.int64], cosine: Vectors) -> NDArray[np.int64]:
    """Order the ten best without the query itself; equal ones by their numbers."""
    ordered = numbers[np.lexsort((numbers, -cosine))]
    others: NDArray[np.int64] = ordered[ordered != itself][:NEAREST]
    return others

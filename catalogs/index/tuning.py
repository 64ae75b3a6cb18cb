"""How an engine is asked, by measurement: the cheapest trees and effort that find the wanted share of the nearest.

Measured within one shard, on rows of its own as questions, themselves left out. Over many shards recall can only be
higher: of the nearest ten of all, each shard has to find but its very best.
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

QUESTIONS = 200
NEAREST = 10
FOLDER = ".tuning-"
_AS_QUICK = 0.1


def recipe_for(shard: Shard, folder: Path, target: float, trees: Sequence[int]) -> IndexSettings:
    """The recipe of ``shard`` with the trees and effort that reach ``target`` recall@10 in the least time.

    The lower end of the interval has to reach it; of equally quick ones, that of the fewest trees. Raises
    ``ScannerError`` ``index.recall`` where nothing does.
    """
    rows = HalfVectors(shard.path(folder, VECTORS), shard.dim)
    trial = _Trial(rows, shard.recipe)
    found: list[tuple[float, IndexSettings]] = []
    best = 0.0
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=folder) as scratch:
        for count in trees:
            recipe = replace(shard.recipe, trees=count)
            path = shard.path(folder, ENGINE)
            if recipe.made != shard.recipe.made:
                path = Path(scratch) / f"{count}{ENGINE}"
                find_engine(recipe.engine).build(path, rows, recipe, on_disk=False)
            reached, seconds, recall = trial.least(path, recipe, target)
            best = max(best, recall.low)
            told = f"{count} trees, effort {reached.effort}" if count else f"effort {reached.effort}"
            log.info("%s: recall@10 %.3f [%.3f, %.3f], %.2f ms a shard", told, recall.value, recall.low, recall.high,
                     1000 * seconds)  # fmt: skip
            if recall.low >= target:
                found.append((seconds, reached))
    if not found:
        raise ScannerError(
            ErrorCode.INDEX_RECALL,
            f"A recall of {target} cannot be had with {shard.recipe.dims} dimensions: at most {best:.3f} for certain.",
            "Index more --index-dims, or ask for less; exact search needs no index to be right.",
        )
    return cheapest(found)


def cheapest(found: Sequence[tuple[float, IndexSettings]]) -> IndexSettings:
    """Of recipes with their seconds, one that is as quick as the quickest within a tenth, with the fewest trees."""
    enough = (1 + _AS_QUICK) * min(seconds for seconds, _ in found)
    return min((recipe for seconds, recipe in found if seconds <= enough), key=lambda recipe: recipe.trees)


class _Trial:
    """Questions to one shard, and their true answers."""

    def __init__(self, rows: HalfVectors, recipe: IndexSettings) -> None:
        self._rows = rows
        asked = np.sort(np.random.default_rng(recipe.seed).permutation(len(rows))[:QUESTIONS])
        self._asked = asked
        nothing = np.zeros((0, rows.dim), np.float32)
        self._questions: Vectors = unit(np.concatenate([nothing, *rows.leading(rows.dim, asked)]))
        answers = rows.best(self._questions, NEAREST + 1) if len(asked) else []
        self._truth = [self._others(number, *answer) for number, answer in zip(asked, answers, strict=True)]

    def least(self, path: Path, recipe: IndexSettings, target: float) -> tuple[IndexSettings, float, Estimate]:
        """The least effort that reaches ``target`` (else the most), its seconds a question, and its recall."""
        engine = find_engine(recipe.engine)
        loaded = engine.load(path, recipe)
        seconds, recall = 0.0, Estimate(1.0, 1.0, 1.0)
        for effort in engine.EFFORTS if len(self._asked) else engine.EFFORTS[:1]:
            recipe = replace(recipe, effort=effort)
            if len(self._asked):
                seconds, recall = self._measured(engine, loaded, recipe)
            if recall.low >= target:
                break
        return recipe, seconds, recall

    def _measured(self, engine: Engine, loaded: object, recipe: IndexSettings) -> tuple[float, Estimate]:
        took, shares = [], []
        for number, question, truth in zip(self._asked, self._questions, self._truth, strict=True):
            began = time.perf_counter()
            found = engine.nearest(loaded, question[: recipe.dims], recipe.candidates, recipe.effort)
            cosine = self._rows.cosines(found, question)
            took.append(time.perf_counter() - began)
            shares.append(measure_recall(truth, self._others(number, found, cosine)))
        return median(took), estimate_mean(np.array(shares))

    @staticmethod
    def _others(itself: int, numbers: NDArray[np.int64], cosine: Vectors) -> NDArray[np.int64]:
        """The ten best besides the question itself; equals in the order of their numbers."""
        ordered = numbers[np.lexsort((numbers, -cosine))]
        others: NDArray[np.int64] = ordered[ordered != itself][:NEAREST]
        return others

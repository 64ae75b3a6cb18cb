"""How many lists of the index to ask: the quickest settings that reach a recall, measured against all rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Estimate, estimate_mean, measure_recall
from catalogs.lance import library
from catalogs.lance.dataset import LanceStore
from catalogs.lance.proposals import SearchSettings
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import EVERYTHING, ROW
from catalogs.store.vectors import Vectors, from_arrow, sound, unit

log = logging.getLogger(__name__)

QUESTIONS = 200
NEAREST, FARTHER = 10, 100
REFINE = (1, 2, 4, 8)
_BATCH = 65_536
_SEED = 0


@dataclass(frozen=True)
class Recall:
    """Recall of the index against all rows, and the median milliseconds of a question."""

    rows: int
    questions: int
    recall_at_10: Estimate
    recall_at_100: Estimate
    index_ms: float
    exact_ms: float
    settings: SearchSettings


class RecallTest:
    """Rows of the dataset as questions, and the rows nearest to each, found by a comparison with all."""

    def __init__(self, store: LanceStore) -> None:
        self._store = store
        total = int(store.fragment_starts[-1])
        drawn = np.random.default_rng(_SEED).choice(total, min(QUESTIONS, total), replace=False)
        numbers = np.sort(drawn)
        with library.reading(store.uri):
            vectors = from_arrow(store.take([EMBEDDING], numbers).column(0))
            known = sound(vectors)
            self.numbers: NDArray[np.int64] = numbers[known]
            self.directions = unit(vectors[known])
            began = time.perf_counter()
            # Each row finds itself, so one more is asked for.
            self._truth = _nearest_of_all(store, self.directions, FARTHER + 1)
            self.exact_seconds = time.perf_counter() - began

    def measure(self, settings: SearchSettings) -> Recall:
        """Ask every question through the index, for ten and for a hundred neighbours."""
        (near, seconds), (far, _) = self.recall(settings, NEAREST), self.recall(settings, FARTHER)
        return Recall(
            rows=int(self._store.fragment_starts[-1]),
            questions=len(self.numbers),
            recall_at_10=near,
            recall_at_100=far,
            index_ms=1000 * seconds,
            exact_ms=1000 * self.exact_seconds / max(len(self.numbers), 1),
            settings=settings,
        )

    def recall(self, settings: SearchSettings, k: int = NEAREST) -> tuple[Estimate, float]:
        """Measure the recall of ``k`` neighbours, and the median seconds of a question."""
        store = self._store.with_settings(settings)
        shares, took = [], []
        for number, direction, truth in zip(self.numbers, self.directions, self._truth, strict=True):
            began = time.perf_counter()
            answer = _answer(store, direction, count_of(k))
            took.append(time.perf_counter() - began)
            others, found = (some[some != number][:k] for some in (truth, answer))
            shares.append(measure_recall(others, found))
        return estimate_mean(np.array(shares)), median(took)


def tune(store: LanceStore, lists: int, target: float) -> SearchSettings:
    """Choose the number of lists and of rows to rank with which a question reaches ``target`` recall@10 soonest.

    The lower end of the interval has to reach it.

    Raises:
        ScannerError: ``index.recall``: asking all lists does not reach the target.
    """
    test = RecallTest(store)
    reached: list[tuple[float, SearchSettings]] = []
    highest = 0.0
    steps = _steps(lists)
    for refine in REFINE:
        # More rows to rank pay only where fewer lists then suffice.
        if reached and reached[-1][1].probes == min(steps, default=lists):
            break
        # All lists first: where they do not reach the target, too few rows are ranked.
        for probes in (lists, *steps):
            settings = SearchSettings(lists, probes, refine, target, 0.0)
            recall, seconds = test.recall(settings)
            highest = max(highest, recall.low)
            log.info("%d of %d lists, %d rows ranked: recall@10 %.3f [%.3f, %.3f], %.1f ms", probes, lists,
                     refine * count_of(NEAREST), recall.value, recall.low, recall.high, 1000 * seconds)  # fmt: skip
            if recall.low >= target:
                reached.append((seconds, replace(settings, recall=recall.value)))
            if (recall.low < target) == (probes == lists):
                break
    if not reached:
        raise ScannerError(
            ErrorCode.INDEX_RECALL,
            f"No settings of the index reach a recall of {target}: at most {highest:.3f}.",
            "Lower --target-recall.",
        )
    return min(reached, key=lambda one: one[0])[1]


def count_of(k: int) -> int:
    """Return the number of rows that a question for ``k`` neighbours ranks, since copies on the sky drop out."""
    return 4 * k + 64


def _steps(lists: int) -> Sequence[int]:
    """Numbers of lists to try: each twice the one before."""
    return [step for step in (2**power for power in range(2, 32)) if step < lists]


def _answer(store: LanceStore, direction: Vectors, count: int) -> NDArray[np.int64]:
    """Numbers of the rows that a question ranks, best first."""
    proposals = store.propose(direction[None], EVERYTHING, count)
    assert proposals is not None
    table = proposals.tables[0]
    embedding = from_arrow(table.column(EMBEDDING)).astype(np.float64)
    cosine = embedding @ direction.astype(np.float64) / np.linalg.norm(embedding, axis=1)
    tiles = table.column("tile").to_pylist()
    starts = np.array([store.start_of(tile) for tile in tiles], np.int64)
    numbers = table.column(ROW).to_numpy() + starts
    return np.asarray(numbers[np.lexsort((numbers, -cosine))], np.int64)


def _nearest_of_all(store: LanceStore, directions: Vectors, count: int) -> list[NDArray[np.int64]]:
    """Compare unit vectors [Q, D] with all rows: the numbers of the ``count`` nearest of each, best first."""
    scores = np.full((len(directions), 0), 0, np.float32)
    numbers = np.zeros((len(directions), 0), np.int64)
    start = 0
    for batch in store.objects.to_batches(columns=[EMBEDDING], batch_size=_BATCH, scan_in_order=True):
        vectors = from_arrow(store.typed(pa.Table.from_batches([batch]), [EMBEDDING]).column(0))
        cosines = np.where(sound(vectors), directions @ unit(vectors).T, -np.inf)
        scores = np.concatenate([scores, cosines], axis=1)
        here = np.broadcast_to(np.arange(start, start + len(vectors)), cosines.shape)
        numbers = np.concatenate([numbers, here], axis=1)
        start += len(vectors)
        if scores.shape[1] > count:
            keep = np.argpartition(-scores, count - 1, axis=1)[:, :count]
            scores, numbers = np.take_along_axis(scores, keep, 1), np.take_along_axis(numbers, keep, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return list(np.take_along_axis(numbers, order, 1))

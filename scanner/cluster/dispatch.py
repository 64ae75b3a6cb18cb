"""Tiles to workers through Dask: a few at once in each, every tile exactly once, and no innocent tile fails.

Dask blames every task that a worker had when it was killed. Here such a tile is a suspect and is tried again alone in a
worker: one that was not the cause then succeeds. A tile that kills its worker three times, the last time alone, is
quarantined (``tile.kills_workers``).
"""

from __future__ import annotations

import itertools
import logging
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from scanner.cluster.job import WorkerJob, absolute_tile
from scanner.cluster.workers import LostError, Workers
from scanner.scan.progress import Progress
from scanner.scan.report import TileReport
from scanner.scan.run import already
from scanner.survey.tile import Tile
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

DEATHS = 3
"""Workers that a tile may kill, alone in the last of them, before it is quarantined."""


@dataclass(frozen=True)
class Assignment:
    """A tile that was given to the scheduler; ``worker`` is set where the tile is to be alone in it."""

    tile: Tile
    future: Any
    worker: str | None = None


class Dispatch:
    """Drives a scan through a Dask client, and through the next client where the scheduler was lost."""

    def __init__(
        self,
        tiles: Iterable[Tile],
        job: WorkerJob,
        catalogue: Catalogue,
        progress: Progress,
        check: Callable[[], None],
        patience: float,
    ) -> None:
        self.reports: list[TileReport] = []
        self._job, self._catalogue, self._progress, self._check = job, catalogue, progress, check
        self._patience = patience
        self._tiles = self._triage(tiles)
        self._exhausted = False
        self._retries: deque[Tile] = deque()
        self._suspects: deque[Tile] = deque()
        # A tile that was quarantined by an earlier scan has one more try, alone.
        quarantined = [one.tile for one in catalogue.failures() if one.code == ErrorCode.TILE_KILLS_WORKERS]
        self._deaths = dict.fromkeys(quarantined, DEATHS - 1)
        self._assignments: dict[str, Assignment] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._events: dict[str, TileReport] = {}
        self._counter = itertools.count()

    def drive(self, client: Any, plugin: str) -> None:
        """Run until every tile has its report. After ``LostError`` call it again with another client."""
        try:
            client.subscribe_topic(plugin, self._on_event)
            # Reports come as events, futures as callbacks; both are taken in this thread only.
            workers = Workers(client, self._job.at_once, self._patience)
            while True:
                self._check()
                if workers.update():
                    self._take_back(workers)
                self._assign(client, plugin, workers)
                if self._exhausted and not (self._assignments or self._retries or self._suspects):
                    return
                self._collect()
        except LostError:
            # The next scheduler knows nothing of what this one was given.
            for lost in self._assignments.values():
                (self._suspects if lost.worker else self._retries).append(lost.tile)
            self._assignments.clear()
            raise

    def _triage(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """Tiles of the list that no worker was suspected for; reports of those that need no work go out on the way."""
        for tile in tiles:
            self._check()
            if tile.problem is not None:
                self._fail(TileReport.failed(tile.name, tile.problem))
            elif (report := already(tile, self._catalogue, self._job.run, self._job.options)) is not None:
                if report.status == "failed":
                    self._fail(report)
                    continue
                self._catalogue.clear_failure(tile.name)
                self._finish(report)
            elif tile.name in self._deaths:
                self._suspects.append(absolute_tile(tile))
            else:
                yield absolute_tile(tile)
        self._exhausted = True

    def _assign(self, client: Any, plugin: str, workers: Workers) -> None:
        """Give out tiles while workers have room: a suspect to a worker that no suspect has, else the next tile."""
        while len(self._assignments) < workers.capacity:
            taken = {one.worker for one in self._assignments.values()}
            free = next((address for address in workers.addresses if address not in taken), None)
            if self._suspects and free is not None:
                self._submit(client, plugin, self._suspects.popleft(), free)
            elif (tile := self._retries.popleft() if self._retries else next(self._tiles, None)) is not None:
                self._submit(client, plugin, tile, None)
            else:
                return

    def _submit(self, client: Any, plugin: str, tile: Tile, worker: str | None) -> None:
        from scanner.cluster.worker import scan_tile

        # A number makes the key new: Dask would answer a second try with the result of the first.
        key = f"scan_tile-{tile.name}-{next(self._counter)}-{plugin}"
        bound = {"workers": [worker], "allow_other_workers": False} if worker else {}
        future = client.submit(scan_tile, plugin, tile, worker is not None, key=key, pure=False, **bound)
        self._assignments[key] = Assignment(tile, future, worker)
        future.add_done_callback(self._finished.put)

    def _on_event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Keep the report that a worker sends of a tile; the tile's future follows."""
        report = TileReport.from_dict(event[1]["report"])
        self._events[report.tile] = report

    def _collect(self) -> None:
        """Take one task that has ended, after a moment's wait."""
        try:
            future = self._finished.get(timeout=POLL)
        except queue.Empty:
            return
        if (done := self._assignments.get(future.key)) is None:  # taken back, or of a scheduler that was lost
            return
        report = self._events.pop(done.tile.name, None)
        if future.status == "cancelled":
            raise LostError
        if report is None and future.status not in ("finished", "error"):
            # The worker exited with the result: Dask runs the task again.
            future.add_done_callback(self._finished.put)
            return
        del self._assignments[future.key]
        if future.status == "error":
            self._on_error(done, future.exception())
            return
        report = report or future.result()
        if report.status == "skipped":
            # The tile was not in the catalogue when it was given out: an earlier try wrote it, and its report was lost.
            report = replace(report, status="done", objects=self._catalogue.rows(report.tile))
        self._finish(report)

    def _on_error(self, failed: Assignment, error: BaseException) -> None:
        """A task raised: its worker exited, or the set-up is wrong and the scan ends."""
        from distributed import KilledWorker

        if isinstance(error, ScannerError):
            raise error
        if not isinstance(error, KilledWorker):
            raise ScannerError(
                ErrorCode.CLUSTER_TASK_FAILED,
                f"A worker could not scan tile {failed.tile.name}: {error!r}.",
                "Every worker needs the same unions-scanner, and the same paths, as the machine that started the scan.",
            ) from error
        # Where other tiles were there too, one death counts, whatever number of them the scheduler allowed.
        self._blame(failed, error.allowed_failures + 1 if failed.worker else 1)

    def _blame(self, suspect: Assignment, deaths: int) -> None:
        """Count workers that exited against a tile: retry it alone, or quarantine it."""
        tile = suspect.tile
        deaths += self._deaths.get(tile.name, 0)
        self._deaths[tile.name] = deaths
        if deaths < DEATHS or suspect.worker is None:
            log.warning(
                "A worker exited while it had tile %s (%d of %d): retrying the tile alone.", tile.name, deaths, DEATHS
            )
            self._suspects.append(tile)
            return
        self._fail(
            TileReport(
                tile.name,
                "failed",
                code=ErrorCode.TILE_KILLS_WORKERS,
                message=f"Workers exited {deaths} times while they had tile {tile.name}, the last time alone.",
                hint="Usually memory: give workers more of it, lower --readers, or scan this tile without a cluster.",
            )
        )

    def _take_back(self, workers: Workers) -> None:
        """Tiles bound to a worker that is gone: Dask would wait for that worker without end."""
        for key, bound in list(self._assignments.items()):
            if bound.worker is None or bound.future.done() or not workers.gone(bound.worker):
                continue
            deaths = workers.deaths(key)
            del self._assignments[key]
            bound.future.cancel()
            if deaths:
                self._blame(bound, deaths)
            else:
                log.info("Worker %s was gone before it had tile %s.", bound.worker, bound.tile.name)
                self._suspects.append(bound.tile)

    def _fail(self, report: TileReport) -> None:
        """The report of a failure that no worker has recorded."""
        self._catalogue.record_failure(report.tile, report.code, report.message, report.hint)
        self._finish(report)

    def _finish(self, report: TileReport) -> None:
        self.reports.append(report)
        self._progress.embedded(report.objects)
        self._progress.finished(report)

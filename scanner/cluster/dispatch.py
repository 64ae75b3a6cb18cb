"""Tiles to workers through Dask: few in hand at once, each exactly once, and none blamed for what another did.

Dask blames every task of a worker that dies. So a tile that was there when a worker died is a suspect, and a suspect is
tried again alone in its worker: an innocent one is through then, and one that kills its worker three times is put aside
(``tile.kills_workers``), whatever else was going on.
"""

from __future__ import annotations

import itertools
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from scanner.cluster.job import Work, placed
from scanner.scan.progress import Progress
from scanner.scan.report import TileReport
from scanner.survey.tile import Tile
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

DEATHS = 3
"""Workers that a tile may kill, alone in the last of them, before it is put aside."""

KILLS_WORKERS = ErrorCode.TILE_KILLS_WORKERS
LOOK = 1.0
"""Seconds after which the scheduler is asked again which workers there are."""

PATIENCE = 60.0
"""Seconds between two words about workers that do not come."""


class LostError(Exception):
    """The scheduler is gone, and with it the memory of what was given to it."""


@dataclass(frozen=True)
class Flight:
    """A tile that a worker has, or is about to get; ``worker`` is set where the tile is to be alone in it."""

    tile: Tile
    future: Any
    worker: str | None = None


class Dispatch:
    """Drives a scan through a Dask client, and through the next one where the scheduler was lost."""

    def __init__(
        self,
        tiles: Iterable[Tile],
        work: Work,
        catalogue: Catalogue,
        progress: Progress,
        check: Callable[[], None],
    ) -> None:
        self.reports: list[TileReport] = []
        self._work, self._catalogue, self._progress, self._check = work, catalogue, progress, check
        self._tiles = self._wanted(tiles)
        self._again: deque[Tile] = deque()
        self._suspects: deque[Tile] = deque()
        self._deaths = {f.tile: DEATHS - 1 for f in catalogue.failures() if f.code == KILLS_WORKERS}
        self._told: dict[str, TileReport] = {}
        self._flights: dict[str, Flight] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._counter = itertools.count()
        self._exhausted = False

    def drive(self, client: Any, plugin: str) -> None:
        """Until every tile has its report. ``LostError``: call again with another client."""
        try:
            client.subscribe_topic(plugin, self._hear)
            workers = Workers(client, self._work.at_once)
            while True:
                self._check()
                if workers.look():
                    self._take_back(workers)
                self._launch(client, plugin, workers)
                if not self._flights and self._exhausted and not (self._again or self._suspects):
                    return
                self._land()
        except LostError:
            self._lose()
            raise

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """A worker tells what became of a tile; its future follows."""
        report = TileReport.from_dict(event[1]["report"])
        self._told[report.tile] = report

    def _wanted(self, tiles: Iterable[Tile]) -> Iterator[Tile]:
        """Tiles of the list that want work; reports of the others go out on the way."""
        for tile in tiles:
            self._check()
            if tile.problem is not None:
                self._refuse(TileReport.failed(tile.name, tile.problem))
            elif self._catalogue.done(tile.name, self._work.run.digest):
                self._catalogue.clear_failure(tile.name)
                self._finish(TileReport(tile.name, "skipped"))
            elif tile.name in self._deaths:
                self._suspects.append(placed(tile))
            else:
                yield placed(tile)

    def _launch(self, client: Any, plugin: str, workers: Workers) -> None:
        while len(self._flights) < workers.room:
            taken = {flight.worker for flight in self._flights.values()}
            free = next((address for address in workers.addresses if address not in taken), None)
            if self._suspects and free is not None:
                self._send(client, plugin, self._suspects.popleft(), free)
            elif (tile := self._next()) is not None:
                self._send(client, plugin, tile, None)
            else:
                return

    def _next(self) -> Tile | None:
        if self._again:
            return self._again.popleft()
        tile = next(self._tiles, None)
        self._exhausted = tile is None
        return tile

    def _send(self, client: Any, plugin: str, tile: Tile, worker: str | None) -> None:
        from scanner.cluster.worker import scan_tile

        key = f"scan_tile-{tile.name}-{next(self._counter)}-{plugin}"
        where = {"workers": [worker], "allow_other_workers": False} if worker else {}
        future = client.submit(scan_tile, plugin, tile, worker is not None, key=key, pure=False, **where)
        self._flights[key] = Flight(tile, future, worker)
        future.add_done_callback(self._landed.put)

    def _land(self) -> None:
        """Take what has come back, after a moment's wait."""
        try:
            future = self._landed.get(timeout=POLL)
        except queue.Empty:
            return
        if (flight := self._flights.get(future.key)) is None:  # taken back, or of a scheduler that was lost
            return
        report = self._told.pop(flight.tile.name, None)
        if future.status == "cancelled":
            raise LostError
        if report is None and future.status not in ("finished", "error"):
            # Its worker died with the answer: Dask does it again.
            future.add_done_callback(self._landed.put)
            return
        del self._flights[future.key]
        if future.status == "error":
            self._crash(flight, future.exception())
        else:
            self._arrive(report or future.result())

    def _arrive(self, report: TileReport) -> None:
        if report.status == "skipped":
            # It was not there when it was given out: the answer of the one who made it was lost, not the tile.
            report = replace(report, status="done", objects=self._catalogue.rows(report.tile))
        self._finish(report)

    def _crash(self, flight: Flight, error: BaseException) -> None:
        """A task that raised: its worker died, or the set-up is wrong and the scan ends."""
        from distributed import KilledWorker

        if isinstance(error, ScannerError):
            raise error
        if not isinstance(error, KilledWorker):
            raise ScannerError(
                ErrorCode.CLUSTER_TASK_FAILED,
                f"A worker could not scan tile {flight.tile.name}: {error!r}.",
                "Every worker needs the same unions-scanner, and the same paths, as the machine that started the scan.",
            ) from error
        # Of those that died while others were there too, however many a scheduler allows, one is counted.
        self._blame(flight, error.allowed_failures + 1 if flight.worker else 1)

    def _blame(self, flight: Flight, deaths: int) -> None:
        tile = flight.tile
        deaths += self._deaths.get(tile.name, 0)
        self._deaths[tile.name] = deaths
        if deaths < DEATHS or flight.worker is None:
            log.warning("A worker died with tile %s in hand (%d of %d): tried again alone.", tile.name, deaths, DEATHS)
            self._suspects.append(tile)
            return
        self._refuse(
            TileReport(
                tile.name,
                "failed",
                code=KILLS_WORKERS,
                message=f"Workers died {deaths} times while they had tile {tile.name} in hand, the last time alone.",
                hint="Mostly memory: give workers more of it, or fewer --readers. Or scan this tile without a cluster.",
            )
        )

    def _refuse(self, report: TileReport) -> None:
        """The report of a failure that no worker has written down."""
        self._catalogue.record_failure(report.tile, report.code, report.message, report.hint)
        self._finish(report)

    def _finish(self, report: TileReport) -> None:
        self.reports.append(report)
        self._progress.embedded(report.objects)
        self._progress.finished(report)

    def _take_back(self, workers: Workers) -> None:
        """Tiles bound to a worker that is no more: Dask would wait for it for ever."""
        for key, flight in list(self._flights.items()):
            if flight.worker is not None and workers.gone(flight.worker) and not flight.future.done():
                deaths = workers.deaths(key)
                del self._flights[key]
                flight.future.cancel()
                if deaths:
                    self._blame(flight, deaths)
                else:
                    log.info("Worker %s was gone before it had tile %s.", flight.worker, flight.tile.name)
                    self._suspects.append(flight.tile)

    def _lose(self) -> None:
        """Give out again what the scheduler had been given."""
        for flight in self._flights.values():
            (self._suspects if flight.worker else self._again).append(flight.tile)
        self._flights.clear()


class Workers:
    """The workers there are, asked of the scheduler now and then; ``room`` is how many tiles all may have in hand."""

    def __init__(self, client: Any, at_once: int) -> None:
        self.room = 0
        self.addresses: list[str] = []
        self._client, self._at_once = client, at_once
        self._missing: dict[str, int] = {}
        self._looked = -LOOK
        self._complained = time.monotonic()

    def look(self) -> bool:
        """Ask the scheduler, if that was some time ago; whether it was asked."""
        if self._client.status != "running":
            raise LostError
        now = time.monotonic()
        if now - self._looked < LOOK:
            return False
        self._looked = now
        try:
            threads: dict[str, int] = self._client.nthreads()
        except OSError as error:
            raise LostError from error
        missing = {*self._missing, *self.addresses} - set(threads)
        self._missing = {address: self._missing.get(address, 0) + 1 for address in missing}
        room = sum(min(count, self._at_once) for count in threads.values())
        if room != self.room:
            log.info("%d workers, %d tiles at once.", len(threads), room)
        self.addresses, self.room = list(threads), room
        if room:
            self._complained = now
        elif now - self._complained > PATIENCE:
            self._complained = now
            log.warning("Still no worker; waiting.")
        return True

    def deaths(self, key: str) -> int:
        """How many workers died while they had this task, where the scheduler has not given it up for that."""
        try:
            return int(
                self._client.run_on_scheduler(
                    lambda dask_scheduler: getattr(dask_scheduler.tasks.get(key), "suspicious", 0)
                )
            )
        except OSError as error:
            raise LostError from error

    def gone(self, address: str) -> bool:
        """Whether a worker was missing twice in a row: whatever Dask had to say of its tasks has come by then."""
        return self._missing.get(address, 0) > 1

"""What runs in a Dask worker: one scan without an end, which the tasks give tiles to and wait for.

So a worker does what a scan on one machine does: one session, made once; processes that read the next tile while this
one is embedded; a thread that writes.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from distributed import WorkerPlugin, get_worker

import catalogs
from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.provenance import software
from scanner.cluster import gpus
from scanner.cluster.job import INSTALL, Work
from scanner.encoder.encoder import Encoder
from scanner.scan import run as scan
from scanner.scan.progress import Quiet
from scanner.scan.report import TileReport
from scanner.survey.tile import Tile
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

IDLE = 300.0
"""Seconds without a tile after which a worker lets go of its session and its reading processes."""


def scan_tile(plugin: str, tile: Tile, alone: bool) -> TileReport:
    """The task: one tile, by the plugin of this name in this worker. ``alone``: with no other tile in hand.

    The report is told as an event too: what a task returns stays in its worker until it is asked for, and would be gone
    with it, though the tile is done.
    """
    worker = get_worker()
    try:
        station: TileWorker = worker.plugins[plugin]
        report = station.scan(tile, alone)
    except ScannerError as error:
        raise ScannerError(error.code, f"{error.message} (worker {worker.address})", error.hint) from error
    worker.log_event(plugin, {"report": report.to_dict()})
    return report


class TileWorker(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed
    """Keeps a worker's session and reading processes from its first tile until the scan is over."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def setup(self, worker: Any) -> None:
        """Nothing is loaded yet: a worker that joins late must not be late for its heartbeat."""
        if self._work.software != software():
            self._problem: ScannerError | None = _other_software(self._work.software, worker.address)
        else:
            self._problem = None
        self._lock = threading.Lock()
        self._gate = Gate()
        self._station: Station | None = None
        self._torn_down = False

    def teardown(self, worker: Any) -> None:
        """Drop the tile in hand; the session, its memory and the reading processes go."""
        with self._lock:
            self._torn_down = True
            if self._station is not None:
                self._station.close()
                self._station = None

    def scan(self, tile: Tile, alone: bool) -> TileReport:
        """What became of ``tile``. Raises ``ScannerError`` for what is wrong with the set-up on this machine."""
        if self._problem is not None:
            raise self._problem
        with self._gate.enter(alone):
            with self._lock:
                if self._torn_down:  # a task that waited at the gate while the scan was stopped
                    raise _stopped()
                answer = self._station.take(tile) if self._station is not None else None
                if answer is None:
                    self._station = Station(self._work)
                    answer = self._station.begin(tile)
            return answer.result()


class Station(Quiet):
    """A scan in a thread, whose list is what ``take`` is given; each tile's report answers the one who gave it.

    It ends by itself when it was given nothing for ``IDLE`` seconds: who asked for the scan may have been killed, and
    the workers of a shared cluster live on.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tiles: queue.SimpleQueue[Tile] = queue.SimpleQueue()
        self._answers: dict[str, Future[TileReport]] = {}
        self._lock = threading.Lock()
        self._over = self._closing = False

    def begin(self, tile: Tile) -> Future[TileReport]:
        """Start the scan, with its first tile."""
        answer = self.take(tile)
        assert answer is not None
        threading.Thread(target=self._run, name="station", daemon=True).start()
        return answer

    def take(self, tile: Tile) -> Future[TileReport] | None:
        """The report to come of a tile, None if the scan has ended; one that is in hand already is not taken twice."""
        with self._lock:
            if self._over:
                return None
            if tile.name not in self._answers:
                self._answers[tile.name] = Future()
                self._tiles.put(tile)
            return self._answers[tile.name]

    def close(self) -> None:
        """Ask the scan to drop what it has in hand and to end."""
        self._closing = True

    def embedded(self, objects: int) -> None:
        if self._closing:
            raise _stopped()

    def finished(self, report: TileReport) -> None:
        with self._lock:
            answer = self._answers.pop(report.tile, None)
        if answer is not None:
            answer.set_result(report)

    def _run(self) -> None:
        error: BaseException = _stopped()
        try:
            self._scan()
        except BaseException as problem:  # noqa: BLE001  (raised by the tasks, which Dask listens to)
            error = problem
        with self._lock:
            self._over = True
            waiting, self._answers = list(self._answers.values()), {}
        for answer in waiting:
            answer.set_exception(error)

    def _scan(self) -> None:
        work = self._work
        catalogue = catalogs.open(work.catalogue)
        with gpus.taken(work.device, work.precision) as device, open_encoder(work, device) as encoder:
            if encoder.sha256 != work.run.model_sha256:
                raise ScannerError(
                    ErrorCode.CLUSTER_OTHER_MODEL,
                    f"{encoder.path} is not the model of this scan: its digest is {encoder.sha256[:12]}, "
                    f"not {work.run.model_sha256[:12]}.",
                    "All workers must see the same model file.",
                )
            scan.scan_tiles(self._listed(), work.survey, encoder, catalogue, work.run, work.options, progress=self)

    def _listed(self) -> Iterator[Tile | None]:
        """The tiles as they are given; None while there is none."""
        since = time.monotonic()
        while not self._closing:
            try:
                yield self._tiles.get(timeout=POLL)
                since = time.monotonic()
            except queue.Empty:
                if time.monotonic() - since > IDLE and self._is_idle():
                    return
                yield None

    def _is_idle(self) -> bool:
        """Whether nobody waits for a tile; if so, nobody can give one any more."""
        with self._lock:
            self._over = not self._answers
            return self._over


class Gate:
    """Lets many in together, or one alone; who wants to be alone is let in before those who come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = 0

    @contextlib.contextmanager
    def enter(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._alone += alone
            self._changed.wait_for(lambda: self._inside == 0 if alone else self._alone == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone -= alone
                self._changed.notify_all()


def open_encoder(work: Work, device: str) -> Encoder:
    """The session of a worker. Where the choice was free and the GPU does not work, it is the CPU's, as in any scan."""
    cores = work.cores if device == "cpu" else None
    try:
        return Encoder(work.model, device, cores, work.batch, work.precision)
    except ScannerError as error:
        if work.device != "auto" or error.code != ErrorCode.DEVICE_UNAVAILABLE:
            raise
        log.warning("A GPU is here but is not used: %s %s", error.message, error.hint)
        return open_encoder(work, "cpu")


def _stopped() -> ScannerError:
    return ScannerError(ErrorCode.CLUSTER_STOPPED, "The scan was stopped.", "The same command goes on from here.")


def _other_software(wanted: str, address: str) -> ScannerError:
    return ScannerError(
        ErrorCode.CLUSTER_OTHER_SOFTWARE,
        f"Worker {address} has {software()}, the scan was started with {wanted}: rows could differ.",
        f"Install the same version everywhere: {INSTALL}",
    )

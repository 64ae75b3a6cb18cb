"""What runs in a Dask worker: one scan without an end, to which the tasks give tiles and wait for reports.

So a worker does what a scan on one machine does: one session, opened once; processes that read the next tile while this
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
from scanner.cluster.job import WorkerJob, stopped, unlike_software
from scanner.encoder import certificate
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import cpu_only
from scanner.scan.progress import Quiet
from scanner.scan.report import TileReport
from scanner.scan.run import scan_tiles
from scanner.survey.tile import Tile
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

IDLE = 300.0
"""Seconds without a tile after which a worker closes its session and its reading processes."""


def scan_tile(plugin: str, tile: Tile, alone: bool) -> TileReport:
    """The task: scan one tile by the plugin of this name in this worker. ``alone``: with no other tile beside it."""
    worker = get_worker()
    try:
        scanning: TileWorker = worker.plugins[plugin]
        report = scanning.scan(tile, alone)
    except ScannerError as error:
        raise ScannerError(error.code, f"{error.message} (worker {worker.address})", error.hint) from error
    # The result of a task stays in its worker until it is fetched, and is lost with the worker. An event is sent now.
    worker.log_event(plugin, {"report": report.to_dict()})
    return report


class TileWorker(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed
    """Keeps a worker's session and reading processes from its first tile until the scan is over."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        """Called by Dask in each worker. Nothing is loaded yet: that would delay the heartbeat of a late worker."""
        self._problem: ScannerError | None = None
        if self._job.software != software():
            self._problem = unlike_software(worker.address, self._job.software)
        self._lock = threading.Lock()
        self._gate = Gate()
        self._scan: EndlessScan | None = None
        self._torn_down = False

    def teardown(self, worker: Any) -> None:
        """Called by Dask at the end: drop the tile at hand; close the session and the reading processes."""
        with self._lock:
            self._torn_down = True
            if self._scan is not None:
                self._scan.close()
                self._scan = None

    def scan(self, tile: Tile, alone: bool) -> TileReport:
        """Scan ``tile``; its report. Raises ``ScannerError`` for what is wrong with the set-up on this machine."""
        if self._problem is not None:
            raise self._problem
        # Several tasks are here at once, each in a thread of the worker that only waits.
        with self._gate.enter(alone):
            with self._lock:
                if self._torn_down:  # a task that waited at the gate while the scan was stopped
                    raise stopped()
                answer = self._scan.take(tile) if self._scan is not None else None
                if answer is None:
                    self._scan = EndlessScan(self._job)
                    answer = self._scan.start(tile)
            return answer.result()


class EndlessScan(Quiet):
    """A scan in a thread, whose list is what ``take`` is given; each tile's report answers the task that gave it.

    It ends by itself when it was given nothing for ``IDLE`` seconds: the process that asked for the scan may have been
    killed, and the workers of a shared cluster go on.
    """

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._tiles: queue.SimpleQueue[Tile] = queue.SimpleQueue()
        self._answers: dict[str, Future[TileReport]] = {}
        self._lock = threading.Lock()
        self._over = self._closing = False

    def start(self, tile: Tile) -> Future[TileReport]:
        """Start the scan, with its first tile."""
        answer = self.take(tile)
        assert answer is not None
        threading.Thread(target=self._run, name="endless-scan", daemon=True).start()
        return answer

    def take(self, tile: Tile) -> Future[TileReport] | None:
        """The report to come of a tile, None if the scan has ended; a tile at hand is not taken twice."""
        with self._lock:
            if self._over:
                return None
            # A scheduler that was lost may have given the same tile before.
            if tile.name not in self._answers:
                self._answers[tile.name] = Future()
                self._tiles.put(tile)
            return self._answers[tile.name]

    def close(self) -> None:
        """Ask the scan to drop its tiles and to end."""
        self._closing = True

    def embedded(self, objects: int) -> None:
        """As progress of the scan: a place where it can be stopped."""
        if self._closing:
            raise stopped()

    def finished(self, report: TileReport) -> None:
        """As progress of the scan: answer the task that waits for this tile."""
        with self._lock:
            answer = self._answers.pop(report.tile, None)
        if answer is not None:
            answer.set_result(report)

    def _run(self) -> None:
        job = self._job
        problem: BaseException = stopped()
        try:
            catalogue = catalogs.open(job.catalogue)
            with (
                gpus.take_device(job.device, cpu_only(job.runtime, job.precision)) as device,
                open_encoder(job, device) as encoder,
            ):
                if encoder.sha256 != job.run.model_sha256:
                    raise ScannerError(
                        ErrorCode.CLUSTER_OTHER_MODEL,
                        f"{encoder.path} is not the model of this scan: its digest is {encoder.sha256[:12]}, "
                        f"not {job.run.model_sha256[:12]}.",
                        "All workers must see the same model file.",
                    )
                scan_tiles(self._list(), job.survey, encoder, catalogue, job.run, job.options, progress=self)
        except BaseException as raised:  # noqa: BLE001  (raised again by the tasks that wait)
            problem = raised
        # From now on ``take`` refuses; tasks that wait for a report get the error.
        with self._lock:
            self._over = True
            waiting, self._answers = list(self._answers.values()), {}
        for answer in waiting:
            answer.set_exception(problem)

    def _list(self) -> Iterator[Tile | None]:
        """The tiles as they are given; None while there is none."""
        since = time.monotonic()
        while not self._closing:
            try:
                yield self._tiles.get(timeout=POLL)
                since = time.monotonic()
            except queue.Empty:
                if time.monotonic() - since > IDLE:
                    with self._lock:
                        # A tile that is still read or written is waited for. Without one, no more are taken.
                        self._over = not self._answers
                    if self._over:
                        return
                yield None


class Gate:
    """Lets many in together, or one alone; one that is to be alone enters before those that come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = 0

    @contextlib.contextmanager
    def enter(self, alone: bool) -> Iterator[None]:
        """Wait until the gate is open, and hold it as long as the block lasts."""
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


def open_encoder(job: WorkerJob, device: str) -> Encoder:
    """The session of a worker. With ``auto``, a GPU that does not work is replaced by the CPU, as in any scan."""
    cores = job.cores if device == "cpu" else None
    try:
        known = job.catalogue / certificate.FOLDER
        return Encoder(job.model, device, cores, job.batch, job.precision, job.runtime, known)
    except ScannerError as error:
        if job.device != "auto" or error.code != ErrorCode.DEVICE_UNAVAILABLE:
            raise
        log.warning("A GPU is here but is not used: %s %s", error.message, error.hint)
        return open_encoder(job, "cpu")

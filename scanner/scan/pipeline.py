"""From tiles that are ready to files in the catalogue: callers cut and embed, one thread writes, all of it bounded."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run
from scanner.encoder.encoder import Encoder
from scanner.scan.best_rows import Best, Keep
from scanner.scan.prepare import Prepared, failed
from scanner.scan.progress import Progress
from scanner.scan.read_ahead import POLL, Outcome, Ready
from scanner.scan.report import Seconds, TileReport

AHEAD = 4
"""Batches in flight for each caller: enough that none waits for the writer, few enough to forget about their memory."""


BLOCK = 1024
"""Rows that are handed to the file at once."""


class _Mark(Enum):
    END_OF_PART = 1
    END = 2
    ABORT = 3


@dataclass(frozen=True)
class Batch:
    """Vectors [n, D] of rows ``start`` to ``stop`` of a tile; ``valid`` [n, B] is the share of pixels with data."""

    start: int
    stop: int
    vectors: NDArray[np.float32]
    valid: NDArray[np.float32]
    cut: float
    infer: float


class _TileError(Exception):
    def __init__(self, report: TileReport) -> None:
        super().__init__(report)
        self.report = report


class _AbortedError(Exception):
    pass


class Pipeline:
    """Embeds and writes one tile after the other; batches of the next are taken while the last of one are written.

    ``feed`` is called from one thread and blocks while too much is in flight. ``reports`` grow as tiles end. Leaving
    the ``with`` block waits for what was fed, or, on an exception, drops the tile at hand and its temporary file.
    """

    def __init__(
        self,
        encoder: Encoder,
        catalogue: Catalogue,
        run: Run,
        progress: Progress,
        check: Callable[[], None],
        keep: Keep | None = None,
    ) -> None:
        self.reports: list[TileReport] = []
        self._encoder, self._catalogue, self._run, self._progress = encoder, catalogue, run, progress
        self._check, self._keep = check, keep
        self._callers = ThreadPoolExecutor(encoder.threads, thread_name_prefix="embed")
        self._queue: queue.Queue[Outcome | Future[Batch] | _Mark] = queue.Queue(maxsize=AHEAD * encoder.threads)
        self._writer = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Pipeline:
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._put(_Mark.END)
                while self._writer.is_alive():
                    self._writer.join(POLL)
                    self.look()
                self.look()
        except BaseException:
            self._abort()
            raise
        if error is not None:
            self._abort()
        self._callers.shutdown()

    def feed(self, outcome: Outcome) -> None:
        """Take a tile, or the next part of one, that is ready, or the report of one that needs nothing more."""
        self._put(outcome)
        if isinstance(outcome, TileReport):
            return
        prepared, size = outcome.prepared, self._encoder.batch
        for start in range(0, len(prepared), size):
            stop = min(start + size, len(prepared))
            self._put(self._callers.submit(self._embed, prepared, start, stop))
        self._put(_Mark.END_OF_PART)

    def _embed(self, prepared: Prepared, start: int, stop: int) -> Batch:
        """One batch in a caller's thread: gather its windows, run the session."""
        began = time.perf_counter()
        flux = self._encoder.room()[: stop - start]
        try:
            prepared.windows.gather(start, stop, flux)
        except Exception as error:  # one tile's pixels or positions, whatever is wrong with them
            raise _TileError(failed(prepared.tile, error)) from error
        there = np.isfinite(flux)
        whole = there.all()  # as most are, and sooner found out than shares are counted
        valid = np.ones(flux.shape[:2], np.float32) if whole else there.mean(axis=(2, 3), dtype=np.float32)
        cut = time.perf_counter()
        vectors = self._encoder.embed_batch(flux)
        return Batch(start, stop, vectors, valid, cut - began, time.perf_counter() - cut)

    def _put(self, item: Outcome | Future[Batch] | _Mark) -> None:
        while True:
            self.look()
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=POLL)
                return

    def look(self) -> None:
        """Raise what went wrong in the writer's thread, or an interrupt."""
        if self._error is not None:
            raise self._error
        self._check()

    def _abort(self) -> None:
        self._callers.shutdown(cancel_futures=True)
        while self._writer.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(_Mark.ABORT, timeout=POLL)
        self._writer.join()

    def _write_all(self) -> None:
        """The writer's thread: tiles in the order fed. Its own errors (a full disk) go to the feeding thread."""
        try:
            while isinstance(item := self._queue.get(), Ready | TileReport):
                self._finish(self._write_ready(item) if isinstance(item, Ready) else item)
        except (_AbortedError, CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001  (raised again in the feeding thread)
            self._error = error

    def _finish(self, report: TileReport) -> None:
        if report.status == "failed":
            self._catalogue.record_failure(report.tile, report.code, report.message, report.hint)
        else:
            self._catalogue.clear_failure(report.tile)
        self.reports.append(report)
        self._progress.finished(report)

    def _write_ready(self, ready: Ready) -> TileReport:
        parts = self._parts(ready)
        try:
            return self._write_tile(ready.prepared.tile.name, parts)
        except _TileError as bad:
            with contextlib.suppress(_TileError):  # it may fail twice
                for _ in parts:
                    pass
            return bad.report
        finally:
            parts.close()

    def _parts(self, ready: Ready) -> Generator[tuple[Prepared, Iterator[Future[Batch]]]]:
        """The parts of the tile at hand, with their batches; those that were not taken are cancelled."""
        while True:
            futures = self._futures()
            try:
                yield ready.prepared, futures
                for future in futures:
                    future.cancel()
            finally:
                ready.release()
            if ready.prepared.last:
                return
            item = self._queue.get()
            if isinstance(item, TileReport):
                raise _TileError(item)
            if not isinstance(item, Ready):
                raise _AbortedError
            ready = item

    def _write_tile(self, tile: str, parts: Iterator[tuple[Prepared, Iterator[Future[Batch]]]]) -> TileReport:
        asked, sound, seconds = 0, 0, Seconds()
        best = Best(self._keep) if self._keep else None
        with self._catalogue.writer(tile, self._run, {"provider": self._encoder.provider}) as file:
            for prepared, futures in parts:
                self._progress.started(tile, len(prepared))
                seconds += prepared.seconds
                asked += prepared.dropped + len(prepared)
                for batch in self._blocks(futures):
                    began = time.perf_counter()
                    columns = prepared.columns(batch.start, batch.stop, batch.valid, batch.vectors)
                    sound += len(columns["ra"])
                    best.add(columns) if best else file.write(columns)
                    seconds += Seconds(cut=batch.cut, infer=batch.infer, write=time.perf_counter() - began)
            began = time.perf_counter()
            for kept in best.rows() if best else ():
                file.write(kept)
        seconds += Seconds(write=time.perf_counter() - began)
        return TileReport(tile, "done", file.rows, asked - sound, seconds)

    def _blocks(self, futures: Iterator[Future[Batch]]) -> Iterator[Batch]:
        """The batches of a part, joined to some size: a column costs the same for 16 rows as for 1000."""
        held: list[Batch] = []
        for future in futures:
            held.append(future.result())
            self._progress.embedded(held[-1].stop - held[-1].start)
            if held[-1].stop - held[0].start >= BLOCK:
                yield _joined(held)
                held = []
        if held:
            yield _joined(held)

    def _futures(self) -> Iterator[Future[Batch]]:
        """What is still to come of the part at hand, in order."""
        while (item := self._queue.get()) is not _Mark.END_OF_PART:
            if not isinstance(item, Future):
                raise _AbortedError
            yield item


def _joined(batches: list[Batch]) -> Batch:
    return Batch(
        start=batches[0].start,
        stop=batches[-1].stop,
        vectors=np.concatenate([batch.vectors for batch in batches]),
        valid=np.concatenate([batch.valid for batch in batches]),
        cut=sum(batch.cut for batch in batches),
        infer=sum(batch.infer for batch in batches),
    )

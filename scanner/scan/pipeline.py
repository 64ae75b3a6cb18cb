"""From tiles that are ready to files in the catalogue: callers cut and embed, one thread writes, all of it bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run
from scanner.encoder.encoder import Encoder
from scanner.scan.best_rows import Keep
from scanner.scan.handoff import Outcome, Stop, StoppableQueue, StoppedError
from scanner.scan.prepare import Prepared
from scanner.scan.progress import Progress
from scanner.scan.report import TileReport
from scanner.scan.tile_rows import Batch, Mark, Queue, RowWriter, TileError
from scanner.system.signals import POLL

AHEAD = 4
"""Batches in flight for each caller: enough that none waits for the writer, few enough to forget about their memory."""


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
        self._encoder, self._check = encoder, check
        self._stop = Stop()
        # The writer takes from this queue in order, so that callers may finish in any order.
        self._queue: Queue = StoppableQueue(self._stop, AHEAD * encoder.threads)
        self._rows = RowWriter(self._queue, catalogue, run, encoder.provider, progress, keep)
        self._callers = ThreadPoolExecutor(encoder.threads, thread_name_prefix="embed")
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._error: BaseException | None = None

    @property
    def reports(self) -> list[TileReport]:
        """What became of each tile that has ended, in their order."""
        return self._rows.reports

    def __enter__(self) -> Pipeline:
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # On success everything that was fed is written; an interrupt may still come while this waits.
        try:
            if error is None:
                self._queue.put(Mark.END, self.look)
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
        self._queue.put(outcome, self.look)
        if isinstance(outcome, TileReport):
            return
        prepared, size = outcome.prepared, self._encoder.batch
        for start in range(0, len(prepared), size):
            stop = min(start + size, len(prepared))
            self._queue.put(self._callers.submit(self._embed, prepared, start, stop), self.look)
        self._queue.put(Mark.END_OF_PART, self.look)

    def look(self) -> None:
        """Raise what went wrong in the writer's thread, or an interrupt."""
        if self._error is not None:
            raise self._error
        self._check()

    def _embed(self, prepared: Prepared, start: int, stop: int) -> Batch:
        """One batch in a caller's thread: gather its windows, run the session."""
        began = time.perf_counter()
        flux = self._encoder.buffer()[: stop - start]  # [n, B, S, S]
        try:
            prepared.windows.gather(start, stop, flux)
        except Exception as error:  # one tile's pixels or positions, whatever is wrong with them
            raise TileError(TileReport.failed(prepared.tile.name, error)) from error
        there = np.isfinite(flux)
        # Most windows are whole, and that is faster to check than the share of each band is to count.
        whole = there.all()
        valid = np.ones(flux.shape[:2], np.float32) if whole else there.mean(axis=(2, 3), dtype=np.float32)
        cut = time.perf_counter()
        encoded = self._encoder.encode_batch(flux)
        return Batch(start, stop, encoded, valid, cut - began, time.perf_counter() - cut)

    def _write(self) -> None:
        """The writer's thread. Its own errors (a full disk) go to the feeding thread."""
        try:
            self._rows.write()
        except (StoppedError, CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001  (raised again in the feeding thread)
            self._error = error

    def _abort(self) -> None:
        # The writer drops its tile at its next wait, also at one for a batch that is cancelled here.
        self._stop.set()
        self._callers.shutdown(cancel_futures=True)
        self._writer.join()

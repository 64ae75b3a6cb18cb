"""The far end of the pipeline: batches of vectors and scores become rows, and rows the files of tiles."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run
from scanner.encoder.buffers import Encoded
from scanner.scan.best_rows import Best, Keep
from scanner.scan.handoff import Outcome, Ready, StoppableQueue
from scanner.scan.options import of_table
from scanner.scan.prepare import Prepared
from scanner.scan.progress import Progress
from scanner.scan.report import Seconds, TileReport
from scanner.sources.dropped import Dropped

BLOCK = 1024
"""Rows that are handed to the file at once: a column costs the same for 16 rows as for 1,000."""


class Mark(Enum):
    """What stands between tiles and batches in the queue."""

    END_OF_PART = 1
    END = 2


@dataclass(frozen=True)
class Batch:
    """What the encoder gives for rows ``start`` to ``stop``; ``valid`` [n, B] is the share of valid pixels."""

    start: int
    stop: int
    encoded: Encoded
    valid: NDArray[np.float32]
    cut: float
    infer: float

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """Batches that follow each other as one."""
        return cls(
            start=batches[0].start,
            stop=batches[-1].stop,
            encoded=Encoded(*map(np.concatenate, zip(*(batch.encoded for batch in batches), strict=True))),
            valid=np.concatenate([batch.valid for batch in batches]),
            cut=sum(batch.cut for batch in batches),
            infer=sum(batch.infer for batch in batches),
        )


class TileError(Exception):
    """A tile cannot be finished, and why."""

    def __init__(self, report: TileReport) -> None:
        super().__init__(report)
        self.report = report


Queue = StoppableQueue[Outcome | Future[Batch] | Mark]
"""Tiles in order: a part of one, its batches, END_OF_PART, and so on to its last part; or a report. At last END."""


class RowWriter:
    """Writes tiles in the order fed, from one thread; ``reports`` grow as tiles end."""

    def __init__(
        self, queue: Queue, catalogue: Catalogue, run: Run, provider: str, progress: Progress, keep: Keep | None
    ) -> None:
        self.reports: list[TileReport] = []
        self._queue, self._catalogue, self._run, self._provider = queue, catalogue, run, provider
        self._progress, self._keep = progress, keep

    def write(self) -> None:
        """Write until ``Mark.END``. A tile that breaks is a report; what breaks every tile (a full disk) is raised."""
        # Between tiles the queue holds parts and reports only: a tile takes its batches and marks itself.
        while (item := self._queue.get()) is not Mark.END:
            assert isinstance(item, Ready | TileReport)
            report = self._written(item) if isinstance(item, Ready) else item
            if report.status == "failed":
                self._catalogue.record_failure(report.tile, report.code, report.message, report.hint)
            else:
                self._catalogue.clear_failure(report.tile)
            self.reports.append(report)
            self._progress.finished(report)

    def _written(self, ready: Ready) -> TileReport:
        parts = self._parts(ready)
        try:
            return self._write_tile(
                ready.prepared.tile.name, parts, of_table(self._run, ready.prepared.positions_sha256)
            )
        except TileError as bad:
            # The rest of the tile is still in the queue. It may fail a second time there.
            with contextlib.suppress(TileError):
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
            # With little memory the tile has further parts, each with its batches.
            if ready.prepared.last:
                return
            item = self._queue.get()
            if isinstance(item, TileReport):
                raise TileError(item)
            assert isinstance(item, Ready)
            ready = item

    def _futures(self) -> Iterator[Future[Batch]]:
        """What is still to come of the part at hand, in order."""
        while isinstance(item := self._queue.get(), Future):
            yield item

    def _blocks(self, futures: Iterator[Future[Batch]]) -> Iterator[Batch]:
        """The batches of a part, joined to blocks."""
        batches: list[Batch] = []
        for future in futures:
            batches.append(future.result())
            self._progress.embedded(batches[-1].stop - batches[-1].start)
            if batches[-1].stop - batches[0].start >= BLOCK:
                yield Batch.join(batches)
                batches = []
        if batches:
            yield Batch.join(batches)

    def _write_tile(self, tile: str, parts: Iterator[tuple[Prepared, Iterator[Future[Batch]]]], run: Run) -> TileReport:
        positions, dropped, seconds = 0, Dropped(), Seconds()
        notes: dict[str, None] = {}  # in order, without those that every part repeats
        best = Best(self._keep) if self._keep else None
        with self._catalogue.writer(tile, run, {"provider": self._provider}) as file:
            for prepared, futures in parts:
                self._progress.started(tile, len(prepared))
                seconds += prepared.seconds
                notes |= dict.fromkeys(prepared.notes)
                positions += prepared.dropped.total + len(prepared)
                dropped += prepared.dropped
                for batch in self._blocks(futures):
                    began = time.perf_counter()
                    columns = prepared.columns(batch.start, batch.stop, batch.valid, batch.encoded)
                    no_data = int(np.count_nonzero(~batch.valid.any(axis=1)))
                    dropped += Dropped(no_data=no_data, no_embedding=len(batch.valid) - no_data - len(columns["ra"]))
                    best.add(columns) if best else file.write(columns)
                    seconds += Seconds(cut=batch.cut, infer=batch.infer, write=time.perf_counter() - began)
            # The file is written when the block ends.
            began = time.perf_counter()
            for rows in best.rows() if best else ():
                file.write(rows)
        seconds += Seconds(write=time.perf_counter() - began)
        if not positions:
            notes["No object was found in this tile."] = None
        return TileReport(tile, "done", file.rows, dropped.total, seconds, notes=tuple(notes), dropped_by=dropped)

"""Tiles that are ready to be embedded, read ahead by processes into a bounded number of slots."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType

from scanner.scan.handoff import LocalTile, Outcome, Ready, Stop, StoppableQueue, StoppedError
from scanner.scan.prepare import ReaderJob, prepare
from scanner.scan.reader_process import Reader
from scanner.scan.report import TileReport
from scanner.system.shared_memory import SharedArray
from scanner.system.signals import POLL

Listed = Iterable[LocalTile | TileReport | None]
"""Tiles to read and reports of those that need no reading; None where there is nothing yet."""


class InProcess:
    """Reads each tile when it is asked for, in this process: for notebooks, debugging, and where nothing is shared."""

    def __init__(self, job: ReaderJob) -> None:
        self._job = job

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stream(self, tiles: Listed, check: Callable[[], None]) -> Iterator[Outcome]:
        """Outcomes in the order of the list; ``check`` is called before each tile and raises to end it."""
        for tile in tiles:
            check()
            if isinstance(tile, TileReport):
                yield tile
            elif tile is not None:
                for outcome in prepare(self._job, tile.tile):
                    yield tile.by_url(outcome) if isinstance(outcome, TileReport) else Ready(outcome, lambda: None)
                tile.release()


class Prefetcher:
    """``readers`` processes that read ahead into ``readers + 1`` slots; one thread here waits on each process.

    The list is taken one tile at a time, so it may be endless.
    """

    def __init__(self, job: ReaderJob, readers: int) -> None:
        # One slot per process that reads, and one whose tile is embedded.
        self._slots = [SharedArray() for _ in range(readers + 1)]
        self._readers = [Reader(job, self._slots, job.options.time_limit) for _ in range(readers)]
        self._stop = Stop()
        self._free: StoppableQueue[int] = StoppableQueue(self._stop)
        self._out: StoppableQueue[Outcome | BaseException | None] = StoppableQueue(self._stop, 2 * readers + 2)
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()
        for number in range(len(self._slots)):
            self._free.put(number)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # A thread that waits for its process ends when the process does.
        while any(thread.is_alive() for thread in self._threads):
            if error is not None:  # again and again: a thread may just be starting one
                for reader in self._readers:
                    reader.kill()
            for thread in self._threads:
                thread.join(POLL)
        for slot in self._slots:
            slot.close()

    def stream(self, tiles: Listed, check: Callable[[], None]) -> Iterator[Outcome]:
        """Outcomes as they come; ``check`` is called while waiting and raises to end it."""
        source = iter(tiles)
        for reader in self._readers:
            thread = threading.Thread(target=self._work, args=(reader, source), name="prefetch", daemon=True)
            self._threads.append(thread)
            thread.start()
        running = len(self._threads)
        while running:
            outcome = self._out.get(check)
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:  # a thread has come to the end of the list
                running -= 1
            else:
                yield outcome

    def _work(self, reader: Reader, source: Iterator[LocalTile | TileReport | None]) -> None:
        """The thread of one process: tiles from the list until it ends."""
        with contextlib.suppress(StoppedError):
            try:
                # A slot first: a tile that is taken from the list is read at once.
                while True:
                    slot = self._free.get()
                    if (tile := self._next(source)) is None:
                        break
                    self._read(reader, tile, slot)
                self._out.put(None)
            except StoppedError:
                raise
            except BaseException as error:  # noqa: BLE001  (the list's, or no process starts: raised in the main thread)
                self._out.put(error)
            finally:
                reader.stop()

    def _read(self, reader: Reader, tile: LocalTile, slot: int) -> None:
        """One tile into a slot, or its parts each into a slot of its own."""
        while True:
            answer = reader.read(tile.tile, slot)
            if isinstance(answer, TileReport):
                self._free.put(slot)
                outcome: Outcome = tile.by_url(answer)
                break
            # The pixels [B, H, W] are in shared memory already; only their description came through the pipe.
            pixels = self._slots[slot].array(answer.shape)
            outcome = Ready(answer.over(pixels), partial(self._free.put, slot))
            if answer.last:
                break
            self._out.put(outcome)
            slot = self._free.get()
        # The copies are not needed once the pixels are in memory.
        tile.release()
        self._out.put(outcome)

    def _next(self, source: Iterator[LocalTile | TileReport | None]) -> LocalTile | None:
        """The next tile to read; reports of the others go out on the way."""
        # The list is one iterator for all threads.
        with self._turn:
            for tile in source:
                self._stop.wait()
                if isinstance(tile, LocalTile):
                    return tile
                if tile is not None:
                    self._out.put(tile)
        return None

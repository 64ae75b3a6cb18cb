"""Tiles that are ready to be embedded, read ahead by processes into a bounded number of slots."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from scanner.scan.prepare import Job, Prepared, prepare
from scanner.scan.reader_process import Reader
from scanner.scan.report import TileReport
from scanner.survey.tile import Tile
from scanner.system.shared_memory import Slot

POLL = 0.1
"""Seconds after which a wait looks whether the scan was stopped."""

Triage = Callable[[Tile], TileReport | None]


@dataclass(frozen=True)
class Ready:
    """A tile, or a part of one, whose pixels are at hand until ``release`` is called (once, from any thread)."""

    prepared: Prepared
    release: Callable[[], None]


Outcome = Ready | TileReport


class InProcess:
    """Reads each tile when it is asked for, in this process: for notebooks, debugging, and where nothing is shared."""

    def __init__(self, job: Job, triage: Triage) -> None:
        self._job, self._triage = job, triage

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stream(self, tiles: Iterable[Tile | None], check: Callable[[], None]) -> Iterator[Outcome]:
        for tile in tiles:
            check()
            if tile is None:
                continue
            report = self._triage(tile)
            for found in prepare(self._job, tile) if report is None else (report,):
                yield found if isinstance(found, TileReport) else Ready(found, lambda: None)


class Prefetcher:
    """``readers`` processes that read ahead into ``readers + 1`` slots; one thread here waits on each process.

    ``triage`` says which tiles need no reading. The list is taken one tile at a time, so it may be endless.
    """

    def __init__(self, job: Job, triage: Triage, readers: int) -> None:
        self._triage = triage
        self._slots = [Slot() for _ in range(readers + 1)]
        self._readers = [Reader(job, self._slots, job.options.time_limit) for _ in range(readers)]
        self._free: queue.Queue[int] = queue.Queue()
        self._out: queue.Queue[Outcome | BaseException | None] = queue.Queue(maxsize=2 * readers + 2)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()
        for number in range(len(self._slots)):
            self._free.put(number)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
            if error is not None:  # again and again: a thread may just be starting one
                for reader in self._readers:
                    reader.kill()
            for thread in self._threads:
                thread.join(POLL)
        for slot in self._slots:
            slot.close()

    def stream(self, tiles: Iterable[Tile | None], check: Callable[[], None]) -> Iterator[Outcome]:
        """Outcomes as they come; ``check`` is called while waiting and raises to end it."""
        source = iter(tiles)
        for reader in self._readers:
            thread = threading.Thread(target=self._work, args=(reader, source), name="prefetch", daemon=True)
            self._threads.append(thread)
            thread.start()
        running = len(self._threads)
        while running:
            check()
            with contextlib.suppress(queue.Empty):
                outcome = self._out.get(timeout=POLL)
                if isinstance(outcome, BaseException):
                    raise outcome
                if outcome is None:
                    running -= 1
                else:
                    yield outcome

    def _work(self, reader: Reader, source: Iterator[Tile | None]) -> None:
        try:
            while (slot := self._free_slot()) is not None:
                if (tile := self._next(source)) is None:
                    break
                for outcome in self._read(reader, tile, slot):
                    self._put(outcome)
            self._put(None)
        except BaseException as error:  # noqa: BLE001  (the list's, or no process starts: raised again in the main thread)
            self._put(error)
        finally:
            reader.stop()

    def _read(self, reader: Reader, tile: Tile, slot: int | None) -> Iterator[Outcome]:
        """The parts of a tile, each in a slot of its own."""
        last = False
        while slot is not None:
            found = reader.read(tile, slot)
            if isinstance(found, TileReport):
                self._free.put(slot)
                yield found
                return
            pixels = self._slots[slot].array(found.shape)
            yield Ready(found.over(pixels), partial(self._free.put, slot))
            last = found.last
            slot = None if last else self._free_slot()

    def _next(self, source: Iterator[Tile | None]) -> Tile | None:
        """The next tile that needs reading; reports of the others go out on the way."""
        with self._turn:
            for tile in source:
                if self._stopped.is_set():
                    return None
                if tile is None:
                    continue
                if (report := self._triage(tile)) is None:
                    return tile
                self._put(report)
        return None

    def _free_slot(self) -> int | None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=POLL)
        return None

    def _put(self, outcome: Outcome | BaseException | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._out.put(outcome, timeout=POLL)
                return

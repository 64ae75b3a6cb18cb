"""Remote tiles brought to a local disk before they are read: the next while this one is scanned, and few at once."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.remote import download as transfer
from scanner.remote.scratch import Scratch
from scanner.scan.read_ahead import POLL, Outcome
from scanner.scan.report import TileReport
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.survey.urls import Remote, file_name, sibling

STREAMS = 8
"""Files that are fetched at once."""


class _StoppedError(Exception):
    pass


@dataclass(frozen=True)
class _Copy:
    """The local file of a band, and the URL that it was fetched from."""

    path: Path
    url: str


@dataclass(frozen=True)
class _Order:
    """A tile whose files are being fetched into ``room``; None for a band that is not there."""

    tile: Tile
    room: Path
    copies: Mapping[str, Future[_Copy | None]]


class Staging:
    """Fetches the files of remote tiles into ``scratch``, for at most ``rooms`` tiles at once; others pass through.

    ``stream`` goes between the list and who reads it; ``settle`` is told of each outcome and frees the tile's room.
    ``done`` says which tiles need no reading. ``bands``: those to fetch.
    """

    def __init__(
        self, survey: Survey, bands: Iterable[str], scratch: Path | None, rooms: int, done: Callable[[Tile], bool]
    ) -> None:
        self._survey, self._bands, self._done = survey, tuple(bands), done
        self._scratch = Scratch(scratch)
        self._rooms = threading.Semaphore(rooms)
        self._orders: queue.Queue[_Order | Tile | BaseException | None] = queue.Queue(maxsize=rooms)
        self._held: dict[str, deque[tuple[Path, list[_Copy]]]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._best: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._scratch.__exit__()

    def stream(self, tiles: Iterable[Tile | None]) -> Iterator[Tile | None]:
        """The tiles in their order, with files that are all here; a ``problem`` where one could not be fetched.

        None, which stands for "nothing yet", passes through. Raises what is wrong with the set-up
        (``remote.not_installed``, ``output.full``).
        """
        source = iter(tiles)
        for tile in source:
            if tile is not None and self._wants(tile):
                yield from self._fetched(chain([tile], source))
                return
            yield tile

    def settle(self, outcome: Outcome) -> Outcome:
        """The same outcome, whose copies are not needed any more; messages speak of URLs, not of copies."""
        report = outcome if isinstance(outcome, TileReport) else None
        if not isinstance(outcome, TileReport) and not outcome.prepared.last:
            return outcome
        name = report.tile if report else outcome.prepared.tile.name  # type: ignore[union-attr]
        with self._lock:
            held = self._held.get(name)
            if not held:
                return outcome
            room, copies = held.popleft()
            if not held:
                del self._held[name]
        self._leave(room)
        if report is None:
            return outcome
        message = report.message
        for copy in copies:
            message = message.replace(str(copy.path), copy.url)
        return replace(report, message=message)

    def _wants(self, tile: Tile) -> bool:
        return tile.remote is not None and tile.problem is None and not self._done(tile)

    def _fetched(self, tiles: Iterable[Tile | None]) -> Iterator[Tile]:
        self._scratch.__enter__()
        self._pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="fetch")
        self._threads.append(threading.Thread(target=self._order_all, args=(tiles,), name="staging", daemon=True))
        self._threads[-1].start()
        while (item := self._next()) is not None:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Tile):
                yield item
            elif (tile := self._arrived(item)) is not None:
                yield tile

    def _next(self) -> _Order | Tile | BaseException | None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return self._orders.get(timeout=POLL)
        return None

    def _order_all(self, tiles: Iterable[Tile | None]) -> None:
        try:
            for tile in tiles:
                self._wait(0.0)
                if tile is not None:
                    self._put(self._order(tile) if self._wants(tile) else tile)
            self._put(None)
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001  (the list's own, or a full disk: raised again by the stream)
            self._put(error)

    def _order(self, tile: Tile) -> _Order:
        while not self._rooms.acquire(timeout=POLL):
            self._wait(0.0)
        assert self._pool is not None
        assert tile.remote is not None
        room = self._scratch.room()
        copies = {
            band: self._pool.submit(self._fetch, tile.remote, band, room)
            for band in self._bands
            if band in tile.remote.candidates
        }
        return _Order(tile, room, copies)

    def _put(self, item: _Order | Tile | BaseException | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._orders.put(item, timeout=POLL)
                return

    def _arrived(self, order: _Order) -> Tile | None:
        """The tile with its files here, or with a problem; None if the scan was stopped."""
        while wait(order.copies.values(), timeout=POLL).not_done:
            if self._stopped.is_set():
                return None
        tile = order.tile
        try:
            found = {band: copy for band, future in order.copies.items() if (copy := future.result())}
        except _StoppedError:
            return None
        except ScannerError as error:
            self._leave(order.room)
            if error.code in transfer.SETUP:
                raise
            return replace(tile, problem=error, remote=None)
        if not found and not tile.files:
            self._leave(order.room)
            return replace(tile, problem=_nothing(tile), remote=None)
        with self._lock:
            self._held.setdefault(tile.name, deque()).append((order.room, list(found.values())))
        return replace(tile, files={**tile.files, **{b: copy.path for b, copy in found.items()}}, remote=None)

    def _leave(self, room: Path) -> None:
        self._scratch.clear(room)
        self._rooms.release()

    def _fetch(self, remote: Remote, band: str, room: Path) -> _Copy | None:
        """A band's file, from the first of its URLs that has one; where the last tile's was is tried first."""
        urls = remote.candidates[band]
        best = self._best.get(band, 0)
        for number in sorted(range(len(urls)), key=lambda number: number != best):
            self._wait(0.0)
            copy = _Copy(room / file_name(urls[number]), urls[number])
            try:
                transfer.fetch(copy.url, copy.path, self._wait)
            except FileNotFoundError:
                continue
            if band not in remote.given:
                self._best[band] = number
            self._fetch_planes(band, copy)
            return copy
        if band in remote.given:
            raise ScannerError(ErrorCode.TILE_MISSING_FILE, f"There is no file {urls[0]}.", "Check the address.")
        return None

    def _fetch_planes(self, band: str, image: _Copy) -> None:
        """Masks and variances that the survey keeps in files of their own beside the image."""
        of = self._survey.band(band)
        for plane in (of.mask, of.variance):
            if plane is None or (name := plane.name_beside(image.path.name)) is None:
                continue
            target = image.path.with_name(name)
            if not target.exists():
                try:
                    transfer.fetch(sibling(image.url, name), target, self._wait)
                except FileNotFoundError:
                    continue

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise _StoppedError


def _nothing(tile: Tile) -> ScannerError:
    assert tile.remote is not None
    first = next((urls[0] for urls in tile.remote.candidates.values() if urls), "")
    hint = f"Looked for addresses such as {first}; give --root where the files are."
    return ScannerError(ErrorCode.TILE_MISSING_FILE, f"No file of tile {tile.name} was found.", hint)

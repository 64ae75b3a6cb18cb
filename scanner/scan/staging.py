"""Staging: remote tiles are copied to a local disk before they are read, a few ahead of the scan."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.remote.download import SETUP, fetch
from scanner.remote.scratch import Scratch
from scanner.scan.handoff import LocalTile, Stop, StoppableQueue, StoppedError
from scanner.scan.report import TileReport
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.survey.urls import Remote, file_name, redact, sibling
from scanner.system.signals import POLL

STREAMS = 8
"""Number of files that are fetched at once."""


@dataclass(frozen=True)
class _Copy:
    """The local file of a band, and the URL that it was fetched from."""

    path: Path
    url: str


@dataclass(frozen=True)
class _Order:
    """A tile whose files are being fetched into ``folder``; None for a band that is not there."""

    tile: Tile
    folder: Path
    copies: Mapping[str, Future[_Copy | None]]


class Staging:
    """Fetches the files of remote tiles into ``scratch``; local tiles pass through.

    ``bands``: those to fetch. ``most``: number of tiles whose copies are on the disk at once. ``limit``: seconds that
    the transfer of a file may take.
    """

    def __init__(self, survey: Survey, bands: Iterable[str], scratch: Path | None, most: int, limit: float) -> None:
        self._survey, self._bands, self._limit = survey, tuple(bands), limit
        self._scratch = Scratch(scratch)
        self._stop = Stop()
        # Each item is a place for the copies of a tile: who fetches takes one, who has read puts it back.
        self._places: StoppableQueue[None] = StoppableQueue(self._stop)
        self._orders: StoppableQueue[_Order | LocalTile | TileReport | BaseException | None] = StoppableQueue(
            self._stop, most
        )
        # By band, which of its possible URLs the last tile had.
        self._best: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        for _ in range(most):
            self._places.put(None)

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._scratch.__exit__()

    def stream(self, tiles: Iterable[Tile | TileReport | None]) -> Iterator[LocalTile | TileReport | None]:
        """The tiles in their order, all of whose files are local; a report where one could not be fetched.

        Reports and None, which stands for "nothing yet", pass through.

        Raises:
            ScannerError: What is wrong with the set-up: ``remote.not_installed``, ``output.full``...
        """
        # Scans of local tiles, which are most, need no threads and no scratch folder.
        source = iter(tiles)
        for tile in source:
            if isinstance(tile, Tile) and tile.remote is not None:
                yield from self._fetched(chain([tile], source))
                return
            yield LocalTile(tile) if isinstance(tile, Tile) else tile

    def _fetched(self, tiles: Iterable[Tile | TileReport | None]) -> Iterator[LocalTile | TileReport]:
        """From the first remote tile on: a thread orders files ahead; the files of one tile are waited for."""
        self._scratch.__enter__()
        self._pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="fetch")
        self._thread = threading.Thread(target=self._order_all, args=(tiles, self._pool), name="staging", daemon=True)
        self._thread.start()
        # Orders are in the order of the list, whatever arrives first.
        while (item := self._orders.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield self._arrived(item) if isinstance(item, _Order) else item

    def _order_all(self, tiles: Iterable[Tile | TileReport | None], pool: ThreadPoolExecutor) -> None:
        with contextlib.suppress(StoppedError):
            try:
                for tile in tiles:
                    self._stop.wait()
                    if isinstance(tile, Tile):
                        self._orders.put(self._order(tile, tile.remote, pool) if tile.remote else LocalTile(tile))
                    elif tile is not None:
                        self._orders.put(tile)
                self._orders.put(None)
            except StoppedError:
                raise
            except BaseException as error:  # noqa: BLE001  (the list's own, or a full disk: raised by the stream)
                self._orders.put(error)

    def _order(self, tile: Tile, remote: Remote, pool: ThreadPoolExecutor) -> _Order:
        # Wait here until an earlier tile was read.
        self._places.get()
        folder = self._scratch.new_folder()
        wanted = [band for band in self._bands if band in remote.candidates]
        return _Order(tile, folder, {band: pool.submit(self._fetch, remote, band, folder) for band in wanted})

    def _arrived(self, order: _Order) -> LocalTile | TileReport:
        """The tile with its copies, or the report of one that could not be fetched."""
        # Also if one band failed: the folder must not be removed while another is written to.
        tile = order.tile
        # A stop cancels what has not begun, and ``wait`` alone would wait for that without end.
        while wait(order.copies.values(), POLL).not_done:
            self._stop.wait()
        try:
            copies = {band: copy for band, future in order.copies.items() if (copy := future.result())}
            if not copies and not tile.files:
                raise _nothing(tile)
        except CancelledError as error:
            raise StoppedError from error
        except Exception as error:
            # Without the package, or on a full disk, every tile would fail.
            if isinstance(error, ScannerError) and error.code in SETUP:
                raise
            self._leave(order.folder)
            return TileReport.failed(tile.name, error)
        files = {**tile.files, **{band: copy.path for band, copy in copies.items()}}
        return LocalTile(
            replace(tile, files=files, remote=None),
            partial(self._leave, order.folder),
            {copy.path: redact(copy.url) for copy in copies.values()},
        )

    def _leave(self, folder: Path) -> None:
        """Remove the copies of a tile, so that another can take their place."""
        self._scratch.remove(folder)
        self._places.put(None)

    def _fetch(self, remote: Remote, band: str, folder: Path) -> _Copy | None:
        """A band's file, from the first of its URLs that has one; the one that the last tile had is tried first."""
        urls = remote.candidates[band]
        best = self._best.get(band, 0)
        for number in sorted(range(len(urls)), key=lambda number: number != best):
            self._stop.wait()
            copy = _Copy(folder / file_name(urls[number]), urls[number])
            try:
                fetch(copy.url, copy.path, self._stop.wait, self._limit)
            except FileNotFoundError:
                continue
            # A URL that the list gave says nothing about the layout of other tiles.
            if band not in remote.given:
                self._best[band] = number
            self._fetch_planes(band, copy)
            return copy
        if band in remote.given:
            raise ScannerError(ErrorCode.TILE_MISSING_FILE, f"There is no file {redact(urls[0])}.", "Check the URL.")
        return None

    def _fetch_planes(self, band: str, image: _Copy) -> None:
        """Fetch masks and variances that the survey keeps in files of their own beside the image."""
        of = self._survey.band(band)
        for plane in (of.mask, of.variance):
            if plane is None or (name := plane.name_beside(image.path.name)) is None:
                continue
            target = image.path.with_name(name)
            if not target.exists():
                try:
                    fetch(sibling(image.url, name), target, self._stop.wait, self._limit)
                except FileNotFoundError:
                    continue


def _nothing(tile: Tile) -> ScannerError:
    assert tile.remote is not None
    first = next((urls[0] for urls in tile.remote.candidates.values() if urls), "")
    hint = f"Looked for URLs such as {redact(first)}; give the --root of the files."
    return ScannerError(ErrorCode.TILE_MISSING_FILE, f"No file of tile {tile.name} was found.", hint)

"""A snapshot of a catalogue: the tile files that one question reads, from a single listing of their folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from catalogs.sky.geometry import Circle
from catalogs.sky.overlaps import Owners
from catalogs.store.footers import Footer
from catalogs.store.tile_reader import TileFile

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

_KEPT_OPEN = 32  # files; below it, all steps of a question together open each file once


class Snapshot:
    """The tiles of a catalogue at one moment, handed along a whole question.

    ``footers`` are those of the tiles in question, sorted by tile. ``owners`` says which rows count, given all tiles of
    the catalogue; it is None where tiles follow no grid.
    """

    def __init__(self, catalogue: TileStore, footers: Sequence[Footer], owners: Owners | None) -> None:
        self.catalogue = catalogue
        self.footers = tuple(footers)
        self.owners = owners
        self._idle: dict[str, TileFile] = {}

    def touching(self, near: Circle | None = None) -> Snapshot:
        """Restrict it to the tiles that have rows, and whose rows may lie in ``near``."""
        filled = [footer for footer in self.footers if footer.rows]
        return self.only([f for f in filled if near is None or (f.circle is not None and f.circle.touches(near))])

    def only(self, footers: Sequence[Footer]) -> Snapshot:
        """Restrict it to these of its tiles."""
        part = Snapshot(self.catalogue, footers, self.owners)
        part._idle = self._idle
        return part

    @contextlib.contextmanager
    def open(self, footer: Footer) -> Iterator[TileFile]:
        """Open a tile's file, or take the one that an earlier step of the question left open.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        # A file that is being read is not in the dictionary, so that no two threads read through one handle.
        file = self._idle.pop(footer.tile, None)
        if file is not None and not file.current:
            file.close()
            file = None
        file = file or TileFile(self.catalogue.tile_path(footer.tile))
        try:
            yield file
        finally:
            if len(self._idle) < _KEPT_OPEN:
                self._idle[footer.tile] = file
            else:
                file.close()

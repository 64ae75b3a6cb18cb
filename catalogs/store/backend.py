"""What can be asked: the protocol of a catalogue's backend, and its tiles at one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from catalogs.sky.geometry import Circle
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store.footers import Footer
from catalogs.store.provenance import Info
from catalogs.store.tile_reader import EVERYTHING, Selection
from catalogs.store.vectors import Vectors

_KEPT_OPEN = 128  # files; below it, all steps of a question together open each file once


class OpenTile(Protocol):
    """The rows of one tile, open to be read; each method does what that of ``TileFile`` does."""

    @property
    def current(self) -> bool: ...

    def groups(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[pa.Table]: ...

    def groups_beside_vectors(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]: ...

    def take(
        self, columns: Sequence[str], rows: NDArray[np.int64], owners: OverlapOwners | None = None
    ) -> pa.Table: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Proposals:
    """Rows that may be the best for each of Q directions: ``tables`` [Q] in any order, to be ranked by their vectors.

    They have the columns ``object_id``, ``tile``, ``ra``, ``dec``, ``embedding`` and ``_row``, the number in the tile,
    and those of the filter. Of what an index finds, the nearest by their vectors are enough. ``exactly`` counts the
    rows that were all proposed, ``by_index`` those that an index answered for.
    """

    tables: Sequence[pa.Table]
    exactly: int
    by_index: int


class Backend(Protocol):
    """A catalogue that can be asked: a folder of tiles (``TileStore``), or a dataset of another format.

    What asks it sees tiles, whatever they are stored in, through ``Snapshot``.
    """

    @property
    def path(self) -> Path | str:
        """Where it is, to be named to the user."""

    @property
    def info(self) -> Info: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def exact_numbers(self) -> float:
        """Rows times dimensions up to which a search compares all rows, unless it has a lower limit of its own."""

    def snapshot(self) -> Snapshot: ...

    def open_tile(self, tile: str) -> OpenTile: ...

    def unchanged(self, footer: Footer) -> bool:
        """Whether a tile is still the one that was listed."""

    def records(self, snapshot: Snapshot, footer: Footer, columns: Sequence[str]) -> NDArray[np.void] | None:
        """Give the rows of a tile of the snapshot from memory; None where they are to be read, by ``OpenTile.take``."""

    def propose(self, directions: Vectors, selection: Selection, count: int) -> Proposals | None:
        """Find rows among which the ``count`` best of the selection are, for unit vectors [Q, D].

        None where it has no index of its own: then all rows are compared, or those that ``catalogs.index`` finds.
        """


class Snapshot:
    """The tiles of a catalogue at one moment, handed along a whole question.

    ``footers`` are those of the tiles in question, sorted by tile. ``owners`` says which rows count, given all tiles of
    the catalogue; it is None where tiles follow no grid. ``errors`` say what is wrong with each other file.
    """

    def __init__(
        self,
        catalogue: Backend,
        footers: Sequence[Footer],
        owners: OverlapOwners | None,
        errors: Sequence[ScannerError] = (),
    ) -> None:
        self.catalogue = catalogue
        self.footers = tuple(footers)
        self.owners = owners
        self.errors = tuple(errors)
        self._idle: dict[str, OpenTile] = {}

    def touching(self, near: Circle | None = None) -> Snapshot:
        """Restrict it to the tiles that have rows, and whose rows may lie in ``near``."""
        filled = [footer for footer in self.footers if footer.rows]
        return self.only([f for f in filled if near is None or (f.circle is not None and f.circle.touches(near))])

    def only(self, footers: Sequence[Footer]) -> Snapshot:
        """Restrict it to these of its tiles."""
        part = Snapshot(self.catalogue, footers, self.owners, self.errors)
        # All parts of a snapshot share the open files, and the owners of the whole catalogue.
        part._idle = self._idle
        return part

    def unchanged(self, footer: Footer) -> bool:
        """Whether a tile is still the one that was listed."""
        return self.catalogue.unchanged(footer)

    @contextlib.contextmanager
    def open(self, footer: Footer) -> Iterator[OpenTile]:
        """Open a tile's file, or take the one that an earlier step of the question left open.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        # A file that is being read is not in the dictionary, so that no two threads read through one handle.
        file = self._idle.pop(footer.tile, None)
        if file is not None and not file.current:
            file.close()
            file = None
        file = file or self.catalogue.open_tile(footer.tile)
        try:
            yield file
        finally:
            if len(self._idle) < _KEPT_OPEN:
                self._idle[footer.tile] = file
            else:
                file.close()

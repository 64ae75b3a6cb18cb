"""A catalogue as its users see it: a folder of tiles that answers questions with astropy tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from catalogs.store.provenance import Run
from catalogs.store.tile_store import TileStore

if TYPE_CHECKING:
    from astropy.table import Table


class Catalogue(TileStore):
    """A folder of tiles with the questions that it answers: rows, cones and neighbours.

    ``search`` and ``rows`` are imported where they are asked for: at the top they would double what ``open`` costs.
    """

    def table(self, columns: Sequence[str] | None = None, where: str | None = None) -> Table:
        """All rows as an astropy table with units; all columns but the embedding unless named.

        ``where`` is a filter such as ``"mag_r < 21 and is_primary"`` (see ``catalogs.store.row_filter``).
        """
        from catalogs.store import rows

        return rows.table(self.snapshot(), columns, where)

    def cone(
        self, ra: float, dec: float, radius: float, columns: Sequence[str] | None = None, where: str | None = None
    ) -> Table:
        """Rows within ``radius`` arcsec of a position in degrees ICRS, nearest first, with their ``separation``."""
        from catalogs.store import rows

        return rows.cone(self.snapshot(), ra, dec, radius, columns, where)

    def neighbours(
        self,
        *,
        ra: float | None = None,
        dec: float | None = None,
        object_id: int | None = None,
        vector: NDArray[Any] | None = None,
        k: int = 10,
        radius: float = 3.0,
        near: tuple[float, float, float] | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Table:
        """The ``k`` objects most like an ``object_id``, like the object within ``radius`` arcsec of ``ra``, ``dec``
        (which is itself left out), or like an embedding ``vector`` [D]; ``rank`` and ``similarity`` come first.

        ``near`` (ra, dec in degrees, radius in arcsec) and ``where`` restrict the answer. Raises ``ScannerError``
        ``query.outside_coverage``, ``query.no_object``, ``query.unknown_object``, ``query.bad_vector``.
        """
        from catalogs.search import neighbours
        from catalogs.search.matching import match_one

        given = {"ra, dec": ra is not None and dec is not None, "object_id": object_id is not None}
        if sum([*given.values(), vector is not None]) != 1:
            raise TypeError("neighbours() takes either ra and dec, or object_id, or vector")
        snapshot = self.snapshot()
        if vector is not None:
            return neighbours.neighbours(snapshot, vector, k, near=near, where=where, columns=columns)
        example = match_one(snapshot, ra=ra, dec=dec, object_id=object_id, radius=radius)
        return neighbours.neighbours(
            snapshot, example.vector, k, exclude=neighbours.around(example), near=near, where=where, columns=columns
        )


def create(path: Path | str, run: Run) -> Catalogue:
    """Make the folder of a catalogue for a run, or open the one that is there: ``TileStore.create``."""
    return Catalogue.create(path, run)


def open(path: Path | str) -> Catalogue:
    """Open a catalogue. Raises ``ScannerError`` ``catalogue.missing`` or ``catalogue.damaged``."""
    return Catalogue.open(path)

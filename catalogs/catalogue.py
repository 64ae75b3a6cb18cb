"""Catalogues as users see them: folders of tiles that answer questions with astropy tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray

from catalogs.lance import PREFIX
from catalogs.lance.dataset import LanceStore
from catalogs.store.backend import Snapshot
from catalogs.store.provenance import Run
from catalogs.store.tile_store import TileStore

if TYPE_CHECKING:
    from astropy.table import Table


class Questions(ABC):
    """Questions to a catalogue, answered with astropy tables, whatever the catalogue is stored in."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """List the tiles once, for all steps of a question."""

    # The rooms that answer are imported where they are used: at the top they would double what ``open`` costs.

    def table(self, columns: Sequence[str] | None = None, where: str | None = None) -> Table:
        """Return all rows as a table with units.

        ``columns`` are all but the embedding by default. ``where`` is a filter, such as ``mag_r < 21 and is_primary``:
        comparisons, arithmetic, ``and``, ``or``, ``not``, ``in``, ``isnan`` and ``abs`` of columns. Rows are in the
        order of the tiles. With ``is_primary`` an object in the overlap of several tiles is counted once.

        Raises:
            ScannerError: ``column.unknown``, ``where.syntax``, ``where.column``, ``where.type``.

        Example:
            >>> import catalogs
            >>> catalogue = catalogs.open("embeddings")
            >>> bright = catalogue.table(["object_id", "ra", "dec", "mag_r"], where="mag_r < 21 and is_primary")
            >>> bright.colnames
            ['object_id', 'ra', 'dec', 'mag_r']
            >>> str(bright["ra"].unit)
            'deg'
        """
        from catalogs.store import rows

        return rows.table(self.snapshot(), columns, where)

    def cone(
        self, ra: float, dec: float, radius: float, columns: Sequence[str] | None = None, where: str | None = None
    ) -> Table:
        """Return the rows within ``radius`` arcsec of a position in degrees (ICRS), nearest first.

        The first column is ``separation`` in arcsec; ``columns`` and ``where`` are those of ``table``. Only tiles that
        the cone touches are read.

        Raises:
            ScannerError: ``sky.out_of_range``, ``column.unknown``, ``where.*``.

        Example:
            >>> import catalogs
            >>> catalogue = catalogs.open("embeddings")
            >>> nearby = catalogue.cone(ra=0.0, dec=30.25, radius=600.0, columns=["object_id"])
            >>> nearby.colnames
            ['separation', 'object_id']
            >>> float(nearby["separation"].max()) <= 600.0
            True
        """
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
        """Return the ``k`` objects with the most similar embeddings, best first.

        The query is the object within ``radius`` arcsec of ``ra`` and ``dec`` (degrees), the object with an
        ``object_id``, or an embedding ``vector`` [D]. An object is not its own neighbour, nor is anything within 3
        arcsec of it. The first columns are ``rank`` (from 1) and ``similarity`` (the cosine). ``near`` (ra and dec in
        degrees, radius in arcsec) and ``where`` restrict the neighbours; ``columns`` are those of ``table``.

        Raises:
            ScannerError: ``query.outside_coverage``, ``query.no_object``, ``query.unknown_object``,
                ``query.no_embedding``, ``query.bad_vector``, ``query.bad_k``, ``sky.out_of_range``,
                ``column.unknown``, ``where.*``, ``index.*``, ``catalogue.changing``.

        Example:
            >>> import catalogs
            >>> catalogue = catalogs.open("embeddings")
            >>> one = catalogue.table(["object_id", "ra", "dec"], where="is_primary")[0]
            >>> similar = catalogue.neighbours(ra=one["ra"], dec=one["dec"], k=5, columns=["object_id", "mag_r"])
            >>> similar.colnames
            ['rank', 'similarity', 'object_id', 'mag_r']
            >>> len(similar), one["object_id"] in similar["object_id"]
            (5, False)
        """
        from catalogs.search import neighbours
        from catalogs.search.matching import match_one

        if (ra is not None and dec is not None) + (object_id is not None) + (vector is not None) != 1:
            raise TypeError("neighbours() takes either ra and dec, or object_id, or vector")
        snapshot = self.snapshot()
        exclude = None
        if vector is None:
            example = match_one(snapshot, ra=ra, dec=dec, object_id=object_id, radius=radius)
            vector, exclude = example.vector, neighbours.around(example)
        return neighbours.neighbours(snapshot, vector, k, exclude=exclude, near=near, where=where, columns=columns)


class Catalogue(TileStore, Questions):
    """A catalogue of embedded objects, which answers questions with astropy tables.

    Each question lists the tiles once and reads them one at a time, so a catalogue may be larger than memory and may
    grow while it is searched.

    Example:
        >>> import catalogs
        >>> catalogue = catalogs.open("embeddings")
        >>> catalogue.info.survey
        'unions'
        >>> len(catalogue.tiles())
        6
    """


class LanceCatalogue(LanceStore, Questions):
    """A catalogue as ``scanner export lance`` wrote it. It answers as ``Catalogue`` does, and never changes."""


def create(path: Path | str, run: Run) -> Catalogue:
    """Make the folder of a catalogue for a run, or open the existing one; see ``Catalogue.create``."""
    return Catalogue.create(path, run)


@overload
def open(path: Path) -> Catalogue: ...


@overload
def open(path: Path | str) -> Catalogue | LanceCatalogue: ...


def open(path: Path | str) -> Catalogue | LanceCatalogue:
    """Open a catalogue: a folder, which reads one small file, or ``lance:`` and the place of a Lance dataset.

    Raises:
        ScannerError: ``catalogue.missing``, ``catalogue.damaged``, ``catalogue.newer_version``,
            ``lance.not_installed``, ``remote.denied``, ``remote.broken``.

    Example:
        >>> import catalogs
        >>> catalogs.open("embeddings")
        <Catalogue embeddings: unions, model small>
    """
    if isinstance(path, str) and path.startswith(PREFIX):
        return LanceCatalogue.open(path)
    return Catalogue.open(path)

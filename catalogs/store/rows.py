"""Questions that rows answer: all of them, those around a position, one of them. Tiles are streamed, one at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store import rows
from catalogs.store.footers import Footer
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store.tile_store import TileStore


from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from catalogs.sky import geometry as sky
from catalogs.store import row_filter as where
from catalogs.store import tile_reader as reading

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

ARCSEC = 1 / 3600

Item = TypeVar("Item")


def selection(catalogue: TileStore, filter_text: str | None, near: tuple[float, float, float] | None) -> Selection:
    """A filter's text and a region (ra, dec in degrees, radius in arcsec), checked.

    Raises ``ScannerError`` ``where.*``, ``sky.out_of_range``.
    """
    parsed = where.parse(filter_text, catalogue.schema) if filter_text else None
    return Selection(parsed, region(*near) if near else None)


def region(ra: float, dec: float, radius: float) -> sky.Circle:
    """The cap of ``radius`` arcsec around a position in degrees; ``ScannerError`` ``sky.out_of_range``."""
    if not (0 <= ra <= 360 and -90 <= dec <= 90 and radius >= 0):
        raise ScannerError(
            ErrorCode.SKY_OUT_OF_RANGE,
            f"ra {ra}, dec {dec}, radius {radius} is no region of the sky.",
            "Give ra from 0 to 360 and dec from -90 to 90 in degrees, and a radius in arcsec that is not negative.",
        )
    return sky.Circle(ra, dec, radius * ARCSEC)


def scan(
    catalogue: TileStore, columns: Sequence[str], chosen: Selection = reading.EVERYTHING
) -> Iterator[tuple[Footer, pa.Table]]:
    """Stream the chosen rows, tile by tile and row group by row group, with their row number ``_row``.

    A tile that turns out to be damaged is named in a warning and left out.
    """
    for footer in catalogue.footers(chosen.near):
        for table in tile_groups(catalogue, footer, columns, chosen):
            yield footer, table


def tile_groups(
    catalogue: TileStore, footer: Footer, columns: Sequence[str], chosen: Selection = reading.EVERYTHING
) -> Iterator[pa.Table]:
    """The chosen rows of one tile, as ``reading.groups`` gives them; a damaged tile is warned of and left out."""
    return _unless_damaged(reading.groups(catalogue.tile_path(footer.tile), columns, chosen, catalogue.owners))


def tile_vectors(
    catalogue: TileStore, footer: Footer, columns: Sequence[str], chosen: Selection
) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]:
    """As ``tile_groups``, of ``reading.beside_vectors``."""
    return _unless_damaged(reading.beside_vectors(catalogue.tile_path(footer.tile), columns, chosen, catalogue.owners))


def _unless_damaged(read: Iterator[Item]) -> Iterator[Item]:
    try:
        yield from read
    except ScannerError as error:
        log.warning("%s Left out. %s", error.message, error.hint)


def table(catalogue: TileStore, columns: Sequence[str] | None = None, filter_text: str | None = None) -> Table:
    """All rows that pass the filter, in the order of the tiles."""
    names = reading.checked_columns(columns, catalogue.schema)
    return reading.to_astropy(_gathered(catalogue, names, selection(catalogue, filter_text, None)))


def cone(
    catalogue: TileStore,
    ra: float,
    dec: float,
    radius: float,
    columns: Sequence[str] | None = None,
    filter_text: str | None = None,
) -> Table:
    """Rows within ``radius`` arcsec of a position, nearest first; adds ``separation`` in arcsec."""
    from astropy.table import Column

    names = reading.checked_columns(columns, catalogue.schema)
    chosen = selection(catalogue, filter_text, (ra, dec, radius))
    found = _gathered(catalogue, list(dict.fromkeys([*names, "ra", "dec"])), chosen)
    away = sky.separation(ra, dec, found.column("ra").to_numpy(), found.column("dec").to_numpy()) / ARCSEC
    answer = reading.to_astropy(found.select(names))
    description = "Distance to the position asked for"
    answer.add_column(Column(away, name="separation", unit="arcsec", description=description), index=0)
    return answer[np.argsort(away, kind="stable")]


def by_id(catalogue: TileStore, object_id: int, columns: Sequence[str]) -> pa.Table:
    """The one row of an object; ``ScannerError`` ``query.unknown_object``."""
    for footer in catalogue.footers():
        if footer.first_id <= object_id <= footer.last_id:
            chosen = Selection(where.parse(f"object_id == {int(object_id)}", catalogue.schema))
            for found in tile_groups(catalogue, footer, columns, chosen):
                return found
    raise ScannerError(
        ErrorCode.QUERY_UNKNOWN_OBJECT,
        f"The catalogue {catalogue.path} has no object {object_id}.",
        "Ask by position instead: the object that is nearest is taken.",
    )


def _gathered(catalogue: TileStore, columns: Sequence[str], chosen: Selection) -> pa.Table:
    schema = pa.schema([catalogue.schema.field(name) for name in columns])
    parts = [part.select(list(columns)).cast(schema) for _, part in scan(catalogue, columns, chosen)]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def primary(catalogue: TileStore, where: str | None) -> Selection:
    """Primary rows that pass a filter."""
    return rows.selection(catalogue, f"({where}) and is_primary" if where else "is_primary", None)

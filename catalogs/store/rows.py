"""Rows of a catalogue: all of them, those of a filter, or those around a position. Tiles are read one at a time."""

from __future__ import annotations

import contextlib
import functools
import logging
import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import geometry
from catalogs.store import row_filter, tile_reader
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.footers import Footer
from catalogs.store.schema import IS_PRIMARY
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

ARCSEC = 1 / 3600


def selection(
    catalogue: Backend, where: str | Sequence[str] | None, near: tuple[float, float, float] | None
) -> Selection:
    """Check the text of a filter, or of several that a row must all pass, and a region (degrees, radius in arcsec).

    Raises:
        ScannerError: ``where.*``, ``sky.out_of_range``.
    """
    texts = [where] if isinstance(where, str) else where or []
    # Each is parsed alone: within one text a stray parenthesis would regroup the others.
    filters = [row_filter.parse(text, catalogue.schema) for text in texts if text]
    joined = functools.reduce(operator.and_, filters) if filters else None
    return Selection(joined, region(*near) if near else None)


def primary(catalogue: Backend, where: str | None) -> Selection:
    """Select the primary rows that pass a filter."""
    return selection(catalogue, [where or "", IS_PRIMARY], None)


def region(ra: float, dec: float, radius: float) -> geometry.Circle:
    """Make the circle of ``radius`` arcsec around a position in degrees, whose RA is brought into [0, 360).

    Raises:
        ScannerError: ``sky.out_of_range``.
    """
    turned = float(geometry.normalise_ra(ra))
    if not (np.isfinite(turned) and -90 <= dec <= 90 and radius >= 0):
        raise ScannerError(
            ErrorCode.SKY_OUT_OF_RANGE,
            f"ra {ra}, dec {dec}, radius {radius} is not a region of the sky.",
            "Give ra and dec in degrees, dec from -90 to 90, and a radius in arcsec that is not negative.",
        )
    return geometry.Circle(turned, dec, radius * ARCSEC)


def scan(
    snapshot: Snapshot, columns: Sequence[str], chosen: Selection = tile_reader.EVERYTHING
) -> Iterator[tuple[Footer, pa.Table]]:
    """Yield the chosen rows, tile by tile and row group by row group, with their row number ``_row``.

    Damaged tiles are skipped with a warning.
    """
    part = snapshot.touching(chosen.near)
    for footer in part.footers:
        for table in tile_groups(part, footer, columns, chosen):
            yield footer, table


def tile_groups(
    snapshot: Snapshot, footer: Footer, columns: Sequence[str], chosen: Selection = tile_reader.EVERYTHING
) -> Iterator[pa.Table]:
    """Yield the chosen rows of one tile, as ``TileFile.groups`` does; a damaged tile is skipped with a warning."""
    with damage_logged():
        yield from read_groups(snapshot, footer, columns, chosen)


def read_groups(
    snapshot: Snapshot, footer: Footer, columns: Sequence[str], chosen: Selection = tile_reader.EVERYTHING
) -> Iterator[pa.Table]:
    """Yield the chosen rows of one tile, as ``TileFile.groups`` does.

    Raises:
        ScannerError: ``tile.damaged``.
    """
    with snapshot.open(footer) as file:
        yield from file.groups(columns, chosen, snapshot.owners)


def tile_vectors(
    snapshot: Snapshot, footer: Footer, columns: Sequence[str], chosen: Selection
) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]:
    """Yield the chosen rows of one tile beside all its vectors, as ``TileFile.groups_beside_vectors`` does.

    Raises:
        ScannerError: ``tile.damaged``.
    """
    with snapshot.open(footer) as file:
        yield from file.groups_beside_vectors(columns, chosen, snapshot.owners)


@contextlib.contextmanager
def damage_logged() -> Iterator[None]:
    """Turn the error of a damaged tile into a warning: its rows are skipped."""
    try:
        yield
    except ScannerError as error:
        if error.code != ErrorCode.TILE_DAMAGED:
            raise
        log.warning("Skipped: %s %s", error.message, error.hint)


def table(snapshot: Snapshot, columns: Sequence[str] | None = None, where: str | None = None) -> Table:
    """Return all rows that pass the filter, in the order of the tiles."""
    names = tile_reader.check_columns(columns, snapshot.catalogue.schema)
    return tile_reader.to_astropy(_gather(snapshot, names, selection(snapshot.catalogue, where, None)))


def of_ids(snapshot: Snapshot, ids: Sequence[int], columns: Sequence[str] | None = None) -> Table:
    """Return the rows of these objects, in the order of ``ids``; an id that no tile holds is left out."""
    names = tile_reader.check_columns(columns, snapshot.catalogue.schema)
    schema = pa.schema([snapshot.catalogue.schema.field(name) for name in names])
    parts, order = [schema.empty_table()], [np.zeros(0, np.int64)]
    place = {int(one): number for number, one in reversed(list(enumerate(ids)))}
    for footer in snapshot.footers:
        # The ids of a tile lie in a range of their own, so most tiles are not opened.
        here = [one for one in place if footer.first_id <= one <= footer.last_id]
        if not here:
            continue
        chosen = Selection(row_filter.of_ids(here))
        for part in tile_groups(snapshot, footer, list(dict.fromkeys([*names, "object_id"])), chosen):
            order.append(np.array([place[one] for one in part.column("object_id").to_pylist()], np.int64))
            parts.append(part.select(names).cast(schema))
    return tile_reader.to_astropy(pa.concat_tables(parts).take(np.argsort(np.concatenate(order), kind="stable")))


def cone(
    snapshot: Snapshot,
    ra: float,
    dec: float,
    radius: float,
    columns: Sequence[str] | None = None,
    where: str | None = None,
) -> Table:
    """Return the rows within ``radius`` arcsec of a position, nearest first, with their ``separation`` in arcsec."""
    from astropy.table import Column

    names = tile_reader.check_columns(columns, snapshot.catalogue.schema)
    chosen = selection(snapshot.catalogue, where, (ra, dec, radius))
    table = _gather(snapshot, list(dict.fromkeys([*names, "ra", "dec"])), chosen)
    away = geometry.separation(ra, dec, table.column("ra").to_numpy(), table.column("dec").to_numpy()) / ARCSEC
    answer = tile_reader.to_astropy(table.select(names))
    description = "Distance to the position asked for"
    answer.add_column(Column(away, name="separation", unit="arcsec", description=description), index=0)
    return answer[np.argsort(away, kind="stable")]


def _gather(snapshot: Snapshot, columns: Sequence[str], chosen: Selection) -> pa.Table:
    schema = pa.schema([snapshot.catalogue.schema.field(name) for name in columns])
    parts = [part.select(list(columns)).cast(schema) for _, part in scan(snapshot, columns, chosen)]
    return pa.concat_tables(parts) if parts else schema.empty_table()

"""Known lenses with their tiles: the tile that each is on, and the lenses on given tiles."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs import lenses
from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from scanner.survey import tile_list
from scanner.survey.survey import Survey

if TYPE_CHECKING:
    from astropy.table import Table

# Arcsec. A lens as near as this to an object of a tile is on that tile.
NEAR_AN_OBJECT = 30.0


def of_survey(
    survey: Survey,
    grade: str | None = None,
    kind: str | None = None,
    *,
    catalogue: Catalogue | None = None,
    listed: Collection[str] | None = None,
    south: float = -90.0,
) -> Table:
    """List the known lenses at ``dec`` >= ``south`` degrees, each with its ``tile`` of ``survey``.

    The tile is the one of the grid that the position belongs to, whether or not the survey imaged it. A ``catalogue``
    restricts the answer to its tiles, and ``listed`` to these names. A survey without a grid needs the catalogue.

    Raises:
        ScannerError: ``survey.no_grid``, ``lenses.*``.
    """
    table = lenses.known(grade, kind)
    table = table[table["dec"] >= south]
    if survey.grid is not None:
        names = [unions_grid.tile_at(ra, dec) for ra, dec in zip(table["ra"], table["dec"], strict=True)]
    elif catalogue is not None:
        snapshot = catalogue.snapshot()
        # Without a grid, the objects around a lens tell its tile.
        names = [_nearest_tile(snapshot, float(row["ra"]), float(row["dec"])) for row in table["ra", "dec"]]
    else:
        message = f"The tiles of {survey.name} follow no grid, so a position does not tell its tile."
        raise ScannerError(ErrorCode.SURVEY_NO_GRID, message, "Give a catalogue of its tiles with --catalog.")
    table.add_column(np.array(names, str), name="tile", index=1)
    table["tile"].description = "Tile that the position belongs to"
    # A lens without an object nearby is on no tile of the catalogue.
    inside = table["tile"] != ""
    for allowed in (catalogue.tiles() if catalogue else None, listed):
        if allowed is not None:
            inside &= np.isin(table["tile"], list(allowed))
    return table[inside]


def listed_tiles(source: str | Path, survey: Survey) -> list[str]:
    """Read the names of the tiles of a list, whether or not they have files.

    Raises:
        ScannerError: ``list.*``, ``tile.off_grid``, ``tile.bad_name``.
    """
    tiles = tile_list.read_list(source, survey)
    for tile in tiles:
        if tile.problem is not None and tile.problem.code != ErrorCode.TILE_MISSING_FILE:
            raise tile.problem
    return [tile.name for tile in tiles]


def _nearest_tile(snapshot: Snapshot, ra: float, dec: float) -> str:
    """Return the tile of the nearest object within ``NEAR_AN_OBJECT``, '' if there is none; primary copies first."""
    region = rows.region(ra, dec, NEAR_AN_OBJECT)
    # Most lenses are far from every tile, and the circles in the footers tell so without a read.
    if not snapshot.touching(region).footers:
        return ""
    objects = rows.cone(snapshot, ra, dec, NEAR_AN_OBJECT, ["tile", "is_primary"])
    # Rows come nearest first, and argmax takes the first primary one, else the first of all.
    return str(objects["tile"][np.argmax(objects["is_primary"])]) if len(objects) else ""

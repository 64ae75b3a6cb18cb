"""Which tile each known lens is on, and which lenses are on given tiles."""

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
from catalogs.store.tile_store import Snapshot
from scanner.survey import tile_list
from scanner.survey.survey import Survey

if TYPE_CHECKING:
    from astropy.table import Table

NEAR_AN_OBJECT = 30.0  # arcsec: a lens so near to an object of a tile is on that tile


def of_survey(
    survey: Survey,
    grade: str | None = None,
    kind: str | None = None,
    *,
    catalogue: Catalogue | None = None,
    listed: Collection[str] | None = None,
    south: float = -90.0,
) -> Table:
    """Known lenses with their ``tile`` of ``survey``, those at ``dec`` >= ``south`` degrees.

    The tile is the one of the grid that the position belongs to, whether or not the survey imaged it: which tiles it
    has is known only of a ``catalogue`` (its tiles) or of ``listed`` (names), and both restrict the answer. A survey
    without a grid needs the catalogue. Raises ``ScannerError`` ``survey.no_grid``, and those of ``lenses.known``.
    """
    table = lenses.known(grade, kind)
    table = table[table["dec"] >= south]
    if survey.grid is not None:
        names = [unions_grid.tile_at(ra, dec) for ra, dec in zip(table["ra"], table["dec"], strict=True)]
    elif catalogue is not None:
        snapshot = catalogue.snapshot()
        names = [_nearest_tile(snapshot, float(row["ra"]), float(row["dec"])) for row in table["ra", "dec"]]
    else:
        message = f"The tiles of {survey.name} follow no grid, so a position alone does not tell its tile."
        raise ScannerError(ErrorCode.SURVEY_NO_GRID, message, "Give a catalogue of its tiles with --catalog.")
    table.add_column(np.array(names, str), name="tile", index=1)
    table["tile"].description = "Tile that the position belongs to"
    chosen = table["tile"] != ""
    for allowed in (catalogue.tiles() if catalogue else None, listed):
        if allowed is not None:
            chosen &= np.isin(table["tile"], list(allowed))
    return table[chosen]


def listed_tiles(source: str | Path, survey: Survey) -> list[str]:
    """Names of the tiles of a list, their files at hand or not. Raises what ``tile_list.read_list`` raises."""
    found = tile_list.read_list(source, survey)
    for tile in found:
        if tile.problem is not None and tile.problem.code != ErrorCode.TILE_MISSING_FILE:
            raise tile.problem
    return [tile.name for tile in found]


def _nearest_tile(snapshot: Snapshot, ra: float, dec: float) -> str:
    """The tile of the nearest object within ``NEAR_AN_OBJECT``, '' where there is none."""
    region = rows.region(ra, dec, NEAR_AN_OBJECT)
    if not snapshot.touching(region).footers:
        return ""
    found = rows.cone(snapshot, ra, dec, NEAR_AN_OBJECT, ["tile", "is_primary"])
    return str(found["tile"][np.argmax(found["is_primary"])]) if len(found) else ""

"""Known lenses: those of the package or of lists of one's own, and the tile that each is on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs import lenses
from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.lenses import lenscat
from catalogs.sky import unions_grid
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from scanner.sources.position_files import check_file, read_sky_table
from scanner.survey import tile_list
from scanner.survey.survey import Survey

if TYPE_CHECKING:
    from astropy.table import Table

# Arcsec. A lens as near as this to an object of a tile is on that tile.
NEAR_AN_OBJECT = 30.0


def read_known(lists: Sequence[Path] = ()) -> Table:
    """Read the known lenses of every grade and lens kind, with the columns of ``lenses.known``.

    The table of a lenscat of any version takes the place of that of the package. Any other list is added in front: a
    table with ``ra`` and ``dec``, and ``name``, ``zlens``, ``kind``, ``grade``, ``references`` (or ``reference``,
    ``ref``) where it has them.

    Raises:
        ScannerError: ``lenses.bad_list``, ``lenses.bad_source``, ``sources.*``.
    """
    from astropy.table import vstack

    own, newer = [], None
    for path in lists:
        check_file(path)
        if not lenscat.is_lenscat(path):
            own.append(_read_own(path))
        elif newer is not None:
            message = f"{path} is the second table of lenscat; they hold the same lenses."
            raise ScannerError(ErrorCode.LENSES_BAD_LIST, message, "Give the newer one alone.")
        else:
            newer = lenses.choose(lenscat.to_table(lenscat.merged(lenscat.read(path))))
    known = lenses.known() if newer is None else newer
    return lenses.describe(vstack([*own, known], metadata_conflicts="silent")) if own else known


def _read_own(path: Path) -> Table:
    """Read a list of one's own; rows without a position on the sky are refused, since they would flag nothing."""
    from astropy.table import Table

    places, columns = read_sky_table(path)
    usable = places.is_number & places.is_on_sky
    if not len(usable) or not usable.all():
        row = int(np.argmin(usable)) + 1 if len(usable) else 0
        message = f"{path}: row {row} has no position on the sky." if row else f"{path} has no rows."
        raise ScannerError(ErrorCode.LENSES_BAD_LIST, message, "Remove the row, or correct its position.")
    there = {one.name.strip().lower(): one for one in columns.columns}

    def words(*names: str) -> list[str]:
        column = next((there[name] for name in names if name in there), None)
        return [""] * len(usable) if column is None else column.words().tolist()

    redshifts = words("zlens", "z_lens")
    values: dict[str, Any] = {"name": [name or f"{path.name}, row {row}" for row, name in enumerate(words("name"), 1)]}
    values |= {"ra": places.first, "dec": places.second, "zlens": [_redshift(text) for text in redshifts]}
    values |= {"zlens_all": redshifts, "kind": words("kind", "type"), "grade": words("grade", "grading")}
    values["references"] = [text or path.name for text in words("references", "reference", "ref")]
    for what, allowed in (("kind", lenses.KINDS), ("grade", lenses.GRADES)):
        # Grades of other schemes, such as A and B, say nothing here.
        values[what] = [text if text in allowed else "" for text in values[what]]
    kinds = {"ra": float, "dec": float, "zlens": float}
    table = Table({name: np.array(some, kinds.get(name, str)) for name, some in values.items()})
    return lenses.describe(table)


def _redshift(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return float("nan")
    return value if value > 0 else float("nan")


def of_survey(
    survey: Survey,
    grade: str | None = None,
    kind: str | None = None,
    *,
    known: Sequence[Path] = (),
    catalogue: Catalogue | None = None,
    listed: Collection[str] | None = None,
    south: float = -90.0,
) -> Table:
    """List the known lenses at ``dec`` >= ``south`` degrees, each with its ``tile`` of ``survey``.

    The tile is the one of the grid that the position belongs to, whether or not the survey imaged it. A ``catalogue``
    restricts the answer to its tiles, and ``listed`` to these names. A survey without a grid needs the catalogue.
    ``known`` are lists, as ``read_known`` takes them.

    Raises:
        ScannerError: ``survey.no_grid``, ``lenses.*``.
    """
    # Only the list of the package has entries that are set apart.
    table = lenses.choose(read_known(known), grade, kind) if known else lenses.known(grade, kind)
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

"""The truth of an injection: a table with one row for each lens that was painted into a tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.completeness.injected import Injected
from catalogs.errors import ErrorCode, ScannerError
from scanner.sources import angles
from scanner.sources.position_files import read_positions
from scanner.sources.tables.columns import Column
from scanner.sources.tables.files import read_tables

TILE = "tile"
PROPERTIES = {
    "theta_e": "arcsec",
    "snr": "",
    "host_mag_r": "mag",
    "host_mag": "mag",
    "seeing": "arcsec",
    "source_mag_r": "mag",
    "source_mag": "mag",
}
"""What a lens may have, each with its unit."""


def read_truth(path: Path) -> Injected:
    """Read the injected lenses of a table: ``tile``, ``ra``, ``dec``, and those of ``PROPERTIES`` that it has.

    Raises:
        ScannerError: ``sources.*``.
    """
    places = read_positions(path, TILE)
    if not places.on_sky:
        message = f"{path} has no sky positions."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, "Name its columns ra and dec.")
    properties = read_properties(path)
    if not properties:
        message = f"{path} has none of the columns {', '.join(PROPERTIES)}."
        raise ScannerError(ErrorCode.SOURCES_NO_COLUMN, message, "Give the truth table that the injection wrote.")
    return Injected(places.words, places.first, places.second, properties)


def read_properties(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read those of ``PROPERTIES`` that a table has, NaN where a number is not known; the file was read before.

    Raises:
        ScannerError: ``sources.ambiguous``, ``sources.unreadable``, ``sources.bad_unit``.
    """
    tables = read_tables(path, lambda name: name.strip().lower() in PROPERTIES)
    if not tables:
        return {}
    if len(tables) > 1:
        message = f"{path} has {len(tables)} tables."
        raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, "Give a file with one table of injected lenses.")
    (table,) = tables
    columns = {column.name.strip().lower(): column for column in table.columns}
    return {name: _numbers(path, columns[name], unit) for name, unit in PROPERTIES.items() if name in columns}


def _numbers(path: Path, column: Column, unit: str) -> NDArray[np.float64]:
    if column.is_text:
        text = next((str(one)[:40] for one in column.values if one), "")
        message = f"{path}: the column {column.name} has the text {text!r}, which is not a number."
        raise ScannerError(ErrorCode.SOURCES_UNREADABLE, message, "Leave the cell empty where the number is not known.")
    if not angles.has_no_unit(column.unit) and column.unit.strip() != unit:
        message = f"{path}: the column {column.name} is in {column.unit!r}, not in {unit or 'no unit'}."
        raise ScannerError(ErrorCode.SOURCES_BAD_UNIT, message, "Convert it, or correct its unit.")
    return np.asarray(column.values, np.float64)

"""Checks of a tile file against its name and its catalogue, and the errors that name a file that cannot be read."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import read_record
from catalogs.sky.geometry import Circle
from catalogs.store.provenance import DEFAULT_RUNTIME, Info
from catalogs.store.schema import HEALPIX, HEALPIX_ORDER


class OtherTileError(ValueError):
    """The file has the name of another tile than its rows."""


def check_schema(schema: pa.Schema, expected: pa.Schema) -> None:
    """Compare the columns of a tile file with those of its catalogue.

    Raises:
        ValueError: Which column is missing, unknown, or of another type or place.
    """
    if schema.equals(expected):
        return
    names = schema.names
    for column in expected:
        if names.count(column.name) != 1:
            raise ValueError(f"it has {names.count(column.name) or 'no'} columns {column.name}")
        field = schema.field(column.name)
        if not field.equals(column):
            null = " that may be null" if field.nullable else ""
            raise ValueError(f"its column {column.name} is of type {field.type}{null}, not {column.type}")
    if unknown := [name for name in names if name not in expected.names]:
        raise ValueError(f"it has the unknown column {unknown[0]}")
    raise ValueError("its columns have another order")


def check_receipt(receipt: Any, info: Info) -> None:
    """Compare the run that made a tile with what all tiles of the catalogue share."""
    expected = {"model_sha256": info.model_sha256, "survey": info.survey, "bands": list(info.bands)}
    if not isinstance(receipt, dict) or not isinstance(receipt.get("digest"), str):
        raise ValueError("its receipt has no digest")
    if different := [name for name, value in expected.items() if receipt.get(name) != value]:
        what = {"model_sha256": "model"}.get(different[0], different[0])
        raise ValueError(f"it was made with another {what} than its catalogue")
    settings = receipt.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    if settings.get("keep") != info.keep:
        raise ValueError("it was made with another --keep than its catalogue")
    computed = settings.get("runtime", DEFAULT_RUNTIME), settings.get("precision", info.precision)
    if computed != (info.runtime, info.precision):
        raise ValueError(f"it was computed by {computed[0]} in {computed[1]}, its catalogue otherwise")


def check_row_groups(metadata: pq.FileMetaData, tile: str, circle: Circle | None) -> list[tuple[int, int]]:
    """Check the numbers and the statistics of each row group; returns the first and the last object id of each."""
    ids, rows = [], 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = {name: group.column(metadata.schema.names.index(name)) for name in ("object_id", "tile", HEALPIX)}
        bounds = {name: _bounds(name, column) for name, column in columns.items()}
        if bounds["tile"] != (tile, tile):
            raise OtherTileError(f"its rows are those of tile {bounds['tile'][0]}")
        # Rows without a position have pixel -1; the sky has 12 pixels of order 0.
        if not -1 <= bounds[HEALPIX][0] <= bounds[HEALPIX][1] < 12 << 2 * HEALPIX_ORDER:
            raise ValueError(f"its column {HEALPIX} has a pixel that is not on the sky")
        # Positions that are not numbers have no statistics.
        dec = group.column(metadata.schema.names.index("dec")).statistics
        if dec is not None and dec.has_min_max and not (circle and _holds(circle, dec.min, dec.max)):
            raise ValueError("its rows do not lie in the circle of its footer")
        ids.append(bounds["object_id"])
        rows += group.num_rows
    if rows != metadata.num_rows:
        raise ValueError(f"it has {rows} rows, its footer says {metadata.num_rows}")
    return ids


def _holds(circle: Circle, low: float, high: float) -> bool:
    # Declinations alone: right ascensions have a seam. The margin is one of rounding.
    return circle.dec - circle.radius - 1e-6 <= low and high <= circle.dec + circle.radius + 1e-6


def _bounds(name: str, column: pq.ColumnChunkMetaData) -> tuple[Any, Any]:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        raise ValueError(f"its column {name} has no statistics")
    return statistics.min, statistics.max


def read_circle(values: Any) -> Circle:
    """Read the circle that holds the rows of a tile. Raises ``ValueError`` where it is none."""
    circle = read_record(values, Circle)
    if not (math.isfinite(circle.ra) and abs(circle.dec) <= 90 and 0 <= circle.radius <= 180):
        raise ValueError("the circle in its footer is not on the sky")
    return circle


def damaged(path: Path, error: Exception) -> ScannerError:
    """Make the error of a tile file that cannot be read, or is not of its catalogue."""
    name = shlex.quote(path.stem)
    hint = f"Scan it again: echo {name} | scanner scan-tiles --verify --tiles - (and the options of its scan)"
    if isinstance(error, PermissionError):
        hint = "Ask its owner for permission to read it."
    elif isinstance(error, OtherTileError):
        hint = "Remove it, or give it the name of its tile."
    elif not path.is_file():
        hint = f"Remove it. {hint}"
    return ScannerError(ErrorCode.TILE_DAMAGED, f"{path} cannot be read: {describe_error(error)}.", hint)


def describe_error(error: Exception) -> str:
    """Say in a line why a file cannot be read, for a message that names the file."""
    # The text of the system alone: an OSError would name the file again.
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    # A parser may quote bytes of the file, which a terminal must not obey.
    return "".join(letter if letter.isprintable() else "?" for letter in why)


def unreadable(path: Path, error: OSError) -> ScannerError:
    """Make the error of a file or folder that a whole catalogue depends on."""
    why = describe_error(error)
    if isinstance(error, PermissionError):
        message = f"{path} may not be read by you ({why})."
        return ScannerError(ErrorCode.CATALOGUE_NO_PERMISSION, message, "Ask its owner for permission to read it.")
    return ScannerError(ErrorCode.CATALOGUE_DAMAGED, f"{path} cannot be read: {why}.", "Restore it from a copy.")

"""Positions from other catalogues: SExtractor ASCII, FITS (also LDAC), VOTable, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError

SKY = (
    ("ra", "dec"),
    ("ra_deg", "dec_deg"),
    ("raj2000", "dej2000"),
    ("_raj2000", "_dej2000"),
    ("ra_icrs", "de_icrs"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("alphapsf_j2000", "deltapsf_j2000"),
    ("ramean", "decmean"),
    ("target_ra", "target_dec"),
)
ZERO_BASED = (("x", "y"), ("xcentroid", "ycentroid"), ("x_0based", "y_0based"))
ONE_BASED = (
    ("x_image", "y_image"),
    ("xwin_image", "ywin_image"),
    ("xpsf_image", "ypsf_image"),
    ("xmodel_image", "ymodel_image"),
    ("xpos", "ypos"),
)
"""Pairs of column names in any case, in order of preference. Like FITS, these count pixels from 1."""

_FORMATS = {
    ".cat": "sextractor",
    ".sex": "sextractor",
    ".csv": "csv",
    ".vot": "votable",
    ".xml": "votable",
    ".votable": "votable",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".fits": "fits",
    ".fit": "fits",
    ".ldac": "fits",
    ".fz": "fits",
}


@dataclass(frozen=True)
class PositionTable:
    """RA and Dec in degrees ICRS (``on_sky``), or x and y in 0-based pixels: float64 [N] each."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    on_sky: bool


def read_positions(path: Path) -> PositionTable:
    """Read the positions of a catalogue; sky positions are preferred where it has both kinds.

    Raises:
        ScannerError: ``sources.missing``, ``sources.unreadable``, ``sources.no_positions``.
    """
    if not path.is_file():
        hint = "Give a catalogue file; {tile} in its path stands for the name of each tile."
        raise ScannerError(ErrorCode.SOURCES_MISSING, f"There is no catalogue {path}.", hint)
    with catch_warnings():
        simplefilter("ignore")
        try:
            table = _read(path)
        except Exception as error:  # every format has exceptions of its own
            hint = f"Give a file that ends in {', '.join(_FORMATS)}; a .cat may be SExtractor ASCII or FITS."
            raise ScannerError(
                ErrorCode.SOURCES_UNREADABLE, f"{path} cannot be read as a catalogue: {error}.", hint
            ) from error
    # Sky positions first: they do not depend on the pixels of one band.
    for pairs, offset, on_sky in ((SKY, 0.0, True), (ONE_BASED, 1.0, False), (ZERO_BASED, 0.0, False)):
        if (names := _pair(table, pairs)) is not None:
            first, second = (_numbers(table[name], path) - offset for name in names)
            return PositionTable(first, second, on_sky)
    raise ScannerError(
        ErrorCode.SOURCES_NO_POSITIONS,
        f"{path} has no columns of positions among {', '.join(list(_names(table))[:20])}.",
        "Name them ra and dec (degrees), x and y (0-based pixels) or X_IMAGE and Y_IMAGE (1-based).",
    )


def read_words(path: Path, column: str) -> NDArray[np.str_]:
    """Read a column of words of a catalogue, in the order of its positions; its name is taken in any case.

    Raises:
        ScannerError: ``sources.unreadable``, ``sources.no_column``.
    """
    try:
        table = _read(path, column)
    except Exception as error:  # every format has exceptions of its own
        raise ScannerError(ErrorCode.SOURCES_UNREADABLE, f"{path} cannot be read as a catalogue: {error}.") from error
    # Of columns that differ only in case the first one wins.
    names = {name.lower(): name for name in reversed(_names(table))}
    if column.lower() not in names:
        message = f"{path} has no column {column} among {', '.join(list(names.values())[:20])}."
        raise ScannerError(ErrorCode.SOURCES_NO_COLUMN, message, "Rename the column, or leave the option out.")
    return np.ma.filled(np.ma.asarray(table[names[column.lower()]]).astype(str), "")


def _read(path: Path, extra_column: str = "") -> Any:
    """The catalogue as a mapping of columns; the first bytes of a file decide before its ending."""
    with path.open("rb") as file:
        start = file.read(9)
    if not start:
        raise ValueError("it is empty")
    if start.startswith(b"SIMPLE  ="):
        return _read_fits(path)
    if start.startswith(b"PAR1"):
        return _read_parquet(path, extra_column)
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None or kind in ("fits", "parquet"):
        raise ValueError("its format is not known, by its ending or by its first bytes")
    from astropy.table import Table

    return Table.read(path, format=f"ascii.{kind}" if kind != "votable" else kind)


def _read_fits(path: Path) -> Any:
    """The table of an LDAC catalogue, or else the first table with positions, or else the first table."""
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(path, memmap=True) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise ValueError("it holds no table")
        named = [hdu for hdu in tables if hdu.name == "LDAC_OBJECTS"]
        with_positions = [hdu for hdu in tables if _position_names(hdu.columns.names)]
        return Table.read((*named, *with_positions, *tables)[0])


def _read_parquet(path: Path, extra_column: str) -> Any:
    from pyarrow import parquet

    names = parquet.read_schema(path).names
    columns = [*_position_names(names), *(name for name in names if name.lower() == extra_column.lower())]
    table = parquet.read_table(path, columns=columns or None)
    return {name: np.asarray(table[name].to_numpy()) for name in table.column_names}


def _position_names(names: Sequence[str]) -> list[str]:
    positions = {name for pairs in (SKY, ONE_BASED, ZERO_BASED) for pair in pairs for name in pair}
    return [name for name in names if name.lower() in positions]


def _names(table: Any) -> Sequence[str]:
    return list(table.keys())


def _pair(table: Any, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    names = {name.lower(): name for name in reversed(_names(table))}
    for first, second in pairs:
        if first in names and second in names:
            return names[first], names[second]
    return None


def _numbers(column: Any, path: Path) -> NDArray[np.float64]:
    """A column as float64, masked values as NaN, angles in degrees."""
    try:
        unit = getattr(column, "unit", None)
        if unit is not None and unit.physical_type == "angle":
            column = column.quantity.to_value("deg") if hasattr(column, "quantity") else column.to_value("deg")
        values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    except (TypeError, ValueError) as error:
        hint = "Write positions as numbers: degrees for ra and dec, pixels for x and y."
        raise ScannerError(
            ErrorCode.SOURCES_NO_POSITIONS, f"{path}: a column of positions is not numeric: {error}.", hint
        ) from error
    return np.asarray(values, float).reshape(-1)

"""Positions from other catalogues: text tables, FITS (also LDAC), VOTable and Parquet; angles become degrees ICRS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import normalise_ra
from scanner.sources import angles
from scanner.sources.angles import ICRS, Frame
from scanner.sources.position_columns import Pair, annotation, find_pair, is_position, plain_name
from scanner.sources.tables.columns import Choice, Column, ColumnTable
from scanner.sources.tables.files import ENDINGS, read_tables

Floats = NDArray[np.float64]

_NUMBERS = "Write positions as numbers: degrees for ra and dec, pixels for x and y."
_RENAME = "Keep one pair of columns of positions, named ra and dec (degrees ICRS)."


@dataclass(frozen=True)
class PositionTable:
    """RA and Dec in degrees ICRS (``on_sky``), or x and y in 0-based pixels: float64 [N] each, NaN for no number.

    RA within a turn of 0 to 360 is brought into it. A row whose angles are on no sky keeps them. ``words`` is the
    column of texts that was read beside them, [N], or empty. ``parts`` is the number of tables whose rows follow each
    other; ``image``, the header of the image that pixels are of, where the file has it. ``sha256`` is the digest of
    the file, where it was asked for.
    """

    first: Floats
    second: Floats
    on_sky: bool
    words: NDArray[np.str_]
    parts: int = 1
    image: str = ""
    sha256: str = ""

    @property
    def is_number(self) -> NDArray[np.bool_]:
        """Which rows have two finite numbers."""
        return np.isfinite(self.first) & np.isfinite(self.second)

    @property
    def is_on_sky(self) -> NDArray[np.bool_]:
        """Which rows are angles of a position of the sky; of pixels, all."""
        if not self.on_sky:
            return np.ones(len(self.first), bool)
        return (self.first >= 0) & (self.first <= 360) & (np.abs(self.second) <= 90)


def check_file(path: Path, hint: str = "") -> None:
    """Raise ``sources.missing`` where there is no regular file, with the reason."""
    try:
        if path.is_file():
            return
        what = f"{path} is not a regular file." if path.exists() else f"There is no catalogue {path}."
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        what = f"{path} cannot be read: {error.strerror}."
    hint = hint or f"Give the file of a table, whose name ends in {', '.join(ENDINGS)}."
    raise ScannerError(ErrorCode.SOURCES_MISSING, what, hint)


def read_positions(path: Path, words: str | None = None) -> PositionTable:
    """Read the positions of a catalogue; sky positions are preferred where it has both kinds.

    ``words`` names a column of texts to read with them, in any case.

    Raises:
        ScannerError: ``sources.missing``, ``sources.unreadable``, ``sources.no_positions``, ``sources.bad_unit``,
            ``sources.ambiguous``, ``sources.no_column``.
    """
    column = (words or "").lower()
    table = _read(path, lambda name: is_position(name) or (column != "" and name.strip().lower() == column))
    return _positions(path, table, column)


def read_sky_table(path: Path) -> tuple[PositionTable, ColumnTable]:
    """Read the sky positions of a catalogue, and with them all its columns, row for row.

    Raises:
        ScannerError: As ``read_positions`` does.
    """
    table = _read(path, lambda name: True)
    places = _positions(path, table, "")
    if not places.on_sky:
        message = f"{path} has no sky positions."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, "Name its columns ra and dec.")
    return places, table


def _read(path: Path, choice: Choice) -> ColumnTable:
    check_file(path)
    try:
        return _join(path, read_tables(path, choice))
    except ScannerError:
        raise
    except Exception as error:  # every format has exceptions of its own
        hint = f"Give a file that ends in {', '.join(ENDINGS)}, as it is or packed (.gz)."
        why = " ".join(str(error).split())[:500].rstrip(".")
        why = why if why and isinstance(error, ValueError | OSError) else f"{type(error).__name__} {why}".strip()
        raise ScannerError(
            ErrorCode.SOURCES_UNREADABLE, f"{path} cannot be read as a catalogue: {why}.", hint
        ) from error


def _positions(path: Path, table: ColumnTable, column: str) -> PositionTable:
    """The positions of a table, and the texts of a column of this name, where it is not empty."""
    pair = find_pair(table.names, table.columns)
    if pair is None:
        message = f"{path} has no columns of positions among {', '.join(table.names[:20])}."
        hint = "Name them ra and dec (degrees), x and y (0-based pixels) or X_IMAGE and Y_IMAGE (1-based)."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, hint)
    first, second = (_column(path, table, name) for name in (pair.first, pair.second))
    texts = _words(path, table, column) if column else np.zeros(0, str)
    if pair.frame is None:
        if table.parts > 1:
            message = f"{path} has {table.parts} tables of pixels, which are of {table.parts} images."
            raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, "Give the table of one image, or RA and Dec.")
        x, y = (_pixels(path, one) - pair.origin for one in (first, second))
        return PositionTable(x, y, False, texts, image=table.image)
    ra, dec = _on_sky(path, pair, first, second)
    return PositionTable(ra, dec, True, texts, table.parts)


def _join(path: Path, tables: Sequence[ColumnTable]) -> ColumnTable:
    """The tables of a file that hold positions as one; the first table where none does.

    Raises:
        ScannerError: ``sources.ambiguous`` where they have different columns.
        ValueError: There is no table, or a column differs between tables.
    """
    if not tables:
        raise ValueError("it holds no table")
    placed = [table for table in tables if find_pair(table.names)] or list(tables[:1])
    if other := next((table for table in placed if table.names != placed[0].names), None):
        message = (
            f"{path} has several tables with positions, of different columns: {', '.join(placed[0].names[:5])} ...; "
            f"{', '.join(other.names[:5])} ..."
        )
        raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, "Give a file with one of the tables.")
    return ColumnTable.join(placed)


def _column(path: Path, table: ColumnTable, name: str) -> Column:
    """The column of this plain name.

    Raises:
        ScannerError: ``sources.ambiguous`` where several have it.
    """
    columns = [column for column in table.columns if plain_name(column.name) == name]
    if len(columns) > 1:
        message = f"{path} has {len(columns)} columns {name}: {', '.join(column.name for column in columns)}."
        raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, _RENAME)
    (column,) = columns
    # A masked column of astropy may have its mask in a column beside it, with numbers below the mask.
    for mask in (one for one in table.columns if one.name == f"{column.name}.mask"):
        masked = np.isin(np.char.lower(mask.words()), ("true", "1"))
        column = replace(column, values=np.where(masked, "" if column.is_text else np.nan, column.values))
    return column


def _words(path: Path, table: ColumnTable, name: str) -> NDArray[np.str_]:
    """The texts of a column, whose name is taken in any case.

    Raises:
        ScannerError: ``sources.no_column``, ``sources.ambiguous``.
    """
    columns = [column for column in table.columns if column.name.strip().lower() == name]
    if len(columns) > 1:
        message = f"{path} has {len(columns)} columns {name}: {', '.join(column.name for column in columns)}."
        raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, "Keep one of them.")
    if not columns:
        message = f"{path} has no column {name} among {', '.join(table.names[:20])}."
        raise ScannerError(ErrorCode.SOURCES_NO_COLUMN, message, "Rename the column, or leave the option out.")
    return columns[0].words()


def _pixels(path: Path, column: Column) -> Floats:
    unit = column.unit or annotation(column.name)[0]
    try:
        angles.check_pixels(unit)
    except ValueError as error:
        message = f"{path}: the column {column.name} has the unit {unit!r}, which is not of pixels."
        raise ScannerError(
            ErrorCode.SOURCES_BAD_UNIT, message, "Name angles ra and dec, or correct the unit."
        ) from error
    return _numeric(path, column)


def _numeric(path: Path, column: Column) -> Floats:
    """The values of a column of numbers.

    Raises:
        ScannerError: ``sources.no_positions`` where it has others.
    """
    problem = column.problem
    if column.is_text and not problem:
        problem = f"has the text {next((str(text)[:40] for text in column.values if text), '')!r}"
    if problem:
        message = f"{path}: the column {column.name} of positions is not numeric: it {problem}."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, _NUMBERS)
    return np.asarray(column.values, np.float64)


def _on_sky(path: Path, pair: Pair, first: Column, second: Column) -> tuple[Floats, Floats]:
    """RA and Dec in degrees ICRS of two columns of angles."""
    frame = _frame(path, pair, first, second)
    if pair.needs_unit:
        _check_unit_is_known(path, first, second)
    _check_unit_of_both(path, first, second)
    lon, lat = _degrees(path, first, frame.system != "galactic"), _degrees(path, second, False)
    ra, dec = frame.to_icrs(lon, lat)
    # Some count RA from -180 to 180.
    turned = normalise_ra(ra)
    return np.where(np.isnan(turned), ra, turned), dec


def _degrees(path: Path, column: Column, is_ra: bool) -> Floats:
    unit = _unit(column)
    if column.is_text and not column.problem:
        try:
            return angles.parse_sexagesimal(column.values, unit, is_ra)
        except ValueError as error:
            message = f"{path}: the column {column.name} of positions is not numeric, and not sexagesimal: it {error}."
            raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, _NUMBERS) from error
    values = _numeric(path, column)
    try:
        return values * angles.degrees_per(unit, is_ra)
    except ValueError as error:
        message = f"{path}: the column {column.name} has the unit {unit!r}, which is not of an angle."
        raise ScannerError(ErrorCode.SOURCES_BAD_UNIT, message, "Correct the unit, or give degrees.") from error


def _unit(column: Column) -> str:
    """The unit of a column of angles: that of the file, else of its name."""
    return column.unit if not angles.has_no_unit(column.unit) else annotation(column.name)[0]


def _check_unit_of_both(path: Path, first: Column, second: Column) -> None:
    """Refuse an angle without a unit beside one in radians or the like; beside hours it is a declination in degrees.

    Raises:
        ScannerError: ``sources.bad_unit``.
    """
    for column, other in ((first, second), (second, first)):
        unit = _unit(column)
        if column.is_text or other.is_text or angles.has_no_unit(unit) or not angles.has_no_unit(_unit(other)):
            continue
        try:
            is_clear = angles.degrees_per(unit, column is first) in (1.0, 15.0)
        except ValueError:
            continue  # the unit itself is refused
        if not is_clear:
            message = f"{path}: the column {column.name} is in {unit!r}, and {other.name} has no unit."
            raise ScannerError(ErrorCode.SOURCES_BAD_UNIT, message, "Write the unit of both, or give degrees.")


def _check_unit_is_known(path: Path, first: Column, second: Column) -> None:
    """Refuse angles whose names do not tell their unit, and that neither a unit nor their size does.

    Raises:
        ScannerError: ``sources.bad_unit``.
    """
    units = (first.unit, second.unit, annotation(first.name)[0], annotation(second.name)[0])
    if first.is_text or not all(map(angles.has_no_unit, units)):
        return
    # Radians reach 2 pi and half a pi: whatever is larger is degrees.
    lon, lat = (np.abs(_numeric(path, one)) for one in (first, second))
    if plain_name(first.name) == "l" or not ((lon > 2 * np.pi).any() or (lat > np.pi / 2).any()):
        message = f"{path}: the columns {first.name} and {second.name} have no unit, and their names do not tell it."
        raise ScannerError(ErrorCode.SOURCES_BAD_UNIT, message, "Write their unit, or name degrees ra and dec.")


def _frame(path: Path, pair: Pair, first: Column, second: Column) -> Frame:
    """The frame of two columns of angles, of which their names and the file must say the same.

    Raises:
        ScannerError: ``sources.ambiguous``.
    """
    if pair.frame == "galactic":
        return Frame("galactic")
    named = {text for text in (pair.frame, annotation(first.name)[1], annotation(second.name)[1]) if text}
    stated = {text for text in (first.frame, second.frame) if text}
    try:
        frames = [Frame.parse(text) for text in sorted(stated)]
        of_names = [Frame.parse(text) for text in sorted(named)]
        # J2000 in a name stands for ICRS, which most tables of today mean, unless the file says FK5.
        frame = (frames or [ICRS if one.is_j2000 else one for one in of_names] or [ICRS])[0]
        if frame.system == "galactic" or any(
            one != frame and not (one.is_j2000 and frame.is_j2000) for one in (*frames, *of_names)
        ):
            raise ValueError(f"{first.name} and {second.name} are said to be {', '.join(sorted(stated | named))}")
    except ValueError as error:
        message = f"{path}: the frame of its positions is unclear: {error}."
        raise ScannerError(ErrorCode.SOURCES_AMBIGUOUS, message, _RENAME) from error
    return frame

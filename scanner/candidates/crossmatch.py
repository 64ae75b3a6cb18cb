"""Cross-match: the columns of a table, or of a HATS collection, added to a list of objects by position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats.reader import HatsTable, is_hats
from catalogs.sky.geometry import normalise_ra, pairs_within, separation
from catalogs.store.schema import HEALPIX
from scanner.candidates.motion import Motion, find_motion
from scanner.sources.angles import Frame
from scanner.sources.position_columns import find_pair
from scanner.sources.position_files import read_sky_table
from scanner.sources.tables.astropy_table import to_astropy
from scanner.sources.tables.columns import Column, ColumnTable
from scanner.sources.tables.parquet import arrow_column

if TYPE_CHECKING:
    from astropy.table import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MatchOptions:
    """How to match: within ``radius`` arcsec; which ``columns`` to add (None: all), with ``prefix`` before each name.

    ``epoch`` is the year of the list's positions and ``table_epoch`` that of the table's, if no column tells it.
    ``ignore_motion``: match positions as they are, though there are proper motions.
    """

    radius: float = 1.0
    columns: tuple[str, ...] | None = None
    prefix: str = ""
    epoch: float | None = None
    table_epoch: float | None = None
    ignore_motion: bool = False


@dataclass(frozen=True)
class MatchReport:
    """The list with the columns, how many of its rows have a counterpart, and sentences on how it was matched."""

    table: Table
    count: int
    notes: tuple[str, ...]


def read_list(path: Path) -> tuple[Table, Floats, Floats]:
    """Read a list of objects: its table, and RA and Dec in degrees ICRS, NaN where a row has none.

    Units and descriptions of the columns of a catalogue are put back where a text lost them.

    Raises:
        ScannerError: ``sources.*``.
    """
    places, columns = read_sky_table(path)
    table, _ = to_astropy(columns)
    usable = places.is_number & places.is_on_sky
    ra, dec = (np.where(usable, one, np.nan) for one in (places.first, places.second))
    if {"object_id", "tile", "ra", "dec"} <= set(table.colnames):
        _describe(table)
    return table, ra, dec


def crossmatch(table: Table, ra: Floats, dec: Floats, source: Path, options: MatchOptions) -> MatchReport:
    """Add columns to a list [N] of objects at ``ra`` and ``dec`` (degrees ICRS): those of the nearest row of a table.

    ``source`` is a file of any format, or the folder of a HATS collection. A row without a counterpart gets NaN, or no
    text. Added are also ``separation`` (arcsec) and ``matches``, the number of rows within the radius.

    Raises:
        ScannerError: ``crossmatch.*``, ``sources.*``, ``hats.unreadable``, ``column.unknown``.
    """
    opened = _Hats(source, options) if is_hats(source) else _File(source, options)
    radius = options.radius / 3600
    nearest, count = np.full(len(ra), np.inf), np.zeros(len(ra), np.int64)
    # For each row of the list the part of the source, and the row there, that holds its counterpart.
    part_of, row_of = np.full(len(ra), -1), np.full(len(ra), -1)
    parts: list[ColumnTable] = []
    unmoved = 0
    for there_ra, there_dec, still, columns in opened.parts(ra, dec, radius):
        unmoved += still
        here, there = pairs_within(ra, dec, there_ra, there_dec, radius)
        away = separation(ra[here], dec[here], there_ra[there], there_dec[there])
        np.add.at(count, here, 1)
        # The nearest of each row comes first.
        order = np.lexsort((away, here))
        first = order[np.unique(here[order], return_index=True)[1]]
        better = first[away[first] < nearest[here[first]]]
        nearest[here[better]] = away[better]
        part_of[here[better]], row_of[here[better]] = len(parts), np.arange(len(better))
        parts.append(_take(columns, there[better]))
    added = _gather(opened.chosen, parts, part_of, row_of)
    out = table.copy()
    names = [f"{options.prefix}{name}" for name in (*added.colnames, "separation", "matches")]
    if clash := sorted(set(names) & set(out.colnames)):
        message = f"The list has a column {', '.join(clash)} already."
        raise ScannerError(ErrorCode.CROSSMATCH_SAME_COLUMN, message, "Give another --prefix, or fewer --columns.")
    for name in added.colnames:
        out[f"{options.prefix}{name}"] = added[name]
        out[f"{options.prefix}{name}"].description = f"{name} of {opened.name}" + (
            f" ({added[name].description})" if added[name].description else ""
        )
    out[names[-2]] = np.where(np.isfinite(nearest), nearest * 3600, np.nan)
    out[names[-2]].unit, out[names[-2]].meta["ucd"] = "arcsec", "pos.angDistance"
    out[names[-2]].description = f"Distance from the nearest row of {opened.name}"
    out[names[-1]] = count
    out[names[-1]].description = f"Number of rows of {opened.name} within {options.radius:g} arcsec"
    return MatchReport(out, int(np.isfinite(nearest).sum()), tuple(opened.notes(unmoved, int(np.isnan(ra).sum()))))


class _Source(ABC):
    """What is matched with: its name, the columns that are added, and how its positions are moved."""

    def __init__(self, name: str, names: Sequence[str], options: MatchOptions) -> None:
        self.name, self.options = name, options
        if unknown := [one for one in options.columns or () if one not in names]:
            message = f"{name} has no column {', '.join(unknown)} among {', '.join(list(names)[:30])}."
            raise ScannerError(ErrorCode.COLUMN_UNKNOWN, message, "Write the names as the table does.")
        self.chosen = tuple(options.columns or (one for one in names if one != HEALPIX))
        self.motion: Motion | None = find_motion(names, name, options.epoch, options.table_epoch, options.ignore_motion)

    @abstractmethod
    def parts(self, ra: Floats, dec: Floats, radius: float) -> Iterator[tuple[Floats, Floats, int, ColumnTable]]:
        """Yield the rows near a list in parts: positions [M] (degrees), how many did not move, and the columns."""

    def move(self, ra: Floats, dec: Floats, columns: ColumnTable) -> tuple[Floats, Floats, int]:
        """Move positions, if the table says how."""
        return (ra, dec, 0) if self.motion is None else self.motion.move(ra, dec, columns.columns)

    def notes(self, unmoved: int, without: int) -> Iterator[str]:
        """Say how positions were compared."""
        if self.motion is None:
            yield f"{self.name}: positions are matched as they are, without proper motion"
        else:
            reference = self.motion.reference
            since = f"{reference:g}" if reference is not None else "the epoch of each row"
            by = f"{self.motion.ra} and {self.motion.dec}"
            yield f"{self.name}: positions are moved from {since} to {self.motion.epoch:g} by {by}"
            if unmoved:
                yield f"{unmoved} rows that were read have no proper motion, and stay where they are"
        if without:
            yield f"{without} rows of the list have no position on the sky, and no counterpart"


class _File(_Source):
    """A table in a file, which is read at once."""

    def __init__(self, path: Path, options: MatchOptions) -> None:
        self._places, self._columns = read_sky_table(path)
        super().__init__(path.name, self._columns.names, options)
        pair = find_pair(self._columns.names, self._columns.columns)
        frames = {one.frame for one in self._columns.columns if one.frame} | {(pair and pair.frame) or ""}
        if self.motion is not None and not all(Frame.parse(one).is_j2000 for one in frames if one):
            message = f"{path.name} has proper motions in the frame {', '.join(sorted(filter(None, frames)))}."
            raise ScannerError(ErrorCode.CROSSMATCH_NO_MOTION, message, "Give positions and motions in ICRS.")

    def parts(self, ra: Floats, dec: Floats, radius: float) -> Iterator[tuple[Floats, Floats, int, ColumnTable]]:
        usable = self._places.is_number & self._places.is_on_sky
        ra_there, dec_there = (np.where(usable, one, np.nan) for one in (self._places.first, self._places.second))
        yield *self.move(ra_there, dec_there, self._columns), self._columns


class _Hats(_Source):
    """A HATS collection, of which the partitions near the list are read one after another."""

    def __init__(self, path: Path, options: MatchOptions) -> None:
        self._table = HatsTable.of(path)
        super().__init__(self._table.name, self._table.schema.names, options)

    def parts(self, ra: Floats, dec: Floats, radius: float) -> Iterator[tuple[Floats, Floats, int, ColumnTable]]:
        table = self._table
        needed = () if self.motion is None else self.motion.columns
        exact = {name.lower(): name for name in table.schema.names}
        wanted = list(dict.fromkeys([table.ra, table.dec, *(exact[name] for name in needed), *self.chosen]))
        # A star that moves may be listed where the list has nothing.
        reach = radius + (0.0 if self.motion is None else self.motion.reach)
        for rows in table.near(ra, dec, reach, wanted):
            columns = tuple(arrow_column(name, rows.column(name), _unit(table, name)) for name in wanted)
            read = ColumnTable(columns, tuple(wanted))
            there_ra = normalise_ra(columns[0].values.astype(float))
            yield *self.move(there_ra, columns[1].values.astype(float), read), read


def _unit(table: HatsTable, name: str) -> str:
    facts = table.schema.field(name).metadata or {}
    return str(facts.get(b"unit", b"").decode("utf-8", "replace"))


def _take(columns: ColumnTable, rows: NDArray[np.int64]) -> ColumnTable:
    taken = tuple(replace(one, values=one.values[rows]) for one in columns.columns)
    return ColumnTable(taken, columns.names)


def _gather(
    chosen: Sequence[str], parts: Sequence[ColumnTable], part_of: NDArray[np.int64], row_of: NDArray[np.int64]
) -> Table:
    """The chosen columns [N] of the counterparts, NaN or "" where a row has none."""
    from astropy.table import Table

    out = Table()
    if not parts:
        return out
    found = np.flatnonzero(part_of >= 0)
    for name in chosen:
        columns = [next(one for one in part.columns if one.name == name) for part in parts]
        is_text = any(one.is_text and not one.problem for one in columns) or columns[0].is_text
        values: NDArray[Any] = np.full(len(part_of), "", object) if is_text else np.full(len(part_of), np.nan)
        for row in found.tolist():
            column = columns[part_of[row]]
            cell = column.values[row_of[row]]
            values[row] = Column("", np.array([cell])).words()[0] if is_text and not column.is_text else cell
        whole = all(one.is_whole for one in columns)
        problem = next((one.problem for one in columns if one.problem), "")
        joined = Column(name, values, columns[0].unit, "", problem, whole)
        made, _ = to_astropy(ColumnTable((joined,), (name,)))
        # Columns of several numbers a row are left out.
        if name in made.colnames:
            out[name] = made[name]
    return out


def _describe(table: Table) -> None:
    """Give the columns of a catalogue their units, UCDs and descriptions."""
    from catalogs.store.schema import catalogue_schema
    from catalogs.store.voparquet import facts

    bands = [name.removeprefix("mag_") for name in table.colnames if name.startswith("mag_") and name != "mag_auto"]
    schema = catalogue_schema(bands, 1)
    for name in set(table.colnames) & set(schema.names):
        told, column = facts(schema.field(name)), table[name]
        column.unit = column.unit or told.get("unit") or None
        column.description = column.description or told["description"]
        column.meta.setdefault("ucd", told["ucd"])

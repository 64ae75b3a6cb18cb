"""Text tables: CSV and its relatives, aligned columns, SExtractor's ASCII_HEAD and ECSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.text_rows import TextRows, parse_number, read_lines, read_rows, split
from scanner.sources.tables.columns import EXACT, Choice, Column, ColumnTable, check_rows
from scanner.sources.tables.yaml_header import read_yaml_header

MAX_HEADER = 2**20
"""The longest YAML header of an ECSV table, in characters."""

TEXT_COLUMNS = ("tile", "name", "main_id", "designation")
"""Columns that are text whatever they hold: as numbers, 217.290 and 0047 would lose their zeros."""

_AT_ONCE = 256
"""Rows that are converted together: few, since Python's garbage collector looks at all rows that live for a while."""
_DIGITS = re.compile(r"[+-]?\d{16,}")
_SEXTRACTOR = re.compile(r"#\s*(\d+)\s+(\S+)(.*?)(?:\[([^\[\]]*)\])?\s*")


def read_text(file: IO[bytes], choice: Choice) -> ColumnTable:
    """Read the chosen columns of a text table.

    Raises:
        ValueError: It is not a table, or too large.
    """
    lines = read_lines(file)
    first = next(lines, "")
    lines = chain([first], lines)
    if first.startswith("# %ECSV"):
        table, frame = _read_ecsv(lines)
        return _collect(table, range(len(table.names)), choice, frame)
    if _SEXTRACTOR.fullmatch(first):
        return _read_sextractor(lines, choice)
    table = read_rows(lines)
    return _collect(table, range(len(table.names)), choice)


def _read_ecsv(lines: Iterator[str]) -> tuple[TextRows, str]:
    """The rows of an ECSV table, with the units of its YAML header, and the frame that its metadata say."""
    header, size = list[str](), 0
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line[1:].removeprefix(" "))
        size += len(line)
        if size > MAX_HEADER:
            raise ValueError(f"its header is longer than {MAX_HEADER} characters")
    else:
        raise ValueError("it has no line of column names")
    described = read_yaml_header("\n".join(header[1:]))
    rows = split(chain([line], lines), described.delimiter, len(header))
    names = tuple(next(rows)[1])
    if names != tuple(name for name, _ in described.columns):
        raise ValueError("its YAML header has other columns than its line of names")
    units = tuple(unit for _, unit in described.columns)
    return TextRows(names, units, _of_width(rows, len(names))), described.frame


def _of_width(rows: Iterator[tuple[int, list[str]]], count: int) -> Iterator[tuple[int, list[str]]]:
    for number, cells in rows:
        if len(cells) != count:
            raise ValueError(f"line {number} has {len(cells)} columns, its head has {count}")
        yield number, cells


def _read_sextractor(lines: Iterator[str], choice: Choice) -> ColumnTable:
    """A table in ASCII_HEAD; the numbers of its header say where the columns are, with gaps where they are vectors."""
    places, header = dict[int, tuple[str, str]](), 0
    for line in lines:
        head = _SEXTRACTOR.fullmatch(line)
        if head is None:
            lines = chain([line], lines)
            break
        header += 1
        places[int(head[1]) - 1] = head[2], head[4] or ""
    names, units = zip(*places.values(), strict=True)
    cells = ((number, line.split()) for number, line in enumerate(lines, header + 1) if not line.startswith("#"))
    rows = (row for row in cells if row[1])
    return _collect(TextRows(names, units, rows), list(places), choice)


def _collect(table: TextRows, places: Sequence[int], choice: Choice, frame: str = "") -> ColumnTable:
    """The chosen columns of rows; column n of the names is in cell ``places[n]``."""
    chosen = [number for number, name in enumerate(table.names) if choice(name)]
    builders = [_Builder(table.names[number].strip().lower() in TEXT_COLUMNS) for number in chosen]
    count = 0
    while chunk := list(islice(table.rows, _AT_ONCE)):
        count += len(chunk)
        check_rows(count)
        rows = [cells for _, cells in chunk]
        for number, builder in zip(chosen, builders, strict=True):
            try:
                cells = list(map(itemgetter(places[number]), rows))
            except IndexError:
                short = next(line for line, cells in chunk if len(cells) <= places[number])
                message = f"line {short} has no column {places[number] + 1}, which is {table.names[number]}"
                raise ValueError(message) from None
            builder.add(cells, chunk[0][0])
    units = table.units or ("",) * len(table.names)
    columns = []
    for number, builder in zip(chosen, builders, strict=True):
        values, problem = builder.values()
        about = (units[number], frame, problem, builder.is_whole, builder.is_blank)
        columns.append(Column(table.names[number], values, *about))
    return ColumnTable(tuple(columns), table.names)


class _Builder:
    """A column that grows by chunks of cells, each of numbers or of texts."""

    def __init__(self, keeps_text: bool = False) -> None:
        self._chunks: list[NDArray[Any]] = []
        self._problem = ""
        self._keeps_text = keeps_text
        self._has_text = self._has_points = self._has_commas = self._has_long = False
        self.is_blank = True

    def add(self, cells: list[str], line: int) -> None:
        """Add cells, of which the first is in this line."""
        self.is_blank = self.is_blank and not any(map(str.strip, cells))
        if self._keeps_text:
            self._has_text = True
            self._chunks.append(np.array([cell.strip() for cell in cells], dtype=object))
            return
        numbers = fast = _fast_numbers(cells)
        if numbers is None:
            numbers = self._parse(cells, line)
        if numbers.dtype.kind == "f" and (np.abs(numbers) >= EXACT).any() and any(map(_DIGITS.fullmatch, cells)):
            # A float64 would round such an id.
            self._has_long = True
            numbers = np.array([cell.strip() for cell in cells], dtype=object)
        elif fast is not None and not self._has_points:
            # Whole numbers need neither a point nor a comma.
            self._has_points = bool((numbers % 1 > 0).any())
        self._chunks.append(numbers)
        if self._has_points and self._has_commas:
            self._problem = self._problem or "has decimal points and decimal commas"

    def _parse(self, cells: list[str], line: int) -> NDArray[Any]:
        numbers, words = np.full(len(cells), np.nan), []
        for number, cell in enumerate(cells):
            try:
                numbers[number] = parse_number(cell)
            except ValueError:
                words.append(number)
            else:
                self._has_commas |= "," in cell
                self._has_points |= "." in cell
        if not words:
            return numbers
        self._has_text = True
        if np.isfinite(numbers).any():
            self._problem = self._problem or f"has {cells[words[0]]!r} among its numbers, near line {line + words[0]}"
        return np.array([cell.strip() for cell in cells], dtype=object)

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return not (self._has_text or self._has_points or self._has_commas) and bool(self._chunks)

    def values(self) -> tuple[NDArray[Any], str]:
        """The values of the column, and what is wrong with them."""
        if self._has_long and not self._has_text:
            return np.concatenate([Column("", chunk).words().astype(object) for chunk in self._chunks]), self._problem
        if not self._has_text:
            return np.concatenate([np.zeros(0), *self._chunks]), self._problem
        for chunk in self._chunks:
            if chunk.dtype.kind == "f" and np.isfinite(chunk).any():
                self._problem = self._problem or "has words among its numbers"
        return np.concatenate([Column("", chunk).words().astype(object) for chunk in self._chunks]), self._problem


def _fast_numbers(cells: list[str]) -> NDArray[np.float64] | None:
    """Plain finite numbers; None where any cell needs another look."""
    try:
        numbers = np.array(list(map(float, cells)))
    except ValueError:
        return None
    return None if not np.isfinite(numbers).all() or "_" in "".join(cells) else numbers

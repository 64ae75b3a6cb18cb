"""Rows of text tables, as spreadsheets, archives and programs write them: CSV of any separator, and aligned columns.

Read are: a byte order mark; commas, semicolons, tabs, bars or blanks between columns; decimal commas; lines that end in
any way; comments before the names, or names in a comment; and the rows of units and dashes of VizieR.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

Line = tuple[int, str]
"""The number of a line, from 1, and its text."""

MAX_LINE = 2**20
"""The longest line in characters, and so the most memory that a file without line ends can take."""

_SEPARATORS = ",;\t|"
_MISSING = frozenset({"", "-", "--", "nan", "null", "none", "na", "n/a", "#n/a", "inf", "+inf", "-inf"})
_DASHES = re.compile(r"-+")


@dataclass(frozen=True)
class TextRows:
    """The column names of a table, its units (empty: it has no row of units), and its rows, each with its line."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    rows: Iterator[tuple[int, list[str]]]


def read_lines(file: IO[bytes]) -> Iterator[Line]:
    """Read the lines of a UTF-8 text that are not blank; other bytes become replacement characters.

    Raises:
        ValueError: The file is not text in UTF-8, or a line is longer than ``MAX_LINE``.
    """
    start = file.read(4096)
    file.seek(0)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is text in UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise ValueError("it is binary, not text")
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise ValueError(f"line {number} is longer than {MAX_LINE} characters")
        if not line.isspace():
            yield number, line


def read_rows(lines: Iterable[Line]) -> TextRows:
    """Read the names and the rows of a table from its lines.

    Raises:
        ValueError: The table has no line of names; later: a row has another number of columns.
    """
    lines, comment, separator = iter(lines), "", ""
    for top in lines:
        line = top[1]
        if line.lower().startswith("sep=") and len(line.strip()) <= 5:
            separator = line[4:5].strip("\n")  # Excel writes and understands this line
        elif line.startswith("#"):
            comment = line.lstrip("#").strip()
        else:
            break
    else:
        raise ValueError("it is empty, or has comments alone")
    separator = separator or max(_SEPARATORS, key=line.count)
    separator = separator if separator in line else " "

    def cells_of(text: str) -> list[str]:
        return [cell.strip() for cell in next(split([(0, text)], separator))[1]]

    first = cells_of(line)
    numeric = sum(map(_is_number, first))
    if numeric and comment and len(names := cells_of(comment)) == len(first) and not any(map(_is_number, names)):
        # A line of numbers below a comment of as many words: the comment holds the names.
        return TextRows(tuple(names), (), _rows(chain([top], lines), separator, len(names)))
    if 2 * numeric >= len(first):
        raise ValueError("it has no line of column names")
    ahead = list(islice(lines, 2))
    if len(ahead) == 2 and all(_DASHES.fullmatch(cell) for cell in cells_of(ahead[1][1])):
        return TextRows(tuple(first), tuple(cells_of(ahead[0][1])), _rows(lines, separator, len(first)))
    return TextRows(tuple(first), (), _rows(chain(ahead, lines), separator, len(first)))


def split(lines: Iterable[Line], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Split lines into cells, which may be quoted; a blank as the separator stands for any number of blanks.

    Raises:
        ValueError: A quote is not closed, or a cell is too long.
    """
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for line in lines:
            last = line[0]
            yield " ".join(line[1].split()) if separator == " " else line[1]

    try:
        for cells in csv.reader(texts(), delimiter=separator, strict=True):
            yield last, cells
    except csv.Error as error:
        raise ValueError(f"line {last}: {error}") from error


def _rows(lines: Iterable[Line], separator: str, count: int) -> Iterator[tuple[int, list[str]]]:
    for number, cells in split(lines, separator):
        # Spreadsheets leave rows of separators alone.
        if len(cells) == count and any(cells):
            yield number, cells
        # A comment, where it cannot be a row.
        elif len(cells) != count and not cells[0].startswith("#"):
            raise ValueError(f"line {number} has {len(cells)} columns, its head has {count}")


def parse_number(text: str) -> float:
    """Parse a number with a decimal point or a decimal comma; NaN for an empty cell or a word that means the same.

    Raises:
        ValueError: It is not a number.
    """
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if text.lower() in _MISSING:
        return math.nan
    if "_" in text:  # which Python allows in a number
        raise ValueError(f"{text!r} is not a number")
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    return float(text)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(parse_number(text))
    except ValueError:
        return False

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


def read_lines(file: IO[bytes]) -> Iterator[str]:
    """Read the lines of a UTF-8 text, without their ends; other bytes become replacement characters.

    Raises:
        ValueError: The file is not text in UTF-8; later: a line is longer than ``MAX_LINE``.
    """
    start = file.read(4096)
    file.seek(0)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is text in UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise ValueError("it is binary, not text")
    # By blocks, several times as fast as line by line.
    return chain.from_iterable(_blocks(io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")))


def _blocks(text: io.TextIOWrapper) -> Iterator[list[str]]:
    rest = ""
    while block := text.read(MAX_LINE):
        *lines, rest = (rest + block).split("\n")
        if len(rest) > MAX_LINE:
            raise ValueError(f"it has a line of more than {MAX_LINE} characters")
        yield lines
    if rest:
        yield [rest]


def read_rows(lines: Iterator[str]) -> TextRows:
    """Read the names and the rows of a table from its lines.

    Raises:
        ValueError: The table has no line of names; later: a row has another number of columns.
    """
    comment, separator = "", ""
    for number, line in enumerate(lines, 1):  # noqa: B007  (it is used below)
        if line.lower().startswith("sep=") and len(line.strip()) <= 5:
            separator = line[4:5]  # Excel writes and understands this line
        elif line.startswith("#"):
            comment = line.lstrip("#").strip()
        elif line and not line.isspace():
            break
    else:
        raise ValueError("it is empty, or has comments alone")
    separator = separator or max(_SEPARATORS, key=line.count)
    separator = separator if separator in line else " "

    def cells_of(text: str) -> list[str]:
        return [cell.strip() for _, cells in split([text], separator) for cell in cells]

    first = cells_of(line)
    numeric = sum(map(_is_number, first))
    if numeric and comment and len(names := cells_of(comment)) == len(first) and not any(map(_is_number, names)):
        # A line of numbers below a comment of as many words: the comment holds the names.
        return TextRows(tuple(names), (), _rows(chain([line], lines), separator, len(names), number - 1))
    if 2 * numeric >= len(first):
        raise ValueError("it has no line of column names")
    ahead = list(islice(lines, 2))
    if len(ahead) == 2 and (dashes := cells_of(ahead[1])) and all(map(_DASHES.fullmatch, dashes)):
        units = tuple(cells_of(ahead[0]))
        return TextRows(tuple(first), units, _rows(lines, separator, len(first), number + 2))
    return TextRows(tuple(first), (), _rows(chain(ahead, lines), separator, len(first), number))


def split(lines: Iterable[str], separator: str, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Split lines into cells, which may be quoted; a blank as the separator stands for any number of blanks.

    Each row comes with the number of its (last) line, of which there were ``before`` others before these; blank lines
    are skipped, and comments among aligned columns.

    Raises:
        ValueError: A quote is not closed, or a cell is too long.
    """
    if separator == " ":
        # Comments become blank, so that lines keep their numbers.
        lines = ("" if line.startswith("#") else " ".join(line.split()) for line in lines)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num + before, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + before}: {error}") from error


def _rows(lines: Iterable[str], separator: str, count: int, before: int) -> Iterator[tuple[int, list[str]]]:
    for number, cells in split(lines, separator, before):
        # Spreadsheets leave rows of separators alone.
        if len(cells) == count and any(cells):
            yield number, cells
        # A comment, where it cannot be a row.
        elif len(cells) != count and not cells[0].startswith("#") and any(map(str.strip, cells)):
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

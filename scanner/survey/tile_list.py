"""The lines of a tile list: comments and blanks dropped, hostile ones marked, before anything is done with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogs.errors import ScannerError

MAX_LENGTH = 4096


@dataclass(frozen=True)
class Line:
    """One line that says something: its number from 1, its text with single spaces, and what is wrong with it."""

    number: int
    text: str
    complaint: str = ""


Lines = Sequence[Line]


def read_lines(source: str | Path) -> Lines:
    """Lines of a file, or of standard input for ``-``. Raises ``list.missing`` or ``list.unreadable``."""
    try:
        if str(source) == "-":
            return clean(sys.stdin)
        with Path(source).open(encoding="utf-8-sig", newline="\n") as file:
            return clean(file)
    except FileNotFoundError as error:
        raise ScannerError(
            "list.missing", f"There is no list {str(source)!r}.", "Give a file, or - for stdin."
        ) from error
    except (OSError, UnicodeError) as error:
        hint = "The list of tiles is a text file in UTF-8, one tile a line."
        raise ScannerError("list.unreadable", f"The list {str(source)!r} cannot be read: {error}.", hint) from error


def clean(lines: Iterable[str]) -> Lines:
    """Comments (from # on, at the start or after a space) and blank lines go; the others keep their numbers."""
    kept = []
    for number, raw in enumerate(lines, 1):
        if raw.lstrip().startswith("#"):
            continue
        text = raw.split(" #")[0].split("\t#")[0].strip(" \t\r\n")
        if text:
            kept.append(Line(number, text if "/" in text else " ".join(text.split()), _complaint(text)))
    return kept


def _complaint(text: str) -> str:
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if not text.isprintable() and not text.replace("\t", " ").isprintable():
        return "holds control characters"
    return ""

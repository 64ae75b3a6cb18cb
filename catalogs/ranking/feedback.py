"""Feedback: which candidates a person kept or rejected, read from the CSV that the ranking wrote."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import examples, matching
from catalogs.search.examples import Examples
from catalogs.sky.geometry import SAME_OBJECT
from catalogs.store.backend import Backend, Snapshot
from catalogs.text_rows import parse_number, read_lines, read_rows

log = logging.getLogger(__name__)

COLUMN = "mark"
RADIUS = 1.0
"""Arcsec from the position in the file to its object."""
KEPT = {"kept", "keep", "k", "yes", "y", "lens", "true", "1"}
REJECTED = {"rejected", "reject", "r", "no", "n", "false", "0"}
UNDECIDED = {"", "?", "unsure", "maybe", "nan"}

_DEGREES = {"", "deg", "degree", "degrees"}
_ECSV_UNIT = re.compile(r"# - \{name: (\w+), unit: ([^,}]*)")
"""The unit of a column in the header of an ECSV table."""


@dataclass(frozen=True)
class Mark:
    """One marked row: file and line, the verdict, and its position in degrees or its id (None: not given)."""

    name: str
    kept: bool
    ra: float | None
    dec: float | None
    object_id: int | None


@dataclass(frozen=True)
class Feedback:
    """The objects of a catalogue that were kept, and those that were rejected."""

    kept: Examples
    rejected: Examples

    @classmethod
    def empty(cls, dim: int) -> Feedback:
        """Make feedback without marks, for a catalogue whose embeddings have ``dim`` numbers."""
        return cls(examples.none(dim), examples.none(dim))

    def __len__(self) -> int:
        return len(self.kept) + len(self.rejected)

    def words(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.str_]:
        """Give ``kept``, ``rejected`` or an empty text for each position in degrees."""
        kept, rejected = self.kept.near(ra, dec, SAME_OBJECT), self.rejected.near(ra, dec, SAME_OBJECT)
        return np.where(kept, "kept", np.where(rejected, "rejected", ""))


def read_marks(path: Path) -> list[Mark]:
    """Read the marked rows of a CSV with a column ``mark`` and positions (``ra``, ``dec``) or ``object_id``.

    Positions take precedence over ids, since spreadsheets round long numbers. The file may have any separator, and
    decimal commas.

    Raises:
        ScannerError: ``feedback.unreadable``, ``feedback.no_mark``, ``feedback.no_object``, ``feedback.bad_mark``.
    """
    names, records = _read_csv(path)
    if COLUMN not in names:
        message = f"{path} has no column {COLUMN!r} among {', '.join(names)}."
        hint = f"Fill the column {COLUMN} that rank writes: kept or rejected."
        raise ScannerError(ErrorCode.FEEDBACK_NO_MARK, message, hint)
    marks = []
    for number, record in records:
        word, name = record[COLUMN].lower(), f"{path.name}, line {number}"
        if word in UNDECIDED:
            continue
        if word not in KEPT | REJECTED:
            message = f"{path}, line {number}: {record[COLUMN]!r} is not a mark."
            hint = "Write kept or rejected, and nothing where you do not know."
            raise ScannerError(ErrorCode.FEEDBACK_BAD_MARK, message, hint)
        try:
            # Spreadsheets round long ids, so a position is preferred.
            if record.get("ra") and record.get("dec"):
                ra, dec = parse_number(record["ra"]), parse_number(record["dec"])
                mark = Mark(name, word in KEPT, ra, dec, None)
            else:
                mark = Mark(name, word in KEPT, None, None, int(record["object_id"]))
        except (KeyError, ValueError) as error:
            hint = "Each marked row needs ra and dec in degrees, or its object_id in full: keep those columns."
            message = f"{name}: the marked object has neither a position nor an object_id."
            raise ScannerError(ErrorCode.FEEDBACK_NO_OBJECT, message, hint) from error
        marks.append(mark)
    return marks


def match_marks(catalogue: Backend, marks: Sequence[Mark], snapshot: Snapshot | None = None) -> Feedback:
    """Match marks with the objects of a catalogue, or of a ``snapshot`` of it.

    An object that is marked both ways is dropped with a warning, and so is a mark without an object.
    """
    snapshot = snapshot or catalogue.snapshot()
    return join_marks(*(_match(snapshot, [mark for mark in marks if mark.kept is one]) for one in (True, False)))


def join_marks(kept: Examples, rejected: Examples) -> Feedback:
    """Join the objects that were kept with those that were rejected.

    One that is in both is dropped with a warning; a mark without an object is named in one.
    """
    for unmatched in (*kept.unmatched, *rejected.unmatched):
        log.warning("The mark in %s is of no object of the catalogue. [%s]", unmatched.name, unmatched.code)
    doubtful = kept[rejected.near(kept.ra, kept.dec, SAME_OBJECT)]
    for name, ra, dec in zip(doubtful.name, doubtful.ra, doubtful.dec, strict=True):
        log.warning("The object at %.6f %+.6f (%s) is both kept and rejected: neither counts.", ra, dec, name)
    return Feedback(kept.without(doubtful), rejected.without(doubtful))


def _match(snapshot: Snapshot, marks: Sequence[Mark]) -> Examples:
    placed = [mark for mark in marks if mark.ra is not None and mark.dec is not None]
    ra, dec = [mark.ra or 0.0 for mark in placed], [mark.dec or 0.0 for mark in placed]
    by_place = matching.match(snapshot, ra, dec, RADIUS, [mark.name for mark in placed])
    identities = {mark.object_id: mark.name for mark in marks if mark.ra is None and mark.object_id is not None}
    return by_place.join(matching.match_ids(snapshot, identities))


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the lower-case column names, and the rows by these, each with its line number."""
    if not path.is_file():
        raise _unreadable(path, "it is not a regular file" if path.exists() else "it does not exist")
    try:
        with path.open("rb") as file:
            lines = list(read_lines(file))
        table = read_rows(iter(lines))
        rows = list(table.rows)
        units = [match.groups() for match in map(_ECSV_UNIT.match, lines) if match]
        for name, unit in (*units, *zip(table.names, table.units, strict=False)):
            if name.lower() in ("ra", "dec") and unit.strip().lower() not in _DEGREES:
                raise ValueError(f"its column {name} is in {unit}, where ra and dec must be in degrees")
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    names = [name.lower() for name in table.names]
    if len(set(names)) < len(names):
        raise _unreadable(path, f"several columns have the same name, of {', '.join(names)}")
    return names, [(number, dict(zip(names, map(str.strip, line), strict=True))) for number, line in rows]


def _unreadable(path: Path, why: str) -> ScannerError:
    hint = "Give the CSV that rank -f csv wrote, with its column mark filled."
    return ScannerError(ErrorCode.FEEDBACK_UNREADABLE, f"{path} cannot be read as marks: {why}.", hint)

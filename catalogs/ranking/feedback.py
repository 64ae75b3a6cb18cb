"""What a person said of candidates, kept or rejected, read back from the CSV that the ranking was written to."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import examples, matching
from catalogs.search.examples import Examples
from catalogs.sky.geometry import SAME_OBJECT
from catalogs.store.tile_store import Snapshot, TileStore

log = logging.getLogger(__name__)

COLUMN = "mark"
RADIUS = 1.0  # arcsec between the position that was written and its object
KEPT = {"kept", "keep", "k", "yes", "y", "lens", "true", "1"}
REJECTED = {"rejected", "reject", "r", "no", "n", "false", "0"}
UNDECIDED = {"", "?", "unsure", "maybe", "nan"}


@dataclass(frozen=True)
class Mark:
    """One row that was judged: where it was read, its position in degrees or its id (None: not given), the verdict."""

    name: str
    kept: bool
    ra: float | None
    dec: float | None
    object_id: int | None


@dataclass(frozen=True)
class Marks:
    """The objects of a catalogue that were kept, and those that were rejected."""

    kept: Examples
    rejected: Examples

    def __len__(self) -> int:
        return len(self.kept) + len(self.rejected)

    def of(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.str_]:
        """``kept``, ``rejected`` or nothing for each position in degrees."""
        kept, rejected = self.kept.near(ra, dec, SAME_OBJECT), self.rejected.near(ra, dec, SAME_OBJECT)
        return np.where(kept, "kept", np.where(rejected, "rejected", ""))


def nothing(dim: int) -> Marks:
    """No marks, of a catalogue whose embeddings have ``dim`` numbers."""
    return Marks(examples.none(dim), examples.none(dim))


def read(path: Path) -> list[Mark]:
    """The marked rows of a CSV with a column ``mark`` and positions (``ra``, ``dec``) or ``object_id``.

    Positions count where both are there, since spreadsheets round long ids. Commas, semicolons and tabs part columns.
    Raises ``ScannerError``: ``feedback.unreadable``, ``feedback.no_mark``, ``feedback.no_object``,
    ``feedback.bad_mark`` (these name the line).
    """
    return list(_marks(path, _records(path)))


def resolve(catalogue: TileStore, marks: Sequence[Mark]) -> Marks:
    """The objects that were marked. What was marked both ways counts for nothing, and is named in a warning.

    So is a mark whose object is not in the catalogue.
    """
    snapshot = catalogue.snapshot()
    kept, rejected = (_objects(snapshot, [mark for mark in marks if mark.kept is verdict]) for verdict in (True, False))
    for unmatched in (*kept.unmatched, *rejected.unmatched):
        log.warning("The mark in %s is of no object of the catalogue. [%s]", unmatched.name, unmatched.code)
    doubtful = kept[rejected.near(kept.ra, kept.dec, SAME_OBJECT)]
    for name, ra, dec in zip(doubtful.name, doubtful.ra, doubtful.dec, strict=True):
        log.warning("The object at %.6f %+.6f (%s) is both kept and rejected: neither counts.", ra, dec, name)
    return Marks(kept.without(doubtful), rejected.without(doubtful))


def _objects(snapshot: Snapshot, marks: Sequence[Mark]) -> Examples:
    placed = [mark for mark in marks if mark.ra is not None and mark.dec is not None]
    places = [(mark.ra or 0.0, mark.dec or 0.0) for mark in placed]
    by_place = matching.match(
        snapshot, [ra for ra, _ in places], [dec for _, dec in places], RADIUS, [mark.name for mark in placed]
    )
    identities = {mark.object_id: mark.name for mark in marks if mark.ra is None and mark.object_id is not None}
    return by_place.joined(matching.match_ids(snapshot, identities))


def _records(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows by lower-case column name, each with its line number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=head.count), strict=True)
        lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, str(error)) from error
    if not lines:
        raise _unreadable(path, "it is empty")
    names = [name.strip().lower() for name in lines[0][1]]
    for number, line in lines[1:]:
        if len(line) != len(names):
            raise _unreadable(path, f"line {number} has {len(line)} columns, its head has {len(names)}")
    return [(number, dict(zip(names, map(str.strip, line), strict=True))) for number, line in lines[1:]]


def _marks(path: Path, records: Sequence[tuple[int, dict[str, str]]]) -> Iterator[Mark]:
    names = records[0][1] if records else {}
    if records and COLUMN not in names:
        message = f"{path} has no column {COLUMN!r} among {', '.join(names)}."
        raise ScannerError(
            ErrorCode.FEEDBACK_NO_MARK, message, f"Fill the column {COLUMN} that rank writes: kept or rejected."
        )
    for number, record in records:
        word = record[COLUMN].lower()
        if word in UNDECIDED:
            continue
        if word not in KEPT | REJECTED:
            hint = "Write kept or rejected, and nothing where you do not know."
            raise ScannerError(
                ErrorCode.FEEDBACK_BAD_MARK, f"{path}, line {number}: {record[COLUMN]!r} is no mark.", hint
            )
        yield _mark(f"{path.name}, line {number}", record, word in KEPT)


def _mark(name: str, record: dict[str, str], kept: bool) -> Mark:
    try:
        if record.get("ra") and record.get("dec"):
            return Mark(name, kept, float(record["ra"]), float(record["dec"]), None)
        return Mark(name, kept, None, None, int(record["object_id"]))
    except (KeyError, ValueError) as error:
        hint = "Each marked row needs ra and dec in degrees, or its object_id in full: keep those columns."
        raise ScannerError(
            ErrorCode.FEEDBACK_NO_OBJECT, f"{name}: it is not said which object is marked.", hint
        ) from error


def _unreadable(path: Path, why: str) -> ScannerError:
    hint = "Give the CSV that rank -f csv wrote, with its column mark filled."
    return ScannerError(ErrorCode.FEEDBACK_UNREADABLE, f"{path} cannot be read as marks: {why}.", hint)

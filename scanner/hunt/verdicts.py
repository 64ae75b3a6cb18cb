"""The record of verdicts: rows are added and none is ever changed; an undo is a row that withdraws another.

SQLite writes a verdict to disk before it is acknowledged, and a reader never waits for a writer (WAL).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError

FILE = "verdicts.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,
  batch TEXT NOT NULL,
  time TEXT NOT NULL,
  inspector TEXT NOT NULL,
  round INTEGER NOT NULL,
  object_id INTEGER NOT NULL,
  ra REAL NOT NULL,
  dec REAL NOT NULL,
  tile TEXT NOT NULL,
  model_sha256 TEXT NOT NULL,
  stage TEXT NOT NULL,
  grade TEXT NOT NULL,
  class TEXT NOT NULL,
  comment TEXT NOT NULL,
  seconds REAL,
  view TEXT NOT NULL,
  place INTEGER NOT NULL,
  stretch TEXT NOT NULL,
  seed INTEGER NOT NULL,
  was_fake INTEGER NOT NULL DEFAULT 0,
  withdraws INTEGER REFERENCES verdicts(id)
) STRICT;
CREATE INDEX IF NOT EXISTS withdrawn ON verdicts(withdraws) WHERE withdraws IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON verdicts
  BEGIN SELECT RAISE(ABORT, 'verdicts are never changed'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON verdicts
  BEGIN SELECT RAISE(ABORT, 'verdicts are never removed'); END;
CREATE VIEW IF NOT EXISTS standing AS
  SELECT * FROM verdicts AS v WHERE withdraws IS NULL
  AND NOT EXISTS (SELECT 1 FROM verdicts AS w WHERE w.withdraws = v.id);
"""


@dataclass(frozen=True)
class Verdict:
    """What an inspector said of an object: in which ``stage``, ``grade`` and ``class_`` of false positive.

    Positions are in degrees. ``place`` is the place on the page or in the order of a ``seed``, ``seconds`` how long it
    was looked at. Verdicts of one ``batch`` are withdrawn together; equal ``uuid`` are one verdict, sent twice.
    ``was_fake``: something was painted into the pixels, so that it is no verdict about the object of that position.
    """

    uuid: str
    batch: str
    inspector: str
    round: int
    object_id: int
    ra: float
    dec: float
    tile: str
    model_sha256: str
    stage: str
    grade: str
    class_: str = ""
    comment: str = ""
    seconds: float | None = None
    view: str = ""
    place: int = 0
    stretch: str = ""
    seed: int = 0
    was_fake: bool = False
    time: str = ""
    id: int = 0


_COLUMNS = tuple("class" if field.name == "class_" else field.name for field in fields(Verdict) if field.name != "id")
_VALUES = f"({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
# A verdict that was sent before counts once; any other problem is an error.
_INSERT = f"INSERT INTO verdicts {_VALUES} ON CONFLICT (uuid) DO NOTHING"
_SELECT = f"SELECT {', '.join(_COLUMNS)}, id FROM"


class VerdictRecord:
    """The verdicts of a project, in its folder. Any number of threads and processes may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._local = threading.local()
        self._reading = threading.Lock()
        self._standing: dict[int, Verdict] = {}
        self._last = 0, ""
        self._gone = 0
        with self._errors():
            self._connection().executescript(_SCHEMA)

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Add verdicts, all or none; they are on disk when this returns.

        Raises:
            ScannerError: ``hunt.damaged``, ``hunt.not_saved``, ``hunt.bad_verdict`` where a value is missing.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = [{**asdict(one), "time": one.time or now} for one in verdicts]
        rows = [[one[_field(name)] for name in _COLUMNS] for one in values]
        with self._errors(), self._connection() as connection:
            connection.executemany(_INSERT, rows)

    def undo(self, inspector: str, uuid: str) -> list[Verdict]:
        """Withdraw the newest standing batch of an inspector and return it; an undo of one ``uuid`` happens once."""
        with self._errors(), self._connection() as connection:
            # The lock of the writer is taken first, so that two windows do not withdraw one batch twice.
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT 1 FROM verdicts WHERE batch = ?", (uuid,)).fetchone():
                return []
            newest = connection.execute(
                "SELECT batch FROM standing WHERE inspector = ? ORDER BY id DESC LIMIT 1", (inspector,)
            ).fetchone()
            if newest is None:
                return []
            batch = self._read(connection, "standing WHERE batch = ? AND inspector = ? ORDER BY id", *newest, inspector)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            for one in batch:
                values = {**asdict(one), "uuid": f"{uuid}/{one.id}", "batch": uuid, "time": now, "seconds": None}
                connection.execute(
                    f"INSERT INTO verdicts ({', '.join(_COLUMNS)}, withdraws) "
                    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})",
                    [*(values[_field(name)] for name in _COLUMNS), one.id],
                )
        return batch

    def standing(self) -> list[Verdict]:
        """List the verdicts that nobody withdrew, oldest first."""
        return self.growing()[0]

    def growing(self) -> tuple[list[Verdict], int]:
        """List the ``standing`` verdicts, and count how often one was taken from that list.

        As long as the number is the same, the list has only grown at its end.
        """
        with self._errors(), self._reading:
            connection = self._connection()
            # Rows are never changed, so that those which were read before need not be read again. Another file may be
            # put in the place of the record, though, such as an older copy.
            last = connection.execute("SELECT uuid FROM verdicts WHERE id = ?", (self._last[0],)).fetchone()
            if last != (self._last[1],):
                self._standing, self._last = {}, (0, "")
                self._gone += 1
            rows = connection.execute(
                f"{_SELECT[:-5]}, withdraws FROM verdicts WHERE id > ? ORDER BY id", self._last[:1]
            )
            for *row, withdraws in rows:
                verdict = _verdict(row)
                self._last = verdict.id, verdict.uuid
                if withdraws is None:
                    self._standing[verdict.id] = verdict
                else:
                    self._standing.pop(withdraws, None)
                    self._gone += 1
            return list(self._standing.values()), self._gone

    def every(self, after: int = 0) -> list[tuple[Verdict, int | None]]:
        """List every row beyond the id ``after``, with the id of the verdict that it withdraws (None: it is one)."""
        query = f"{_SELECT[:-5]}, withdraws FROM verdicts WHERE id > ? ORDER BY id"
        with self._errors():
            rows = self._connection().execute(query, (after,)).fetchall()
        return [(_verdict(row[:-1]), row[-1]) for row in rows]

    def _read(self, connection: sqlite3.Connection, source: str, *values: object) -> list[Verdict]:
        return [_verdict(row) for row in connection.execute(f"{_SELECT} {source}", values)]

    def _connection(self) -> sqlite3.Connection:
        # A connection belongs to one thread.
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self.path, timeout=30, isolation_level="IMMEDIATE")
            connection.execute("PRAGMA journal_mode = WAL")
            # Each commit is synced, so that a verdict outlives a crash of the machine as well.
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        made: sqlite3.Connection = self._local.connection
        return made

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            message = f"A verdict cannot be kept: {error}."
            raise ScannerError(ErrorCode.HUNT_BAD_VERDICT, message, "Reload the page.") from error
        except sqlite3.OperationalError as error:
            hint = "Check the disk's room and permissions; the page sends the verdicts again."
            raise ScannerError(ErrorCode.HUNT_NOT_SAVED, f"{self.path} cannot be used: {error}.", hint) from error
        except sqlite3.DatabaseError as error:
            hint = "Restore the file from a copy, or move it away; SQLite's .recover reads what is left."
            raise ScannerError(ErrorCode.HUNT_DAMAGED, f"{self.path} is damaged: {error}.", hint) from error


def _field(column: str) -> str:
    return "class_" if column == "class" else column


def _verdict(row: Sequence[object]) -> Verdict:
    values = dict(zip((*map(_field, _COLUMNS), "id"), row, strict=True))
    return Verdict(**{**values, "was_fake": bool(values["was_fake"])})  # type: ignore[arg-type]

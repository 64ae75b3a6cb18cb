"""The record of a team: the verdicts of a project, who has seen what others said, and what came from copies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scanner.hunt.verdicts import VerdictRecord

BLIND, REVISED, CHAIR = "blind", "revised", "chair"
"""Views of verdicts of a team: before the inspector saw what others say, after it, and those of a chair."""
FINAL = "final"
"""Stage of the final grade of an object."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS reveals (
  id INTEGER PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,
  time TEXT NOT NULL,
  inspector TEXT NOT NULL,
  verdict TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS conflicts (first TEXT NOT NULL, second TEXT NOT NULL, PRIMARY KEY (first, second)) STRICT;
CREATE TABLE IF NOT EXISTS merges (
  id INTEGER PRIMARY KEY,
  time TEXT NOT NULL,
  source TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Reveal:
    """An inspector saw what others say of the object of a ``verdict`` (its uuid)."""

    uuid: str
    time: str
    inspector: str
    verdict: str


class InspectionRecord(VerdictRecord):
    """The record of a project with a team. Any number of threads and processes may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with self._errors():
            self._connection().executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything that is written inside is written, or nothing; other writers wait.

        Raises:
            ScannerError: ``hunt.damaged``, ``hunt.not_saved``.
        """
        with self._errors(), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    def reveal(self, uuid: str, inspector: str, verdict: str) -> None:
        """Note that an inspector sees what others say of the object of a verdict."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._errors(), self._connection() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO reveals (uuid, time, inspector, verdict) VALUES (?, ?, ?, ?)",
                (uuid, now, inspector, verdict),
            )

    def reveals(self) -> list[Reveal]:
        """List who has seen what, oldest first."""
        with self._errors():
            rows = self._connection().execute("SELECT uuid, time, inspector, verdict FROM reveals ORDER BY id")
            return [Reveal(*row) for row in rows]

    def conflicts(self) -> list[tuple[str, str]]:
        """List the pairs of verdicts (uuid) that one inspector gave on two copies without knowing of the other."""
        with self._errors():
            return [(a, b) for a, b in self._connection().execute("SELECT first, second FROM conflicts")]

    def merges(self) -> list[tuple[int, int]]:
        """List the ranges of ids, ends included, of rows that came from copies."""
        with self._errors():
            return [(a, b) for a, b in self._connection().execute("SELECT first, last FROM merges ORDER BY id")]

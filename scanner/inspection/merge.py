"""Merging: what was graded on a copy of a project comes back. Rows are told apart by their uuid, never by a clock."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.project import Project
from scanner.hunt.verdicts import FILE as VERDICTS
from scanner.hunt.verdicts import Verdict
from scanner.inspection.ledger import Conflict
from scanner.inspection.plan import Plan
from scanner.inspection.record import BLIND, FINAL, REVISED, InspectionRecord
from scanner.inspection.team import Team

PATIENCE = timedelta(minutes=5)
"""By how much clocks may differ, and one may be set back."""

Row = tuple[Verdict, int | None]
Key = tuple[str, int]


@dataclass(frozen=True)
class Merge:
    """What came from a copy: verdicts and undos that were ``added``, those that were here before, and conflicts."""

    copy: str
    added: int
    known: int
    conflicts: tuple[Conflict, ...]


def merge(project: Project, folder: Path, any_clock: bool = False) -> Merge:
    """Add the verdicts of a copy of a project, all or none; nothing of the copy changes, and nothing is added twice.

    Where an inspector gave different grades here and there without knowing of the other, both stay, and are a conflict:
    neither counts until the inspector grades the object again. With ``any_clock`` verdicts are taken whatever their
    time says.

    Raises:
        ScannerError: ``inspect.other_project``, ``inspect.bad_inspector``, ``inspect.clock``, ``inspect.no_plan``,
            ``inspect.damaged``, ``hunt.*``.
    """
    plan = Plan.of(project)
    _check_copy(project, plan, folder)
    source = InspectionRecord(folder)
    theirs = source.every()
    ours = InspectionRecord(project.folder)
    with ours.transaction() as connection:
        # Inside, since a server may add verdicts meanwhile.
        mine = ours.every()
        here = {one.uuid for one, _ in mine}
        new = [row for row in theirs if row[0].uuid not in here]
        _check_people(project, folder, new)
        if not any_clock:
            _check_clocks(plan, folder, new, source.merges())
        conflicts = _conflicts(plan, mine, theirs)
        _insert(connection, folder, new, {one.id: one.uuid for one, _ in theirs}, source.merges())
        rows = [(one.first.uuid, one.second.uuid) for one in conflicts]
        connection.executemany("INSERT OR IGNORE INTO conflicts (first, second) VALUES (?, ?)", rows)
        connection.executemany("INSERT OR IGNORE INTO conflicts (first, second) VALUES (?, ?)", source.conflicts())
        seen = [(one.uuid, one.time, one.inspector, one.verdict) for one in source.reveals()]
        connection.executemany(
            "INSERT OR IGNORE INTO reveals (uuid, time, inspector, verdict) VALUES (?, ?, ?, ?)", seen
        )
    return Merge(str(folder), len(new), len(theirs) - len(new), tuple(conflicts))


def _check_copy(project: Project, plan: Plan, folder: Path) -> None:
    """Refuse what is no copy: another plan, other objects, another model, another scheme, or half of a project."""

    def refuse(why: str) -> ScannerError:
        hint = f"Merge copies of {project.folder}, made after it was planned."
        return ScannerError(ErrorCode.INSPECT_OTHER_PROJECT, f"{folder} is no copy of the project: {why}.", hint)

    if folder.resolve() == project.folder.resolve():
        raise refuse("it is the project itself")
    _check_record(folder)
    copied = Plan.of(Project(folder))
    one, other = plan.record, copied.record
    if one.id != other.id:
        raise refuse("it has another plan")
    if len(other.rounds) > len(one.rounds):
        raise refuse("it was planned further than the project")
    if (other.rounds, other.numbers) != (one.rounds[: len(other.rounds)], one.numbers[: len(other.rounds)]):
        raise refuse("its plan lists other objects")
    for number in sorted(set(other.rounds)):
        here, there = project.round(number), copied.project.round(number)
        if here.record.model_sha256 != there.record.model_sha256:
            raise refuse(f"round {number} is of another catalogue, made with another model")
        if any(not np.array_equal(here.place[name], there.place[name]) for name in here.place):
            raise refuse(f"round {number} lists other objects")
    if copied.project.scheme != project.scheme:
        raise refuse("its scheme has other grades")


def _check_record(folder: Path) -> None:
    """Refuse a copy whose record is missing or damaged, before it is opened, which would make an empty one."""
    path = folder / VERDICTS
    if not path.is_file() and (folder / "project.json").is_file():
        message = f"{path} is missing, so that the copy has no verdicts."
        raise ScannerError(ErrorCode.HUNT_DAMAGED, message, "Copy the whole folder again, after its server has ended.")
    if not path.is_file():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            faults = [word for (word,) in database.execute("PRAGMA quick_check") if word != "ok"]
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    if faults:
        message = f"{path} is damaged: {faults[0]}."
        raise ScannerError(ErrorCode.HUNT_DAMAGED, message, "Copy the whole folder again, after its server has ended.")


def _check_people(project: Project, folder: Path, new: Iterable[Row]) -> None:
    """Refuse grades of a team by somebody who is not in it."""
    team = Team(project.folder)
    for verdict, _ in new:
        if verdict.view in (BLIND, REVISED) or verdict.stage == FINAL:
            try:
                team.named(verdict.inspector)
            except ScannerError as error:
                message = f"{folder} has grades of {verdict.inspector!r}, who is not in the team."
                raise ScannerError(ErrorCode.INSPECT_BAD_INSPECTOR, message, error.hint) from error


def _check_clocks(plan: Plan, folder: Path, new: Sequence[Row], merges: Sequence[tuple[int, int]]) -> None:
    """Refuse times that a right clock does not give: before the plan, in the future, or backwards from row to row."""
    begun, now = _time(folder, plan.record.created), datetime.now(UTC)
    latest: dict[int, datetime] = {}
    for verdict, _ in new:
        time = _time(folder, verdict.time)
        origin = _origin(verdict, merges)
        before = latest.get(origin, begun)
        if time < begun - PATIENCE:
            what = f"before the project was planned ({plan.record.created})"
        elif time > now + PATIENCE:
            what = f"later than now ({now.isoformat(timespec='seconds')})"
        elif time < before - PATIENCE:
            what = f"although the verdict before it is of {before.isoformat(timespec='seconds')}"
        else:
            latest[origin] = max(before, time)
            continue
        message = f"{folder}: {verdict.inspector} graded object {verdict.object_id} at {verdict.time}, {what}."
        hint = "Check the clock of that machine. With --any-clock the verdicts are taken with the times that they have."
        raise ScannerError(ErrorCode.INSPECT_CLOCK, message, hint)


def _origin(verdict: Verdict, merges: Sequence[tuple[int, int]]) -> int:
    """Tell rows of one clock from others: 0 for those of the copy itself, else the number of the merge of that copy."""
    return next((place for place, (first, last) in enumerate(merges, 1) if first <= verdict.id <= last), 0)


def _time(folder: Path, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{folder / VERDICTS} is damaged: {text[:40]!r} is no time."
        raise ScannerError(ErrorCode.HUNT_DAMAGED, message, "Copy the whole folder again.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _conflicts(plan: Plan, mine: Sequence[Row], theirs: Sequence[Row]) -> list[Conflict]:
    """Find the objects of which the same person says different things here and there, neither knowing of the other."""
    known_here, known_there = ({one.uuid for one, _ in rows} for rows in (mine, theirs))
    here, there = _standing(plan, mine), _standing(plan, theirs)
    found = []
    for key, second in there.items():
        first = here.get(key)
        if first is None or second.uuid in known_here or first.uuid in known_there:
            continue
        if (first.grade, first.class_) != (second.grade, second.class_):
            found.append(Conflict(key[1], second.inspector, first, second))
    return found


def _standing(plan: Plan, rows: Sequence[Row]) -> dict[Key, Verdict]:
    """The latest verdict that stands, by person and object; that of a chair by object alone."""
    withdrawn = {withdraws for _, withdraws in rows if withdraws is not None}
    latest: dict[Key, Verdict] = {}
    for verdict, withdraws in rows:
        counts = verdict.view in (BLIND, REVISED) or verdict.stage == FINAL
        if withdraws is None and verdict.id not in withdrawn and counts:
            person = FINAL if verdict.stage == FINAL else f"by {verdict.inspector}"
            latest[person, plan.index_of(verdict)] = verdict
    return latest


def _insert(
    connection: sqlite3.Connection,
    folder: Path,
    new: Sequence[Row],
    uuids: Mapping[int, str],
    merges: Sequence[tuple[int, int]],
) -> None:
    """Add rows in their order. ``uuids`` tell by id there which verdict an undo withdraws, whatever its id is here."""
    names = [field.name for field in fields(Verdict) if field.name != "id"]
    columns = ", ".join("class" if name == "class_" else name for name in names)
    insert = f"INSERT INTO verdicts ({columns}, withdraws) VALUES ({', '.join('?' * (len(names) + 1))})"
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    # Rows of different clocks stay told apart, for a merge of this project into another copy.
    for _, rows in groupby(new, key=lambda row: _origin(row[0], merges)):
        ids = []
        for verdict, withdraws in rows:
            target = None
            if withdraws is not None:
                found = connection.execute("SELECT id FROM verdicts WHERE uuid = ?", (uuids[withdraws],))
                (target,) = found.fetchone()
            values = asdict(verdict)
            ids.append(connection.execute(insert, [*(values[name] for name in names), target]).lastrowid)
        what = (now, folder.name, ids[0], ids[-1])
        connection.execute("INSERT INTO merges (time, source, first, last) VALUES (?, ?, ?, ?)", what)

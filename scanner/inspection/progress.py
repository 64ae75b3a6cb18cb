"""Progress: which grades are missing, and who is still blind, so that nothing may be shown or published yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.hunt.project import Project
from scanner.inspection.ledger import Ledger
from scanner.inspection.plan import Plan, has_plan
from scanner.inspection.team import Team

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class Missing:
    """An object without all its grades: its place, how many it should have, and how many are ``given``.

    ``given`` does not count a grade in an open conflict between copies of the project.
    """

    round: int
    object_id: int
    ra: float
    dec: float
    wanted: int
    given: int


def missing_grades(project: Project) -> list[Missing]:
    """List the objects to which a grade is missing: of a plan, those with fewer graders; else those without a grade.

    What is there only to test the inspectors is no part of a result, and is not listed.

    Raises:
        ScannerError: ``inspect.damaged``, ``hunt.*``.
    """
    if not has_plan(project.folder):
        rounds = [project.round(number) for number in project.rounds()]
        return [
            Missing(
                one.number,
                int(one.place["object_id"][at]),
                float(one.place["ra"][at]),
                float(one.place["dec"][at]),
                wanted=1,
                given=0,
            )
            for one in rounds
            for at, standing in enumerate(project.standing(one))
            if standing.grade is None and not one.record.truth
        ]
    ledger = open_ledger(project)
    plan = ledger.plan
    conflicts = {(one.inspector, one.index) for one in ledger.conflicts()}
    missing = []
    for index in np.flatnonzero(plan.is_listed).tolist():
        wanted = max(plan.record.graders, sum(index in objects for objects in plan.assigned.values()))
        given = sum((name, index) not in conflicts for name in ledger.by(index))
        if given < wanted:
            place = (int(plan.object_id[index]), float(plan.ra[index]), float(plan.dec[index]))
            missing.append(Missing(plan.record.rounds[index], *place, wanted, given))
    return missing


def still_blind(project: Project) -> dict[str, int]:
    """Count by inspector the assigned objects that are not graded yet, fakes and duds included; without those at 0.

    Whoever is listed must not see a score or the grades of others. A project without a plan has no blind inspectors.

    Raises:
        ScannerError: ``inspect.damaged``, ``hunt.*``.
    """
    if not has_plan(project.folder):
        return {}
    ledger = open_ledger(project)
    left = {name: len(objects - ledger.graded(name)) for name, objects in ledger.plan.assigned.items()}
    return {name: count for name, count in left.items() if count}


def open_ledger(project: Project) -> Ledger:
    """Read the plan of a project, and what stands.

    Raises:
        ScannerError: ``inspect.no_plan``, ``inspect.damaged``, ``hunt.*``.
    """
    ledger = Ledger(Plan.of(project))
    ledger.refresh()
    return ledger


def status_table(project: Project) -> Table:
    """Make the table of progress: a row for each person, with assigned and graded objects and seconds an object.

    Raises:
        ScannerError: ``inspect.no_plan``, ``inspect.damaged``, ``hunt.*``.
    """
    from astropy.table import Table

    ledger = open_ledger(project)
    chairs = {one.name for one in Team(project.folder).inspectors if one.chair}
    conflicts = [one.inspector for one in ledger.conflicts()]
    rows = []
    for name in dict.fromkeys([*ledger.plan.inspectors, *ledger.people(), *sorted(chairs)]):
        assigned = ledger.plan.assigned.get(name, frozenset())
        done = ledger.graded(name)
        said = [one for index in sorted(done) if (one := ledger.said(name, index))]
        seconds = [one.blind.seconds for one in said if one.blind.seconds is not None]
        rows.append(
            (
                name,
                "chair" if name in chairs else "inspector",
                len(assigned),
                len(assigned & done),
                len(assigned - done),
                sum(one.revised is not None for one in said),
                conflicts.count(name),
                float(np.median(seconds)) if seconds else np.nan,
                max((one.blind.time for one in said), default=""),
            )
        )
    names = ("inspector", "role", "assigned", "graded", "left", "revised", "conflicts", "seconds", "last")
    kinds = (str, str, int, int, int, int, int, float, str)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    table = Table({name: np.array(one, kind) for name, one, kind in zip(names, columns, kinds, strict=True)})
    table["seconds"].unit = "s"
    return table

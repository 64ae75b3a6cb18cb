"""What a release needs of a project: each inspected object with all its grades, and what stands against publishing it.

An object that a triage put forward needs the grade of every inspector who is to grade it. Whoever owes a grade is still
blind: a release would show the grades of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT, close_pairs
from scanner.hunt.project import Project
from scanner.hunt.scheme import Grade
from scanner.hunt.verdicts import Verdict
from scanner.inspection.plan import has_plan
from scanner.inspection.record import BLIND, FINAL


@dataclass(frozen=True)
class InspectedObject:
    """An object of a project's rounds, in degrees, with the latest verdict of each inspector at both stages.

    ``truth`` is what a list that tests the inspectors knows it to be: a lens, a dud, or "" for nothing.

    ``models`` are the digests of the models whose catalogues listed it. ``final`` is the grade of a chair, if there is
    one. ``place`` is its first round and the row there; None where only verdicts speak of it.
    """

    object_id: int
    ra: float
    dec: float
    tile: str
    models: tuple[str, ...]
    rounds: tuple[int, ...]
    triage: Mapping[str, Verdict]
    grades: Mapping[str, Verdict]
    final: Verdict | None
    is_fake: bool
    place: tuple[int, int] | None
    truth: str = ""

    def is_put_forward(self, project: Project) -> bool:
        """Whether somebody's triage says that it is worth a grade, or somebody has graded it."""
        words = (project.scheme.mark(one.grade) for one in self.triage.values())
        return bool(self.grades) or any(mark == "kept" for mark in words)

    def mean(self, project: Project) -> float:
        """Compute the mean of the values of its grades; NaN where it has none with a value."""
        values = {one.name: one.value for one in project.scheme.grades if one.value is not None}
        given = [values[one.grade] for one in self.grades.values() if one.grade in values]
        return float(np.mean(given)) if given else float("nan")


@dataclass(frozen=True)
class MissingGrades:
    """An object that lacks grades, and the inspectors who owe them; none: nobody has judged it at all."""

    object: InspectedObject
    inspectors: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """A row of a round, or a verdict, whose ``place`` is None."""

    round: int
    place: int | None
    object_id: int
    tile: str
    ra: float
    dec: float
    model_sha256: str


Graders = Callable[[InspectedObject], tuple[str, ...]]
"""Names the inspectors who are to grade an object."""


def list_objects(project: Project) -> list[InspectedObject]:
    """List every object of all rounds once, in the order of the rounds; verdicts belong to the object at their place.

    Rounds that test the inspectors are left out. Of a team only blind grades count: not those that were given after
    those of others were seen, or in a round that one person graded before there was a plan.

    Raises:
        ScannerError: ``hunt.damaged``, ``hunt.not_saved``.
    """
    rounds = [project.round(number) for number in project.rounds()]
    tests = {one.number for one in rounds if one.record.truth}
    is_team = has_plan(project.folder)
    verdicts = [
        one
        for one in project.verdicts.standing()
        if one.round not in tests and not (is_team and one.stage == "grades" and one.view != BLIND)
    ]
    rows: list[_Row] = []
    for current in rounds:
        number = current.number
        if number in tests:
            continue
        ids, tiles, ras, decs = (current.place[name].tolist() for name in ("object_id", "tile", "ra", "dec"))
        model = current.record.model_sha256
        rows += [
            _Row(number, place, object_id, tile, ra, dec, model)
            for place, (object_id, tile, ra, dec) in enumerate(zip(ids, tiles, ras, decs, strict=True))
        ]
    listed = len(rows)
    # A verdict whose round is gone still says what it is about.
    rows += [_Row(one.round, None, one.object_id, one.tile, one.ra, one.dec, one.model_sha256) for one in verdicts]
    if not rows:
        return []
    # Few places are distinct, so few are compared: positions [N, 2] and the place of each row.
    places, place_of = np.unique(np.array([(row.ra, row.dec) for row in rows]), axis=0, return_inverse=True)
    place_of = place_of.reshape(-1)
    owner = np.arange(len(places))
    for one, other in close_pairs(places[:, 0], places[:, 1], SAME_OBJECT):
        owner[other] = min(owner[one], owner[other])
    groups: dict[int, list[int]] = {}
    for row, place in enumerate(place_of.tolist()):
        groups.setdefault(int(owner[place]), []).append(row)
    objects = [
        _object([rows[row] for row in group], [verdicts[row - listed] for row in group if row >= listed])
        for group in groups.values()
    ]
    ra, dec = (np.array([getattr(each, axis) for each in objects]) for axis in ("ra", "dec"))
    for current in rounds:
        # What was painted is no object of the sky, whatever stands at its place.
        if current.record.truth and not current.record.painted:
            there = current.place
            for at in np.flatnonzero(crossmatch.nearest(ra, dec, there["ra"], there["dec"], SAME_OBJECT).matched):
                objects[at] = replace(objects[at], truth=current.record.truth)
    return objects


def near_tests(project: Project, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Tell which positions [N] in degrees are of the system of a known lens or dud that tests the inspectors.

    Raises:
        ScannerError: ``hunt.damaged``.
    """
    near = np.zeros(len(np.atleast_1d(np.asarray(ra))), bool)
    for current in map(project.round, project.rounds()):
        if current.record.truth and not current.record.painted:
            there = current.place
            near |= crossmatch.nearest(ra, dec, there["ra"], there["dec"], ONE_SYSTEM).matched
    return near


def _object(rows: list[_Row], said: list[Verdict]) -> InspectedObject:
    first = rows[0]
    return InspectedObject(
        object_id=first.object_id,
        ra=first.ra,
        dec=first.dec,
        tile=first.tile,
        models=tuple(sorted({row.model_sha256 for row in rows})),
        rounds=tuple(sorted({row.round for row in rows})),
        # Oldest first, so that the latest verdict of an inspector stays.
        triage={one.inspector: one for one in said if one.stage == "triage"},
        grades={one.inspector: one for one in said if one.stage == "grades"},
        final=next((one for one in reversed(said) if one.stage == FINAL), None),
        is_fake=any(one.was_fake for one in said),
        place=None if first.place is None else (first.round, first.place),
    )


def all_graders(objects: list[InspectedObject]) -> Graders:
    """Let everybody who has graded anything grade every object."""
    names = tuple(sorted({name for one in objects for name in one.grades}))
    return lambda _: names


def ungraded(project: Project, objects: list[InspectedObject], graders: Graders | None = None) -> list[MissingGrades]:
    """List what lacks a verdict: objects that nobody looked at, and those put forward that lack somebody's grade."""
    expected = graders or all_graders(objects)
    owed = []
    for one in objects:
        if not one.triage and not one.grades:
            owed.append(MissingGrades(one, ()))
        elif one.is_put_forward(project):
            names = expected(one) or tuple(sorted(one.triage))
            missing = tuple(name for name in names if name not in one.grades)
            # Without a plan somebody must have graded it.
            if missing:
                owed.append(MissingGrades(one, missing))
    return owed


def blind(owed: list[MissingGrades]) -> list[str]:
    """Name the inspectors who owe grades: they must not see those of the others yet."""
    return sorted({name for one in owed for name in one.inspectors})


def grade_of(mean: float, grades: tuple[Grade, ...]) -> str:
    """Name the grade whose value is nearest to a mean; of two that are equally near, the lower. "" for NaN.

    With A = 3, B = 2, C = 1 and X = 0 that is A > 2.5 >= B > 1.5 >= C > 0.5 >= X.
    """
    valued = sorted((one.value, one.name) for one in grades if one.value is not None)
    if not valued or np.isnan(mean):
        return ""
    return min(valued, key=lambda one: (abs(one[0] - mean), one[0]))[1]

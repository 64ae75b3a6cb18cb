"""The plan of a project, ``plan.json``: which objects are graded, by whom, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.atomic import write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.sky import crossmatch
from catalogs.sky.geometry import SAME_OBJECT, separation
from catalogs.store.tile_checks import describe_error
from scanner.hunt.project import Project
from scanner.hunt.round import Round
from scanner.hunt.verdicts import Verdict
from scanner.inspection import TRUTHS

LENS, DUD = TRUTHS
FILE = "plan.json"
VERSION = 1


@dataclass(frozen=True)
class PlanRecord:
    """``plan.json``: object k is ``numbers[k]`` of round ``rounds[k]``; ``assignments`` list such k by inspector.

    ``lists`` are the rounds that it was made of; what several of them hold is graded in the first that has it. Objects
    are only ever added at the end, so that k stays. Every inspector has an order of their own.
    """

    version: int
    id: str
    created: str
    seed: int
    graders: int
    feedback: bool
    lists: tuple[int, ...]
    rounds: tuple[int, ...]
    numbers: tuple[int, ...]
    assignments: Mapping[str, tuple[int, ...]]


class Plan:
    """The plan of a project, with what it needs of the rounds: places and truths of its K objects.

    ``is_listed`` [K] are objects of a search; all others are there to test the inspectors alone.
    """

    def __init__(self, project: Project, record: PlanRecord) -> None:
        self.project, self.record = project, record
        self._told: dict[int, tuple[Round, int]] = {}
        self._keys: dict[str, dict[str, int]] = {}
        self.assigned = {name: frozenset(objects) for name, objects in record.assignments.items()}
        rounds = np.array(record.rounds, np.int64)
        numbers = np.array(record.numbers, np.int64)
        self.object_id, self.painted = np.zeros(len(rounds), np.int64), np.zeros(len(rounds), bool)
        self.ra, self.dec = np.zeros(len(rounds)), np.zeros(len(rounds))
        self.truth, self.is_listed = np.full(len(rounds), "", "U4"), np.zeros(len(rounds), bool)
        for number in np.unique(rounds).tolist():
            one, here = project.round(number), np.flatnonzero(rounds == number)
            if numbers[here].max(initial=-1) >= len(one):
                raise _damaged(project.folder, f"round {number} has fewer objects than the plan")
            for name in ("object_id", "ra", "dec"):
                getattr(self, name)[here] = one.place[name][numbers[here]]
            self.truth[here], self.painted[here] = one.record.truth, one.record.painted
            self.is_listed[here] = not one.record.truth
        # A known lens that is a candidate as well is both a test and a part of the result.
        for one in map(project.round, record.lists):
            if one.record.truth and not one.record.painted:
                found = crossmatch.nearest(self.ra, self.dec, one.place["ra"], one.place["dec"], SAME_OBJECT)
                near = np.flatnonzero(found.matched & ~self.painted).tolist()
                self.truth[near] = one.record.truth
                self._told |= {index: (one, int(found.index[index])) for index in near}

    @classmethod
    def of(cls, project: Project) -> Plan:
        """Read the plan of a project.

        Raises:
            ScannerError: ``inspect.no_plan``, ``inspect.damaged``, ``hunt.missing``, ``hunt.damaged``.
        """
        path = project.folder / FILE
        try:
            record = read_record(load_json(path), PlanRecord)
            _check(record)
        except FileNotFoundError as error:
            hint = "Make one with: scanner inspect plan PROJECT"
            raise ScannerError(ErrorCode.INSPECT_NO_PLAN, f"{project.folder} has no plan yet.", hint) from error
        except (OSError, ValueError) as error:
            raise _damaged(project.folder, describe_error(error)) from error
        return cls(project, record)

    def __len__(self) -> int:
        return len(self.record.rounds)

    @property
    def inspectors(self) -> tuple[str, ...]:
        """Those who have assignments."""
        return tuple(self.record.assignments)

    @property
    def is_test(self) -> NDArray[np.bool_]:
        """Which objects [K] test the inspectors: fakes and duds."""
        return np.asarray(self.truth != "")

    @property
    def is_lens(self) -> NDArray[np.bool_]:
        """Which objects [K] are known to be lenses, or have one painted."""
        return np.asarray(self.truth == LENS)

    @property
    def is_dud(self) -> NDArray[np.bool_]:
        """Which objects [K] are known not to be lenses."""
        return np.asarray(self.truth == DUD)

    def place(self, index: int) -> tuple[Round, int]:
        """The round of an object, and its number there."""
        return self.project.round(self.record.rounds[index]), self.record.numbers[index]

    def told(self, index: int) -> tuple[Round, int]:
        """The round of an object whose truth is known, and its number there, that tells the truth and what it is."""
        return self._told.get(index) or self.place(index)

    def key(self, inspector: str, index: int) -> str:
        """The name of an object towards one inspector, which tells neither its round nor whether it is a fake."""
        return hashlib.sha256(f"{self.record.id} {inspector} {index}".encode()).hexdigest()[:20]

    def by_key(self, inspector: str) -> Mapping[str, int]:
        """The objects of an inspector by their keys."""
        if inspector not in self._keys:
            mine = self.record.assignments.get(inspector, ())
            self._keys[inspector] = {self.key(inspector, index): index for index in mine}
        return self._keys[inspector]

    @cached_property
    def _indices(self) -> dict[tuple[int, int], int]:
        places = zip(self.record.rounds, self.object_id.tolist(), strict=True)
        return {place: index for index, place in enumerate(places)}

    def index_of(self, verdict: Verdict) -> int:
        """Find the object that a verdict is about, by its id in its round or else by its position; -1 for none."""
        index = self._indices.get((verdict.round, verdict.object_id), -1)
        if index >= 0 and self.painted[index] == verdict.was_fake:
            return index
        away = separation(self.ra, self.dec, verdict.ra, verdict.dec)
        away = np.where(self.painted == verdict.was_fake, away, np.inf)
        nearest = int(np.argmin(away)) if len(away) else -1
        return nearest if nearest >= 0 and away[nearest] <= SAME_OBJECT else -1


def has_plan(folder: Path) -> bool:
    """Whether a project is that of a team."""
    return (folder / FILE).is_file()


def write_plan(folder: Path, record: PlanRecord) -> None:
    """Write ``plan.json``, whole or not at all."""
    write_json(folder / FILE, asdict(record))


def _check(record: PlanRecord) -> None:
    if record.version != VERSION:
        raise ValueError(f"its version is {record.version}, not {VERSION}")
    if len(record.rounds) != len(record.numbers) or min(record.numbers, default=0) < 0:
        raise ValueError("its lists of rounds and numbers do not fit")
    for name, objects in record.assignments.items():
        if len(set(objects)) < len(objects) or not all(0 <= one < len(record.rounds) for one in objects):
            raise ValueError(f"the assignments of {name} are not a list of its objects")


def _damaged(folder: Path, why: str) -> ScannerError:
    message = f"{folder / FILE} cannot be used: {why}."
    return ScannerError(ErrorCode.INSPECT_DAMAGED, message, "Copy the project again, with all its rounds.")

"""The ledger: what stands of each object of a plan by each inspector, kept up to date with the record."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass

from scanner.hunt.verdicts import Verdict
from scanner.inspection.plan import Plan
from scanner.inspection.record import BLIND, FINAL, REVISED, InspectionRecord


@dataclass(frozen=True)
class Said:
    """What one inspector said of an object: the ``blind`` grade, and the one after seeing what others say."""

    blind: Verdict
    revised: Verdict | None = None
    seen: bool = False


@dataclass(frozen=True)
class Conflict:
    """Two verdicts of one inspector about object ``index``, given on two copies, of which neither is the later one."""

    index: int
    inspector: str
    first: Verdict
    second: Verdict


class Ledger:
    """What stands, from a record to which rows are only added: each refresh reads the new ones. Threads may share it.

    Only blind grades of a team count for its agreement. What the same person said later, or as the only user of a
    project, stays in the record.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.record = InspectionRecord(plan.project.folder)
        self._lock = threading.Lock()
        self._last = 0
        self._rows: dict[int, Verdict] = {}
        self._by_place: dict[tuple[str, int], list[int]] = defaultdict(list)
        self._finals: dict[int, list[int]] = defaultdict(list)
        self._withdrawn: set[int] = set()
        self._seen: set[str] = set()
        self._conflicts: list[tuple[str, str]] = []

    def refresh(self) -> None:
        """Read what was added since."""
        with self._lock:
            for verdict, withdraws in self.record.every(self._last):
                self._last = verdict.id
                if withdraws is not None:
                    self._withdrawn.add(withdraws)
                elif verdict.stage == FINAL or verdict.view in (BLIND, REVISED):
                    index = self.plan.index_of(verdict)
                    if index < 0:
                        continue
                    self._rows[verdict.id] = verdict
                    if verdict.stage == FINAL:
                        self._finals[index].append(verdict.id)
                    else:
                        self._by_place[verdict.inspector, index].append(verdict.id)
            self._seen = {one.verdict for one in self.record.reveals()}
            self._conflicts = self.record.conflicts()

    @property
    def state(self) -> tuple[int, int]:
        """What changes when something is added: the last row, and the number of conflicts."""
        return self._last, len(self._conflicts)

    def newest(self, inspector: str) -> tuple[int, Verdict] | None:
        """The newest verdict of an inspector that stands, with its object."""
        mine = [(one, index) for (name, index), ids in list(self._by_place.items()) if name == inspector for one in ids]
        standing = [(one, index) for one, index in mine if one not in self._withdrawn]
        if not standing:
            return None
        one, index = max(standing)
        return index, self._rows[one]

    def people(self) -> list[str]:
        """Those who graded something, in the order of their first grade."""
        return list(dict.fromkeys(name for name, _ in self._by_place))

    def said(self, inspector: str, index: int) -> Said | None:
        """What an inspector says of an object; None before the first grade."""
        standing = [self._rows[one] for one in self._by_place.get((inspector, index), ()) if one not in self._withdrawn]
        blind = [one for one in standing if one.view == BLIND]
        if not blind:
            return None
        revised = [one for one in standing if one.view == REVISED]
        seen = any(one.uuid in self._seen for one in standing)
        return Said(blind[-1], revised[-1] if revised else None, seen)

    def graded(self, inspector: str) -> set[int]:
        """The objects that an inspector has graded."""
        return {index for name, index in list(self._by_place) if name == inspector and self.said(name, index)}

    def by(self, index: int) -> dict[str, Said]:
        """What all inspectors say of an object."""
        people = dict.fromkeys([*self.plan.inspectors, *self.people()])
        return {name: said for name in people if (said := self.said(name, index))}

    def final(self, index: int) -> Verdict | None:
        """The final grade of an object, if a chair has given one."""
        standing = [one for one in self._finals.get(index, ()) if one not in self._withdrawn]
        return self._rows[standing[-1]] if standing else None

    def conflicts(self) -> list[Conflict]:
        """The conflicts that are not settled: neither verdict is withdrawn, and the inspector gave no later one."""
        by_uuid = {one.uuid: one for one in self._rows.values()}
        open_ = []
        for first, second in self._conflicts:
            one, other = by_uuid.get(first), by_uuid.get(second)
            if one is None or other is None or {one.id, other.id} & self._withdrawn:
                continue
            index = self.plan.index_of(one)
            of_object = self._finals[index] if one.stage == FINAL else self._by_place[one.inspector, index]
            if of_object[-1] <= max(one.id, other.id):
                open_.append(Conflict(index, one.inspector, one, other))
        return open_

"""The ledger: what stands of each object of a plan by each inspector, kept up to date with the record."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True)
class _Rows:
    """What a record says up to the row ``last``: verdicts and their ids, oldest first. Nothing of it ever changes."""

    last: int = 0
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    by_place: Mapping[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    finals: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    withdrawn: AbstractSet[int] = frozenset()
    seen: AbstractSet[str] = frozenset()
    conflicts: Sequence[tuple[str, str]] = ()

    def standing(self, ids: Sequence[int]) -> list[Verdict]:
        """List those verdicts of ``ids`` that nobody withdrew."""
        return [self.verdicts[one] for one in ids if one not in self.withdrawn]


class Ledger:
    """What stands, from a record to which rows are only added: each refresh reads the new ones. Threads may share it.

    Only blind grades of a team count for its agreement. What the same person said later, or as the only user of a
    project, stays in the record.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.record = InspectionRecord(plan.project.folder)
        self._lock = threading.Lock()
        # Replaced and never changed, so that readers need no lock: each takes it once.
        self._rows = _Rows()

    def refresh(self) -> None:
        """Read what was added since."""
        with self._lock:
            rows = self._with_added(self._rows)
            # Read after the rows that they name.
            seen = frozenset(one.verdict for one in self.record.reveals())
            self._rows = replace(rows, seen=seen, conflicts=tuple(self.record.conflicts()))

    def _with_added(self, rows: _Rows) -> _Rows:
        added = self.record.every(rows.last)
        if not added:
            return rows
        verdicts, withdrawn = dict(rows.verdicts), set(rows.withdrawn)
        by_place, finals = dict(rows.by_place), dict(rows.finals)
        for verdict, withdraws in added:
            if withdraws is not None:
                withdrawn.add(withdraws)
            elif verdict.stage == FINAL or verdict.view in (BLIND, REVISED):
                index = self.plan.index_of(verdict)
                if index < 0:
                    continue
                verdicts[verdict.id] = verdict
                if verdict.stage == FINAL:
                    finals[index] = (*finals.get(index, ()), verdict.id)
                else:
                    place = verdict.inspector, index
                    by_place[place] = (*by_place.get(place, ()), verdict.id)
        return replace(
            rows, last=added[-1][0].id, verdicts=verdicts, by_place=by_place, finals=finals, withdrawn=withdrawn
        )

    def freeze(self) -> Ledger:
        """Return the ledger as it stands now: a refresh of this one does not change it, so that its answers agree."""
        return copy.copy(self)

    @property
    def state(self) -> tuple[int, int]:
        """What changes when something is added: the last row, and the number of conflicts."""
        rows = self._rows
        return rows.last, len(rows.conflicts)

    def newest_batch(self, inspector: str) -> list[tuple[int, Verdict]]:
        """List what an undo withdraws: the newest batch of an inspector that stands, each verdict with its object."""
        rows = self._rows
        mine = [(index, rows.standing(ids)) for (name, index), ids in rows.by_place.items() if name == inspector]
        standing = [(index, verdict) for index, verdicts in mine for verdict in verdicts]
        newest = max((verdict for _, verdict in standing), key=lambda one: one.id, default=None)
        return [(index, verdict) for index, verdict in standing if newest and verdict.batch == newest.batch]

    def people(self) -> list[str]:
        """Those who graded something, in the order of their first grade."""
        return list(dict.fromkeys(name for name, _ in self._rows.by_place))

    def said(self, inspector: str, index: int) -> Said | None:
        """What an inspector says of an object; None before the first grade."""
        rows = self._rows
        standing = rows.standing(rows.by_place.get((inspector, index), ()))
        blind = [one for one in standing if one.view == BLIND]
        if not blind:
            return None
        revised = [one for one in standing if one.view == REVISED]
        seen = any(one.uuid in rows.seen for one in standing)
        return Said(blind[-1], revised[-1] if revised else None, seen)

    def graded(self, inspector: str) -> set[int]:
        """The objects that an inspector has graded."""
        return {index for name, index in self._rows.by_place if name == inspector and self.said(name, index)}

    def by(self, index: int) -> dict[str, Said]:
        """What all inspectors say of an object."""
        people = dict.fromkeys([*self.plan.inspectors, *self.people()])
        return {name: said for name in people if (said := self.said(name, index))}

    def final(self, index: int) -> Verdict | None:
        """The final grade of an object, if a chair has given one."""
        rows = self._rows
        standing = rows.standing(rows.finals.get(index, ()))
        return standing[-1] if standing else None

    def conflicts(self) -> list[Conflict]:
        """The conflicts that are not settled: neither verdict is withdrawn, and no later one stands."""
        rows = self._rows
        by_uuid = {one.uuid: one for one in rows.verdicts.values()}
        open_ = []
        for first, second in rows.conflicts:
            one, other = by_uuid.get(first), by_uuid.get(second)
            if one is None or other is None or {one.id, other.id} & rows.withdrawn:
                continue
            index = self.plan.index_of(one)
            ids = rows.finals[index] if one.stage == FINAL else rows.by_place[one.inspector, index]
            if rows.standing(ids)[-1].id <= max(one.id, other.id):
                open_.append(Conflict(index, one.inspector, one, other))
        return open_

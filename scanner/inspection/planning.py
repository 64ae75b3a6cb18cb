"""Planning: objects are dealt to inspectors by a seed; a plan that exists is kept, and completed."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT, close_pairs
from scanner.hunt.project import Project
from scanner.hunt.round import Round
from scanner.inspection.ledger import Ledger
from scanner.inspection.plan import VERSION, Plan, PlanRecord, has_plan, write_plan
from scanner.inspection.team import Team


@dataclass(frozen=True)
class Wish:
    """What a plan should be; None keeps what the plan has, or takes all rounds, all inspectors, seed 1.

    ``graders`` is the number of inspectors an object. With ``redeal`` what nobody has graded yet is dealt anew, such as
    after somebody joined.
    """

    graders: int | None = None
    rounds: tuple[int, ...] | None = None
    inspectors: tuple[str, ...] | None = None
    seed: int | None = None
    feedback: bool | None = None
    redeal: bool = False


def make_plan(project: Project, wish: Wish) -> Plan:
    """Make the plan of a project, or complete the one that it has, and write it.

    Objects of several rounds are graded once. Fakes and duds are assigned to everybody. Assignments stay as they are
    unless the inspector has left the plan, or an object has more graders than it should and these have not graded it.
    A galaxy is not served both as it is and with something painted on it: a candidate takes the place of the fake, and
    ``count_withheld`` counts what is left out. The same wish changes nothing.

    Raises:
        ScannerError: ``inspect.bad_plan``, ``inspect.bad_inspector``, ``inspect.damaged``, ``hunt.*``.
    """
    before = Plan.of(project) if has_plan(project.folder) else None
    old = before.record if before else None
    team = Team(project.folder)
    names = _names(team, wish.inspectors, old)
    graders = wish.graders or (old.graders if old else len(names))
    _check(project, names, graders)
    seed = wish.seed if wish.seed is not None else old.seed if old else 1
    if old and seed != old.seed:
        message = f"The plan was made with seed {old.seed}, and its order stays."
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, message, f"Give --seed {old.seed}, or none.")
    lists, rounds, numbers = _objects(project, wish.rounds, old)
    feedback = wish.feedback if wish.feedback is not None else old.feedback if old else False
    record = PlanRecord(
        version=VERSION,
        id=old.id if old else uuid.uuid4().hex,
        created=old.created if old else datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        graders=graders,
        feedback=feedback,
        lists=lists,
        rounds=rounds,
        numbers=numbers,
        assignments=old.assignments if old else {},
    )
    plan = Plan(project, record)
    graded = _graded(plan)
    dealt = _deal(plan, names, graded, wish.redeal)
    # Those who left keep what they have graded, so that their grades count.
    orders = {name: order(seed, name, objects) for name, objects in dealt.items() if objects or name in names}
    made = PlanRecord(**{**vars(record), "assignments": orders})
    if made != old:
        write_plan(project.folder, made)
    return Plan(project, made)


def count_withheld(plan: Plan) -> dict[int, int]:
    """Count by round the tests that nobody is assigned, since the same galaxy is served with or without paint.

    Rounds without such objects are left out.
    """
    served = np.zeros(len(plan), bool)
    served[sorted(set().union(*plan.assigned.values()))] = True
    counts = {}
    for one in map(plan.project.round, plan.record.lists):
        if not one.record.truth:
            continue
        same = plan.painted == one.record.painted
        ra, dec, here, other = one.place["ra"], one.place["dec"], same & served, ~same & served
        is_served = crossmatch.nearest(ra, dec, plan.ra[here], plan.dec[here], SAME_OBJECT).matched
        is_shared = crossmatch.nearest(ra, dec, plan.ra[other], plan.dec[other], ONE_SYSTEM).matched
        counts[one.number] = int((is_shared & ~is_served).sum())
    return {number: count for number, count in counts.items() if count}


def count_shared(project: Project, painted: Round) -> int:
    """Count the objects of a painted round whose galaxy is on a list without paint, so that a plan withholds them."""
    shared = np.zeros(len(painted), bool)
    for one in map(project.round, project.rounds()):
        if not one.record.painted:
            here, there = painted.place, one.place
            shared |= crossmatch.nearest(here["ra"], here["dec"], there["ra"], there["dec"], ONE_SYSTEM).matched
    return int(shared.sum())


def order(seed: int, name: str, objects: Sequence[int] | set[int]) -> tuple[int, ...]:
    """Put objects in the order of an inspector, in which more of them do not change that of the others."""
    # Each object has a random number of its own, by inspector.
    who = zlib.crc32(name.encode())
    return tuple(sorted(objects, key=lambda one: (np.random.SeedSequence([seed, who, one]).generate_state(1)[0], one)))


def _names(team: Team, wished: tuple[str, ...] | None, old: PlanRecord | None) -> tuple[str, ...]:
    if wished is None:
        return team.names
    for name in wished:
        if team.named(name).chair:
            message = f"{name} is a chair, who sees all grades."
            raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, message, "Invite the person under another name to grade.")
    return tuple(dict.fromkeys(wished))


def _check(project: Project, names: tuple[str, ...], graders: int) -> None:
    if not names:
        hint = "Add inspectors with: scanner inspect invite PROJECT NAME"
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, "The project has no inspector yet.", hint)
    if not 1 <= graders <= len(names):
        message = f"{graders} graders an object cannot be had from {len(names)} inspectors."
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, message, "Give fewer --graders, or invite more inspectors.")
    without = [one.name for one in project.scheme.grades if one.value is None]
    if without:
        message = f"The grade {without[0]} of the scheme has no value, so that a mean grade has none."
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, message, "Give each grade in scheme.toml a value.")


def _objects(project: Project, wished: tuple[int, ...] | None, old: PlanRecord | None) -> tuple[tuple[int, ...], ...]:
    """List the rounds of the plan, then its objects as rounds and numbers: those it has, and new ones."""
    chosen = wished if wished is not None else tuple(project.rounds())
    lists = tuple(sorted({*(old.lists if old else ()), *chosen}))
    if not lists:
        hint = "Add a list with: scanner hunt PROJECT --list CANDIDATES"
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, "The project has no list of objects yet.", hint)
    rounds, numbers = list(old.rounds if old else ()), list(old.numbers if old else ())
    frames = {(one.frame, one.record.model_sha256): one.number for one in map(project.round, lists)}
    if len(frames) > 1:
        first, second, *_ = frames.values()
        message = f"Rounds {first} and {second} are of different models, and their objects would tell so."
        raise ScannerError(ErrorCode.INSPECT_BAD_PLAN, message, "Choose lists of one catalogue model with --round.")
    # Lists of a search come first, so that a known lens among the candidates is graded as one of them.
    for number in sorted(lists, key=lambda one: (project.round(one).record.truth != "", one)):
        there = np.flatnonzero(_is_new(project, number, rounds, numbers))
        rounds += [number] * len(there)
        numbers += there.tolist()
    return lists, tuple(rounds), tuple(numbers)


def _is_new(project: Project, number: int, rounds: list[int], numbers: list[int]) -> NDArray[np.bool_]:
    """Tell which objects of a round are new: not listed yet, not twice here, no test that would give another away."""
    here = project.round(number)
    ra, dec = here.place["ra"], here.place["dec"]
    new = np.ones(len(here), bool)
    for other in set(rounds):
        there = project.round(other)
        at = np.array([one for which, one in zip(rounds, numbers, strict=True) if which == other], np.int64)
        if there.record.painted == here.record.painted:
            reach = SAME_OBJECT
        elif here.record.truth:
            # A galaxy that is shown with an arc and without it would give the fake away.
            reach = ONE_SYSTEM
        else:
            # The grade of a candidate is needed, whatever was painted on it before.
            continue
        new &= ~crossmatch.nearest(ra, dec, there.place["ra"][at], there.place["dec"][at], reach).matched
    # Of copies of one object the first is taken.
    for one, copy in close_pairs(ra, dec, SAME_OBJECT):
        new[copy] &= not new[one]
    return new


def _graded(plan: Plan) -> dict[str, set[int]]:
    ledger = Ledger(plan)
    ledger.refresh()
    return {name: ledger.graded(name) for name in ledger.people()}


def _deal(plan: Plan, names: tuple[str, ...], graded: dict[str, set[int]], redeal: bool) -> dict[str, set[int]]:
    """Deal the objects: those with the fewest left to grade come first, and a seed decides between equals."""
    has = {name: set(objects) for name, objects in plan.record.assignments.items()}
    dealt: dict[str, set[int]] = {name: set() for name in (*plan.record.assignments, *names)}
    for name, objects in has.items():
        done = objects & graded.get(name, set())
        dealt[name] = done if redeal or name not in names else objects
    load = {name: len(dealt[name] - graded.get(name, set())) for name in names}
    # A candidate that was listed after its galaxy was served painted: the fake goes to nobody else.
    real = ~plan.painted
    is_shared = crossmatch.nearest(plan.ra, plan.dec, plan.ra[real], plan.dec[real], ONE_SYSTEM).matched
    random = np.random.default_rng([plan.record.seed, len(plan)])
    for index in random.permutation(len(plan)).tolist():
        mine = [name for name in dealt if index in dealt[name]]
        wanted = len(names) if plan.is_test[index] else plan.record.graders
        wanted = 0 if plan.painted[index] and is_shared[index] else wanted
        # Surplus graders who have not graded it yet are let go, the busiest first.
        open_ = sorted((one for one in mine if index not in graded.get(one, set())), key=lambda one: -load.get(one, 0))
        for name in open_[: max(len(mine) - wanted, 0)]:
            dealt[name].discard(index)
            load[name] = load.get(name, 0) - 1
        draw = random.permutation(len(names)).tolist()
        free = [names[at] for at in draw if index not in dealt[names[at]]]
        for name in sorted(free, key=lambda one: load[one])[: max(wanted - len(mine), 0)]:
            dealt[name].add(index)
            load[name] += index not in graded.get(name, set())
    return dealt

"""Merging copies: no verdict twice, none lost, conflicts named, whatever the clocks of laptops say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.project import Project
from scanner.inspection.consensus import Consensus
from scanner.inspection.merge import Merge, merge
from scanner.inspection.plan import Plan
from scanner.inspection.planning import Wish, make_plan
from scanner.inspection.progress import missing_grades, open_ledger, still_blind
from scanner.inspection.record import CHAIR, FINAL, InspectionRecord
from tests.support import team_project

NAMES = ("ann", "bob", "cid")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return team_project.project(tmp_path_factory.mktemp("whole") / "main")[0]


def copy(project: Project, name: str) -> Project:
    return Project(Path(shutil.copytree(project.folder, project.folder.with_name(name))))


def uuids(project: Project) -> list[str]:
    return [one.uuid for one, _ in project.verdicts.every()]


def standing(project: Project) -> dict[tuple[str, int], str]:
    ledger = open_ledger(project)
    people = {(name, index): ledger.said(name, index) for name in NAMES for index in range(len(ledger.plan))}
    return {key: said.blind.grade for key, said in people.items() if said}


def test_three_laptops_come_back_and_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main", candidates=8, graders=2)
    team_project.say(project, "ann", {Plan.of(project).record.assignments["ann"][0]: "C"})
    laptops = {name: copy(project, f"laptop-{name}") for name in NAMES}
    expected = standing(project)
    for name, laptop in laptops.items():
        words = {index: "ABCX"[index % 4] for index in Plan.of(laptop).record.assignments[name]}
        team_project.say(laptop, name, words)
        # A slip of the finger is taken back, and graded anew.
        last = list(words)[-1]
        laptop.verdicts.undo(name, f"undo-{name}")
        team_project.say(laptop, name, {last: "B"})
        expected |= {(name, index): grade for index, grade in words.items()} | {(name, last): "B"}
    team_project.say(project, "ann", {Plan.of(project).record.assignments["ann"][0]: "C"})
    before = {name: uuids(laptop) for name, laptop in laptops.items()}
    reports = [merge(project, laptop.folder) for laptop in laptops.values()]
    assert [one.added for one in reports] == [len(one) - 1 for one in before.values()]
    assert [one.known for one in reports] == [1, 1, 1]
    assert [one.conflicts for one in reports[1:]] == [(), ()]
    assert set().union(*before.values()) <= set(uuids(project))
    assert len(set(uuids(project))) == len(uuids(project))
    settled = {(one.inspector, one.index) for one in reports[0].conflicts}
    assert {key: word for key, word in standing(project).items() if key not in settled} == {
        key: word for key, word in expected.items() if key not in settled
    }
    assert {name: uuids(laptop) for name, laptop in laptops.items()} == before, "copies stay as they are"
    # The same again adds nothing, in whatever order, and through another copy as well.
    for laptop in reversed(laptops.values()):
        assert merge(project, laptop.folder).added == 0
    third = copy(project, "third")
    merged: Merge = merge(third, laptops["ann"].folder)
    assert (merged.added, merge(project, third.folder).added) == (0, 0)
    assert still_blind(project) == {}


def test_grades_that_contradict_each_other_are_a_conflict_until_the_inspector_settles_it(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main", candidates=2, graders=3)
    one, other = copy(project, "one"), copy(project, "other")
    for name in NAMES:
        team_project.say(project, name, {1: "B"})
    team_project.say(project, "bob", {0: "B"})
    team_project.say(project, "cid", {0: "B"})
    team_project.say(one, "ann", {0: "A", 1: "B"})
    team_project.say(other, "ann", {0: "X"}, class_="spiral")
    assert merge(project, one.folder).conflicts == ()
    (conflict,) = merge(project, other.folder).conflicts
    assert (conflict.inspector, conflict.index) == ("ann", 0)
    assert (conflict.first.grade, conflict.second.grade) == ("A", "X")
    # Neither counts, though both stay in the record.
    consensus = Consensus.of(project)
    assert consensus.count.tolist() == [2, 3]
    assert [one.given for one in missing_grades(project)] == [2]
    # It is still one after the project itself was copied on.
    further = copy(project, "further")
    assert len(Consensus.of(further).conflicts) == 1
    team_project.say(project, "ann", {0: "C"})
    assert Consensus.of(project).conflicts == []
    assert missing_grades(project) == []
    assert standing(project)["ann", 0] == "C"


def test_a_later_grade_by_one_who_knows_of_the_first_is_no_conflict(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main", candidates=2)
    team_project.say(project, "ann", {0: "A"})
    laptop = copy(project, "laptop")
    team_project.say(laptop, "ann", {0: "X"})
    assert merge(project, laptop.folder).conflicts == ()
    assert standing(project)["ann", 0] == "X"
    # And an undo on the laptop reaches what was graded before it left.
    again = copy(project, "again")
    again.verdicts.undo("ann", "undo-0001")
    merge(project, again.folder)
    assert standing(project)["ann", 0] == "A"


def test_two_chairs_who_contradict_each_other_are_a_conflict(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main", chairs=("eve", "fay"))
    laptop = copy(project, "laptop")
    team_project.say(project, "eve", {0: "A"}, view=CHAIR, stage=FINAL)
    team_project.say(laptop, "fay", {0: "X"}, view=CHAIR, stage=FINAL)
    (conflict,) = merge(project, laptop.folder).conflicts
    assert (conflict.index, conflict.first.grade, conflict.second.grade) == (0, "A", "X")
    assert len(open_ledger(project).conflicts()) == 1
    team_project.say(project, "eve", {0: "B"}, view=CHAIR, stage=FINAL)
    assert open_ledger(project).conflicts() == []


def test_what_was_revealed_on_a_laptop_comes_back(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main")
    laptop = copy(project, "laptop")
    (said,) = team_project.say(laptop, "ann", {0: "A"})
    InspectionRecord(laptop.folder).reveal("reveal-1", "ann", said.uuid)
    merge(project, laptop.folder)
    found = open_ledger(project).said("ann", 0)
    assert found is not None
    assert found.seen


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (timedelta(days=400), "later than now"),
        (timedelta(days=-400), "before the project was planned"),
    ],
)
def test_a_wrong_clock_is_refused_by_name_and_can_be_overruled(tmp_path: Path, offset: timedelta, words: str) -> None:
    project, _ = team_project.project(tmp_path / "main")
    laptop = copy(project, "laptop")
    time = (datetime.now(UTC) + offset).isoformat(timespec="milliseconds")
    team_project.say(laptop, "ann", {0: "A"}, time=time)
    with pytest.raises(ScannerError, match=words) as caught:
        merge(project, laptop.folder)
    assert caught.value.code == ErrorCode.INSPECT_CLOCK
    assert uuids(project) == [], "a refused copy leaves nothing behind"
    assert merge(project, laptop.folder, any_clock=True).added == 1


def test_a_clock_that_jumps_back_is_refused_and_does_not_decide_what_is_later(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main")
    # The plan is older than what follows.
    path = project.folder / "plan.json"
    created = Plan.of(project).record.created
    path.write_text(path.read_text().replace(created, "2020-01-01T00:00:00+00:00"))
    laptop = copy(project, "laptop")
    team_project.say(laptop, "ann", {0: "A"}, time="2024-05-01T12:00:00.000+00:00")
    team_project.say(laptop, "ann", {0: "X"}, time="2022-05-01T12:00:00.000+00:00")
    with pytest.raises(ScannerError, match="although the verdict before it is of 2024-05-01") as caught:
        merge(project, laptop.folder)
    assert caught.value.code == ErrorCode.INSPECT_CLOCK
    merge(project, laptop.folder, any_clock=True)
    assert standing(project)["ann", 0] == "X", "what was said last stands"
    # Rows of several laptops in one copy have several clocks, and are no jump.
    fresh = copy(project, "fresh")
    other = copy(project, "other")
    team_project.say(fresh, "bob", {0: "A"}, time="2024-06-01T12:00:00.000+00:00")
    team_project.say(other, "cid", {0: "A"}, time="2024-05-02T12:00:00.000+00:00")
    merge(fresh, other.folder)
    assert merge(project, fresh.folder).added == 2


def plan_anew(folder: Path) -> None:
    (folder / "plan.json").unlink()
    make_plan(Project(folder), Wish())


def plan_further(folder: Path) -> None:
    project = Project(folder)
    project.add_round(team_project.table(2, 50), "more", "list", team_project.INFO)
    make_plan(project, Wish())


def damage_record(folder: Path) -> None:
    for path in folder.glob("verdicts.sqlite*"):
        path.unlink()
    (folder / "verdicts.sqlite").write_bytes(b"no database" * 100)


def replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (plan_anew, ErrorCode.INSPECT_OTHER_PROJECT),
        (plan_further, ErrorCode.INSPECT_OTHER_PROJECT),
        (replace("scheme.toml", 'name = "spiral"', 'name = "whirl"'), ErrorCode.INSPECT_OTHER_PROJECT),
        (replace("rounds/1/round.json", "a" * 64, "c" * 64), ErrorCode.INSPECT_OTHER_PROJECT),
        (lambda folder: (folder / "plan.json").unlink(), ErrorCode.INSPECT_NO_PLAN),
        (lambda folder: (folder / "plan.json").write_text("{"), ErrorCode.INSPECT_DAMAGED),
        (lambda folder: (folder / "verdicts.sqlite").unlink(), ErrorCode.HUNT_DAMAGED),
        (damage_record, ErrorCode.HUNT_DAMAGED),
        (lambda folder: (folder / "project.json").unlink(), ErrorCode.HUNT_MISSING),
        (lambda folder: shutil.rmtree(folder / "rounds" / "1"), ErrorCode.HUNT_MISSING),
        (lambda folder: (folder / "rounds" / "1" / "objects.parquet").unlink(), ErrorCode.HUNT_DAMAGED),
        (lambda folder: team_project.say(Project(folder), "zed", {0: "A"}), ErrorCode.INSPECT_BAD_INSPECTOR),
        (lambda folder: team_project.say(Project(folder), "ann", {0: "A"}, time="soon"), ErrorCode.HUNT_DAMAGED),
    ],
)
def test_what_is_no_copy_is_refused_by_name(
    whole: Project, tmp_path: Path, damage: Callable[[Path], object], code: ErrorCode
) -> None:
    laptop = Path(shutil.copytree(whole.folder, tmp_path / "laptop"))
    damage(laptop)
    with pytest.raises(ScannerError) as caught:
        merge(whole, laptop)
    assert caught.value.code == code
    assert "laptop" in caught.value.message or code == ErrorCode.HUNT_MISSING
    assert uuids(whole) == []


def test_a_project_is_not_merged_with_itself(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "main")
    with pytest.raises(ScannerError, match="the project itself"):
        merge(project, tmp_path / "main" / ".." / "main")

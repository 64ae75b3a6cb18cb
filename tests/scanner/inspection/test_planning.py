"""Planning: who grades what, how many an object, in an order by seed; completed when people and objects are added."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.project import Project
from scanner.inspection.plan import FILE, Plan
from scanner.inspection.planning import Wish, count_shared, count_withheld, make_plan
from scanner.inspection.progress import missing_grades, open_ledger, status_table, still_blind
from scanner.inspection.team import Team, invite
from tests.support import team_project

SIX = ("ann", "bob", "cid", "dan", "eve", "fay")


def graders(plan: Plan) -> Counter[int]:
    return Counter(index for objects in plan.record.assignments.values() for index in objects)


def test_objects_are_dealt_evenly_and_fakes_to_everybody(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, SIX, candidates=40, fakes=4, duds=3, graders=3)
    plan = Plan.of(project)
    counts = graders(plan)
    assert [counts[index] for index in range(len(plan))] == [3] * 40 + [6] * 7
    loads = {len(objects) for objects in plan.record.assignments.values()}
    assert max(loads) - min(loads) <= 1
    # Everybody has an order of their own, in which fakes lie anywhere.
    orders = list(plan.record.assignments.values())
    assert len(set(orders)) == len(SIX)
    places = [orders[0].index(index) for index in range(40, 47)]
    assert max(places) - min(places) > 7
    # Pairs of graders mix, so that all are compared with all.
    pairs = {(a, b) for a in SIX for b in SIX if a < b and plan.assigned[a] & plan.assigned[b] & set(range(40))}
    assert len(pairs) == 15


def test_the_same_wish_changes_nothing_and_another_seed_is_another_plan(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "one", SIX, candidates=20, graders=2, seed=7)
    before = (project.folder / FILE).read_bytes()
    team_project.say(project, "ann", dict.fromkeys(Plan.of(project).record.assignments["ann"][:3], "A"))
    for wish in (Wish(), Wish(graders=2, seed=7)):
        make_plan(project, wish)
        assert (project.folder / FILE).read_bytes() == before
    same, _ = team_project.project(tmp_path / "two", SIX, candidates=20, graders=2, seed=7)
    other, _ = team_project.project(tmp_path / "three", SIX, candidates=20, graders=2, seed=8)
    assert Plan.of(same).record.assignments == Plan.of(project).record.assignments
    assert Plan.of(other).record.assignments != Plan.of(project).record.assignments


def test_a_plan_grows_and_keeps_what_was_assigned(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=6, graders=2)
    before = Plan.of(project).record.assignments
    project.add_round(team_project.table(8, 4), "more", "list", team_project.INFO)
    after = make_plan(project, Wish())
    assert len(after) == 12, "two objects of the second list are in the first"
    assert set(graders(after).values()) == {2}
    for name, objects in before.items():
        assert [one for one in after.record.assignments[name] if one in objects] == list(objects)


def test_one_who_joins_gets_what_nobody_has_graded_and_one_who_leaves_keeps_grades(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, ("ann", "bob"), candidates=12, graders=1)
    mine = Plan.of(project).record.assignments["ann"]
    team_project.say(project, "ann", dict.fromkeys(mine[:2], "B"))
    invite(tmp_path, "eve")
    assert Plan.of(project).record.assignments.get("eve") is None
    plan = make_plan(project, Wish(redeal=True))
    loads = {name: len(objects) for name, objects in plan.record.assignments.items()}
    assert sum(loads.values()) == 12
    assert max(loads["bob"], loads["eve"], loads["ann"] - 2) - min(loads["bob"], loads["eve"], loads["ann"] - 2) <= 1
    plan = make_plan(project, Wish(inspectors=("bob", "eve")))
    assert set(plan.record.assignments["ann"]) == set(mine[:2])
    assert sum(len(one) for one in plan.record.assignments.values()) == 12


def test_a_known_lens_among_the_candidates_is_a_test_and_a_result(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=6, graders=1)
    project.add_round(team_project.table(2, 4), "known", "list", team_project.INFO, "lens")
    # An arc painted on a candidate, which would be seen with it and without it, is not served.
    project.add_round(team_project.table(2, 5), "fakes", "list", team_project.INFO, "lens", painted=True)
    plan = make_plan(project, Wish())
    assert plan.truth.tolist() == ["", "", "", "", "lens", "lens", "lens"]
    assert plan.is_listed.tolist() == [True] * 6 + [False]
    assert [graders(plan)[index] for index in range(7)] == [1, 1, 1, 1, 3, 3, 3]
    assert len(missing_grades(project)) == 6
    assert (count_shared(project, project.round(3)), count_withheld(plan)) == (1, {3: 1})


def test_a_candidate_is_served_whatever_was_painted_on_it_before(tmp_path: Path) -> None:
    """Its fake goes to nobody who has not graded it yet, so that it is not given away."""
    project, _ = team_project.project(tmp_path, candidates=2, fakes=2)
    team_project.say(project, "ann", {2: "A"})
    project.add_round(team_project.table(1, 1000), "more", "list", team_project.INFO)
    project.add_round(team_project.table(1, 1001), "known", "list", team_project.INFO, "lens")
    plan = make_plan(project, Wish())
    assert plan.object_id.tolist() == [10**15 + number for number in (0, 1, 1000, 1001, 1000)]
    assert plan.painted.tolist() == [False, False, True, True, False]
    assert [graders(plan)[index] for index in range(5)] == [3, 3, 1, 3, 3]
    assert 2 in plan.assigned["ann"]
    # Of the known lens only the painted copy is served; of the first fake there is a grade.
    assert count_withheld(plan) == {4: 1}
    before = (project.folder / FILE).read_bytes()
    make_plan(project, Wish())
    assert (project.folder / FILE).read_bytes() == before


def test_progress_tells_what_is_missing_and_who_is_blind(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=3, fakes=1, graders=2, chairs=("eve",))
    plan = Plan.of(project)
    assert [one.wanted - one.given for one in missing_grades(project)] == [2, 2, 2]
    assert still_blind(project) == {name: len(objects) for name, objects in plan.record.assignments.items()}
    for name, objects in plan.record.assignments.items():
        team_project.say(project, name, {index: "C" for index in objects if index != 3})
    assert missing_grades(project) == []
    assert still_blind(project) == {"ann": 1, "bob": 1, "cid": 1}
    rows = {row["inspector"]: row for row in status_table(project)}
    assert (rows["ann"]["left"], rows["ann"]["seconds"], rows["eve"]["role"]) == (1, 2.0, "chair")
    for name in plan.inspectors:
        team_project.say(project, name, {3: "A"})
    assert still_blind(project) == {}
    # An undo makes it missing again.
    project.verdicts.undo("ann", "undo-0001")
    assert still_blind(project) == {"ann": 1}


def test_without_a_plan_every_listed_object_needs_one_grade(tmp_path: Path) -> None:
    project = Project.create(tmp_path)
    project.add_round(team_project.table(3), "list", "list", team_project.INFO)
    assert len(missing_grades(project)) == 3
    assert still_blind(project) == {}
    with pytest.raises(ScannerError) as caught:
        open_ledger(project)
    assert caught.value.code == ErrorCode.INSPECT_NO_PLAN


def test_a_verdict_about_a_painted_host_is_none_about_the_host(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, fakes=2)
    fake = Plan.of(project)
    team_project.say(project, "ann", {6: "A", 0: "X"})
    real = project.add_round(team_project.table(1, 1000), "hosts", "list", team_project.INFO)
    assert project.standing(real)[0].grade is None
    assert project.standing(project.round(2))[0].grade is not None
    rows = {bool(row["was_fake"]): row for row in project.verdict_table()}
    assert (rows[True]["mark"], rows[False]["mark"]) == ("", "rejected")
    assert np.flatnonzero(fake.painted).tolist() == [6, 7]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"graders": 4}, ErrorCode.INSPECT_BAD_PLAN),
        ({"rounds": (9,)}, ErrorCode.HUNT_MISSING),
        ({"inspectors": ("zed",)}, ErrorCode.INSPECT_BAD_INSPECTOR),
        ({"inspectors": ("eve",)}, ErrorCode.INSPECT_BAD_PLAN),
        ({"seed": 5}, ErrorCode.INSPECT_BAD_PLAN),
    ],
)
def test_a_wish_that_cannot_be_is_refused(tmp_path: Path, wish: dict[str, Any], code: ErrorCode) -> None:
    project, _ = team_project.project(tmp_path, chairs=("eve",))
    with pytest.raises(ScannerError) as caught:
        make_plan(project, Wish(**wish))
    assert caught.value.code == code


def test_projects_that_are_not_whole_are_refused_by_name(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, fakes=2)
    text = (tmp_path / FILE).read_text()
    for damage in ("{", "[]", text.replace('"seed": 1', '"seed": "x"'), text.replace('"version": 1', '"version": 9')):
        (tmp_path / FILE).write_text(damage)
        with pytest.raises(ScannerError) as caught:
            Plan.of(project)
        assert caught.value.code == ErrorCode.INSPECT_DAMAGED
        assert FILE in caught.value.message
    (tmp_path / FILE).write_text(text)
    (tmp_path / "rounds" / "2").rename(tmp_path / "gone")
    with pytest.raises(ScannerError) as caught:
        Plan.of(Project(tmp_path))
    assert caught.value.code == ErrorCode.HUNT_MISSING
    (tmp_path / "team.json").write_text('{"version": 1}')
    with pytest.raises(ScannerError) as caught:
        Team(tmp_path)
    assert caught.value.code == ErrorCode.INSPECT_DAMAGED


def test_a_list_of_another_model_is_not_mixed_in(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path)
    other: Any = type(team_project.INFO)(**{**vars(team_project.INFO), "model_sha256": "b" * 64})
    project.add_round(team_project.table(2, 50), "other", "list", other)
    with pytest.raises(ScannerError, match="different models"):
        make_plan(project, Wish())
    assert len(make_plan(project, Wish(rounds=(1,)))) == 6


def test_people_have_names_and_tokens(tmp_path: Path) -> None:
    project, tokens = team_project.project(tmp_path)
    team = Team(project.folder)
    assert team.of_token(tokens["bob"]) == team.named("bob")
    assert team.of_token("guess") is None
    assert all(token not in (tmp_path / "team.json").read_text() for token in tokens.values())
    for name, code in (("bob", ErrorCode.INSPECT_BAD_INSPECTOR), ("../x", ErrorCode.INSPECT_BAD_INSPECTOR)):
        with pytest.raises(ScannerError) as caught:
            invite(tmp_path, name)
        assert caught.value.code == code
    with pytest.raises(ScannerError) as caught:
        team.check("bob", tokens["ann"])
    assert caught.value.code == ErrorCode.INSPECT_BAD_TOKEN
    renewed = invite(tmp_path, "bob", renew=True)
    assert Team(tmp_path).check("bob", renewed).name == "bob"
    with pytest.raises(ScannerError):
        Team(tmp_path).check("bob", tokens["bob"])

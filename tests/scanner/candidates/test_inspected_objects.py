"""What a release needs of a project: who owes a grade of what, and the mean grade of each object."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner.candidates.inspected_objects import blind, grade_of, list_objects, ungraded
from scanner.hunt.scheme import DEFAULT, read_scheme
from tests.support import graded_project


def owed(project: object) -> list[tuple[int, tuple[str, ...]]]:
    objects = list_objects(project)  # type: ignore[arg-type]
    return [(one.object.object_id % 10, one.inspectors) for one in ungraded(project, objects)]  # type: ignore[arg-type]


def test_what_nobody_has_judged_is_owed_by_nobody_in_particular(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    assert owed(project) == [(number, ()) for number in range(1, 6)]


def test_an_object_put_forward_needs_a_grade(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A", 3: ""})
    assert owed(project) == [(4, ("ann",))]
    graded_project.judge(project, "ann", {3: "X"})
    assert owed(project) == []


def test_everybody_who_grades_grades_all_that_is_put_forward(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A", 1: "B"})
    graded_project.judge(project, "bob", {0: "C"})
    objects = list_objects(project)
    missing = ungraded(project, objects)
    assert [(one.object.object_id % 10, one.inspectors) for one in missing] == [(2, ("bob",))]
    assert blind(missing) == ["bob"]
    assert ungraded(project, objects, lambda one: ("ann",)) == []


def test_the_mean_is_that_of_the_latest_grade_of_each(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    for inspector, grade in (("ann", "C"), ("bob", "A"), ("ann", "B")):
        graded_project.judge(project, inspector, {0: grade})
    first = list_objects(project)[0]
    assert first.mean(project) == 2.5
    assert {name: one.grade for name, one in first.grades.items()} == {"ann": "B", "bob": "A"}


@pytest.mark.parametrize(
    ("mean", "grade"),
    [(3.0, "A"), (2.51, "A"), (2.5, "B"), (1.51, "B"), (1.5, "C"), (0.5, "X"), (0.0, "X"), (float("nan"), "")],
)
def test_grades_of_means_are_those_of_the_field(mean: float, grade: str) -> None:
    """A > 2.5 > B > 1.5, as in HOLISMOKES XVI."""
    assert grade_of(mean, read_scheme(DEFAULT).grades) == grade

"""A project: verdicts that outlive the catalogue that they were given on, and the scheme of their words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.project import Project
from scanner.hunt.scheme import DEFAULT, read_scheme
from scanner.hunt.verdicts import Verdict
from tests.scanner.hunt.test_round import info, objects


def verdict(number: int, grade: str, batch: str = "first", model: str = "a" * 64) -> Verdict:
    stage = "grades" if grade in "ABCX" else "triage"
    place = {"ra": 10 + number / 100, "dec": 0.0, "tile": f"{number % 3}", "object_id": number}
    return Verdict(f"{batch}/{number}", batch, "me", 1, model_sha256=model, stage=stage, grade=grade, **place)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "hunt")
    made.add_round(objects(), "made up", "nowhere", info())
    made.verdicts.add([verdict(0, "no"), verdict(1, "candidate"), verdict(2, "no")])
    made.verdicts.add([verdict(1, "A", "second")])
    return made


def test_verdicts_are_read_as_they_come_from_any_process(project: Project) -> None:
    other = Project(project.folder)
    assert [one.grade for one in other.verdicts.standing()] == ["no", "candidate", "no", "A"]
    project.verdicts.add([verdict(3, "interesting", "third")])
    assert [one.grade for one in other.verdicts.standing()] == ["no", "candidate", "no", "A", "interesting"]
    project.verdicts.undo("me", "undo-1")
    project.verdicts.undo("me", "undo-2")
    assert [one.grade for one in other.verdicts.standing()] == ["no", "candidate", "no"]
    assert [one.latest.grade if one.latest else "" for one in other.standing(other.round(1))[:4]] == [
        "no", "candidate", "no", "",
    ]  # fmt: skip
    other.verdicts.add([verdict(1, "B", "fourth")])
    assert project.standing(project.round(1))[1].grade.grade == "B"


def test_a_record_that_is_put_back_is_read_anew(project: Project, tmp_path: Path) -> None:
    assert len(project.verdicts.standing()) == 4
    assert project.standing(project.round(1))[1].latest is not None
    older = Project.create(tmp_path / "older")
    older.verdicts.add([verdict(5, "no", f"old-{n}") for n in range(6)][:1])
    for name in ("", "-wal", "-shm"):
        project.folder.joinpath(f"verdicts.sqlite{name}").unlink(missing_ok=True)
    for path in sorted((tmp_path / "older").glob("verdicts.sqlite*")):
        path.rename(project.folder / path.name)
    del project.verdicts._local.connection
    assert [one.object_id for one in project.verdicts.standing()] == [5]
    judged = [number for number, one in enumerate(project.standing(project.round(1))) if one.latest]
    assert judged == [5]


def test_what_stands_is_that_of_one_who_reads_all(project: Project) -> None:
    other, rng = Project(project.folder), np.random.default_rng(3)
    rounds = [project.round(1), project.add_round(objects(9), "fewer", "nowhere", info())]
    for step in range(40):
        who = (project, other)[step % 2]
        if rng.random() < 0.3:
            who.verdicts.undo("me", f"undo-{step}")
        else:
            numbers = rng.choice(12, 4, replace=False).tolist()
            who.verdicts.add([verdict(n, str(rng.choice(["no", "candidate", "A", "X"])), f"{step}") for n in numbers])
        fresh = Project(project.folder)
        for one in rounds:
            expected = fresh.standing(one)
            assert project.standing(one) == other.standing(other.round(one.number)) == expected
            # The answer is that of whoever asked.
            project.standing(one).clear()
    assert any(one.grade and one.triage for one in expected)


def test_verdicts_of_another_catalogue_are_kept_by_position_and_said_so(project: Project) -> None:
    now = objects()
    assert project.notices(info(), now) == []
    # Another model: the same places, other numbers.
    (said,) = project.notices(info("b" * 64), now)
    assert said.startswith("4 verdicts were given with another model")
    # Rescanned tiles: object 1 is gone, and 2 is the number of what is elsewhere.
    moved = now.copy()
    moved["ra"][2] += 0.01
    moved.remove_row(1)
    (said,) = project.notices(info(), moved)
    assert said.startswith("3 verdicts are about objects that have another number")

    fresh = Table({"object_id": [77, 78, 79], "tile": ["9", "9", "9"]})
    # A third of an arcsec away is the same object, two are not.
    fresh["ra"], fresh["dec"] = (
        10 + np.array([1 / 100, 2 / 100, 3 / 100]) + np.array([0.3, 0, 0]) / 3600,
        [0.0, 2 / 3600, 0],
    )
    made = project.add_round(fresh, "after a scan with another model", "nowhere", info("b" * 64))
    standing = project.standing(made)
    assert [one.latest.grade if one.latest else "" for one in standing] == ["A", "", ""]
    assert standing[0].triage.grade == "candidate"
    project.verdicts.add(
        [Verdict("n/1", "new", "me", made.number, 77, fresh["ra"][0], 0.0, "9", "b" * 64, "grades", "X")]
    )
    table = project.verdict_table()
    assert [(row["grade"], row["mark"]) for row in table] == [("", "rejected"), ("X", "rejected"), ("", "rejected")]


WORD = '[[{kind}]]\nname = "{name}"\nkey = "{key}"\n'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("name = 'a'\nname = 'b'\n", "overwrite"),
        ("".join(WORD.format(kind="grades", name=f"g{n}", key=chr(200 + n)) for n in range(10_000)), "more than 100"),
        (WORD.format(kind="grades", name="A", key="q") * 2, "once"),
        (WORD.format(kind="grades", name="A", key="q") + 'key = "q"\n', "overwrite"),
        (WORD.format(kind="grades", name="A", key="q") + 'picture = "../../etc/passwd"\n', "beside"),
        (WORD.format(kind="grades", name="A", key="q") + 'picture = ".ssh"\n', "beside"),
        (WORD.format(kind="grades", name="A", key="q") + "value = '1'\n", "value"),
        ("a = " + "[" * 5000, "nested"),
        ("\x00", "TOML"),
    ],
)
def test_a_hostile_scheme_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "scheme.toml"
    rest = WORD.format(kind="triage", name="no", key="m") + "rest = true\n"
    path.write_text((text if text.startswith("name") else 'name = "mine"\n' + text) + rest, encoding="utf-8")
    with pytest.raises(ScannerError) as caught:
        read_scheme(path)
    assert caught.value.code == ErrorCode.HUNT_BAD_SCHEME
    assert wrong in caught.value.message or wrong == "TOML"
    assert len(caught.value.message) < 1000
    with pytest.raises(ScannerError):
        Project.create(tmp_path / "hunt", path)
    assert not (tmp_path / "hunt").exists()


def test_the_scheme_that_ships_is_one() -> None:
    scheme = read_scheme(DEFAULT)
    assert scheme.stage(scheme.rest.name) == "triage"


def test_two_objects_of_a_list_are_two_however_near(project: Project) -> None:
    """A pair 0.8 arcsec apart: the one that was kept is not taken for the one that was rejected."""

    def near(number: int, grade: str, round_: int, object_id: int, arcsec: float) -> Verdict:
        one = verdict(number, grade, f"{round_} {object_id}")
        return replace(one, round=round_, object_id=object_id, ra=20.0, dec=arcsec / 3600)

    project.verdicts.add([near(20, "A", 1, 500, 0.0), near(21, "X", 1, 501, 0.8)])
    # Another catalogue sees one object there, and a third verdict is about the second one.
    project.verdicts.add([near(22, "B", 2, 9000, 0.1), near(23, "C", 3, 9001, 0.9)])
    rows = [row for row in project.verdict_table() if row["ra"] == 20]
    assert [(row["object_id"], row["grade"]) for row in rows] == [(9000, "B"), (9001, "C")]


def test_verdicts_about_painted_pixels_are_about_no_object_of_the_catalogue(project: Project) -> None:
    everything = Table({name: objects()[name] for name in ("object_id", "ra", "dec")})
    assert project.notices(info(), everything) == []
    project.verdicts.add([replace(verdict(3, "A", "fake"), ra=12.0, was_fake=True)])
    assert project.notices(info(), everything) == []
    project.verdicts.add([replace(verdict(4, "A", "moved"), ra=12.0)])
    assert len(project.notices(info(), everything)) == 1


def test_a_verdict_without_a_value_is_an_error_and_one_that_was_sent_twice_is_not(project: Project) -> None:
    before = len(project.verdicts.standing())
    with pytest.raises(ScannerError) as caught:
        project.verdicts.add([verdict(3, "no", "good"), replace(verdict(4, "A", "bad"), ra=np.nan)])
    assert caught.value.code == ErrorCode.HUNT_BAD_VERDICT
    project.verdicts.add([verdict(0, "no")])
    assert len(project.verdicts.standing()) == before

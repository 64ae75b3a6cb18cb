"""``scanner inspect`` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

import catalogs
from scanner.cli import main
from scanner.hunt.project import Project
from scanner.inspection.team import Team
from tests.support import team_project


def inspect(*words: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, words)])


def test_a_team_from_its_invitation_to_a_conflict_of_two_laptops(tmp_path: Path) -> None:
    folder = tmp_path / "hunt"
    project = Project.create(folder)
    team_project.cut(project.add_round(team_project.table(3), "list", "list", team_project.INFO))
    invited = inspect("invite", folder, "ann", "bob")
    tokens = dict(line.split() for line in invited.stdout.splitlines())
    assert Team(folder).check("bob", tokens["bob"]).name == "bob"
    again = inspect("invite", folder, "ann")
    assert (again.exit_code, "[inspect.bad_inspector]" in again.stderr) == (1, True)

    planned = inspect("plan", folder, "--graders", 2, "--format", "json")
    assert [(row["inspector"], row["left"]) for row in json.loads(planned.stdout)] == [("ann", 3), ("bob", 3)]
    waiting = inspect("status", folder)
    assert (waiting.exit_code, "Still blind: ann (3), bob (3)." in waiting.stderr) == (3, True)

    laptops = [Path(shutil.copytree(folder, tmp_path / name)) for name in ("one", "two")]
    for laptop, grade in zip(laptops, "AX", strict=True):
        team_project.say(Project(laptop), "ann", {0: grade})
    merged = inspect("merge", folder, *laptops)
    assert merged.exit_code == 3
    assert merged.stdout.splitlines()[1].endswith("two: 1 added, 0 known, 1 conflicts")
    assert "Conflict: ann, object 1000000000000000 at 190.000000 +55.000000: A and X" in merged.stderr
    team_project.say(project, "ann", {0: "A", 1: "B", 2: "X"})
    team_project.say(project, "bob", {0: "A", 1: "C", 2: "X"})
    assert inspect("merge", folder, *laptops).exit_code == 0
    assert inspect("status", folder).exit_code == 0

    rows = list(csv.DictReader(inspect("agree", folder, "-f", "csv").stdout.splitlines()))
    assert [(row["grade_ann"], row["grade_bob"], float(row["g"])) for row in rows] == [
        ("B", "C", 1.5), ("A", "A", 3.0), ("X", "X", 0.0)
    ]  # fmt: skip
    assert "alpha, ordinal" in inspect("agree", folder, "--show", "summary").stdout
    without = inspect("agree", folder, "--show", "completeness")
    assert (without.exit_code, "[inspect.no_truth]" in without.stderr) == (1, True)
    figure = tmp_path / "gallery.png"
    assert inspect("gallery", folder, "-o", figure).stdout.strip() == f"{figure}: 1 objects"
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert len(inspect("negatives", folder).stdout.splitlines()) == 2


def test_painted_lenses_that_are_withheld_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Painted hosts that are candidates are not shown with an arc; each command says how many these are."""
    project, _ = team_project.project(tmp_path / "hunt", ("ann",), candidates=4)
    # The catalogue of the painted tiles is not what is tested.
    (tmp_path / "truth.csv").write_text("ra,dec\n190,55\n")
    monkeypatch.setattr(catalogs, "open", lambda _: SimpleNamespace(snapshot=lambda: None, info=team_project.INFO))
    monkeypatch.setattr("scanner.inspection.fakes.find_known", lambda *_: (team_project.table(6, 2), np.zeros(0, int)))
    words = ("--list", tmp_path / "truth.csv", "--painted", "--catalog", tmp_path)
    added = inspect("fakes", project.folder, *words)
    assert added.stdout == "Round 2: 6 objects, each a lens\n"
    assert "2 of them are painted on an object of another list" in added.stderr
    planned = inspect("plan", project.folder)
    assert "Round 2: 2 of 6 objects are withheld: the plan has the same galaxy without" in planned.stderr
    team_project.say(Project(project.folder), "ann", dict.fromkeys(range(8), "A"))
    shown = inspect("agree", project.folder, "--show", "completeness", "-f", "json")
    assert json.loads(shown.stdout)[0]["lenses"] == 4
    assert "leaves out 2 lenses that were withheld" in shown.stderr
    assert "withheld" not in inspect("agree", project.folder, "-f", "json").stderr

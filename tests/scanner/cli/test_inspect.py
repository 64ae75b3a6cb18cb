"""``scanner inspect`` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from click.testing import CliRunner, Result

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

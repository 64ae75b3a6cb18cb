"""The guide of a team, from a list to grades, figures and hard negatives, run on the shipped tile."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from scanner.hunt.project import Project
from scanner.inspection.consensus import Consensus
from scanner.inspection.eye import measure_eye
from tests.docs.pages import REPOSITORY
from tests.docs.test_pages import Run, demo_catalogue, run

__all__ = ["demo_catalogue", "run"]  # fixtures

TEAM = REPOSITORY / "docs" / "guide" / "team.md"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_guide_ends_in_grades_figures_and_negatives(run: Run) -> None:
    folder, names = run(TEAM)
    consensus = rows(folder / "consensus.csv")
    assert {row["grades"] for row in consensus if not row["truth"]} == {"2"}
    assert {row["grades"] for row in consensus if row["truth"]} == {"3"}
    lenses = [row for row in consensus if row["truth"] == "lens"]
    assert len(lenses) >= 6
    assert {row["grade"] for row in lenses} == {"A"}
    assert {row["grade"] for row in consensus if row["truth"] == "dud"} == {"X"}
    # Inspectors who are always right make a fake nearly certain.
    assert all(float(row["p_lens"]) > 0.01 for row in lenses if row["grade_ann"])
    assert (names["plan"].truth == "dud").sum() >= 6
    told = Consensus.of(Project(folder / "hunt"))
    assert sum(one.found.total for one in measure_eye(told)[1]["theta_e"]) == len(lenses)
    marks = {row["mark"] for row in rows(folder / "verdicts.csv")}
    assert marks <= {"kept", "rejected"}
    assert len(rows(folder / "negatives.csv")) > 3
    for picture in ("eye.png", "candidates.png"):
        image = np.asarray(Image.open(folder / picture).convert("RGB"))
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100

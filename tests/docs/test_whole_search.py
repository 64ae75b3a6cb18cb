"""The guide of a whole search, from tiles to lens models, run on the shipped tile; its release is read as a referee."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from catalogs.sky import crossmatch
from catalogs.sky.geometry import SAME_OBJECT
from scanner.hunt.project import Project
from scanner.inspection.plan import Plan
from tests.docs.pages import REPOSITORY
from tests.docs.test_pages import Run, demo_catalogue, run

__all__ = ["demo_catalogue", "run"]  # fixtures

PAGE = REPOSITORY / "docs" / "guide" / "whole-search.md"
VALUES = {"A": 3, "B": 2, "C": 1, "X": 0}
PRIOR = 2e-4

Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(run: Run) -> Path:
    return run(PAGE)[0]


@pytest.fixture(scope="module")
def said(run: Run) -> dict[int, dict[str, str]]:
    """What the script said over HTTP, by object of the plan and inspector."""
    at, names = run(PAGE)
    plan = Plan.of(Project(at / "hunt"))
    said: dict[int, dict[str, str]] = {}
    for name, grades in names["given"].items():
        for key, grade in grades.items():
            said.setdefault(plan.by_key(name)[key], {})[name] = grade
    return said


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return Plan.of(Project(folder / "hunt"))


def lenses(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for row in read(folder / "tiles" / "truth.csv") if row["label"] == "lens"]
    ra, dec = (np.array([float(row[axis]) for row in rows]) for axis in ("ra", "dec"))
    return ra, dec


def test_the_release_has_what_was_listed_with_the_grades_that_were_said(
    folder: Path, plan: Plan, said: dict[int, dict[str, str]]
) -> None:
    every = Table.read(folder / "paper" / "inspected.vot")
    listed = {int(row["object_id"]) for row in read(folder / "candidates.csv")}
    assert set(every["object_id"].tolist()) == listed, "no fake, no dud, and nothing is lost"
    index_of = {plan.object_id[index]: index for index in np.flatnonzero(plan.is_listed).tolist()}
    for row in every:
        grades = said[index_of[row["object_id"]]]
        values = [VALUES[grade] for grade in grades.values()]
        assert row["grade_mean"] == pytest.approx(np.mean(values))
        assert row["grade_error"] == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5)
        assert row["grades"] == " ".join(grades.get(name, "-") for name in ("ann", "bob", "cid"))
    # The chair's word on what was disputed most.
    (decided,) = (row for row in every if row["final_grade"])
    first = next(row for row in read(folder / "consensus.csv") if not row["truth"])
    assert (decided["object_id"], decided["grade"]) == (int(first["object_id"]), "X")
    assert decided["grade_mean"] == pytest.approx(float(first["g"]))
    assert decided["grade_mean"] > 0.5, "the mean is no X, and stays that of the inspectors"


def test_the_posterior_is_that_of_the_skills_on_what_is_known(
    folder: Path, plan: Plan, said: dict[int, dict[str, str]]
) -> None:
    """SWAP by hand (Marshall et al. 2016): counts of right answers, smoothed, and Bayes' theorem."""
    right: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in ("ann", "bob", "cid")}
    for index, grades in said.items():
        for name, grade in grades.items():
            if plan.is_test[index]:
                which = 0 if plan.is_lens[index] else 2
                right[name][which] += 1
                right[name][which + 1] += (grade in "AB") == bool(plan.is_lens[index])
    skills = {name: ((lens + 1) / (n + 2), (dud + 1) / (m + 2)) for name, (n, lens, m, dud) in right.items()}
    index_of = {(plan.object_id[index], plan.painted[index]): index for index in range(len(plan))}
    rows = read(folder / "consensus.csv")
    assert len(rows) == len(plan)
    for row in rows:
        odds = PRIOR / (1 - PRIOR)
        for name, grade in said[index_of[int(row["object_id"]), row["painted"] == "True"]].items():
            p_lens, p_dud = skills[name]
            odds *= p_lens / (1 - p_dud) if grade in "AB" else (1 - p_lens) / p_dud
        assert float(row["p_lens"]) == pytest.approx(odds / (1 + odds))
    # The script sees arcs, by some bands better than by others.
    assert skills["cid"][0] < skills["bob"][0] < 0.9
    assert all(p_lens > 0.1 and p_dud > 0.5 for p_lens, p_dud in skills.values())


def test_the_eye_finds_bright_and_wide_arcs_more_often(folder: Path, plan: Plan) -> None:
    from scanner.inspection.consensus import Consensus
    from scanner.inspection.eye import measure_eye

    total, bins = measure_eye(Consensus.of(Project(folder / "hunt")))
    assert plan.painted.sum() > 10
    assert total.total == plan.is_lens.sum() > plan.painted.sum()
    for name in ("theta_e", "snr"):
        assert bins[name][-1].found.value > bins[name][0].found.value
    assert sum(one.found.total for one in bins["snr"]) == total.total
    assert (folder / "eye.png").stat().st_size > 10_000


def test_candidates_lie_on_lenses_and_known_duds_are_none(folder: Path) -> None:
    found = Table.read(folder / "paper" / "candidates.fits")
    ra, dec = lenses(folder)
    matched = crossmatch.nearest(ra, dec, found["ra"], found["dec"], SAME_OBJECT).matched
    assert matched.sum() >= 6
    assert "dud" not in found["truth"].tolist()
    # A known lens that the script overlooked is no hard negative.
    negatives = read(folder / "negatives.csv")
    places = [np.array([float(row[axis]) for row in negatives]) for axis in ("ra", "dec")]
    assert not crossmatch.nearest(*places, ra, dec, SAME_OBJECT).matched.any()
    assert len(negatives) > 3
    assert len(read(folder / "next.csv")) > 20


def test_each_cutout_shows_the_pixels_of_the_tile_at_its_place(folder: Path) -> None:
    found = Table.read(folder / "paper" / "candidates.fits")
    with fits.open(folder / "tiles" / "CFIS.217.292.r.fits.fz") as file:
        tile, header = file[1].data, file[1].header
    of_tile, to_nanojansky = WCS(header), 10 ** (-0.4 * (header["MAGZERO"] - 31.4))
    for row in found:
        with fits.open(folder / "paper" / "cutouts" / f"{row['name'].replace(' ', '_')}.fits") as file:
            data, wcs = file["R"].data, WCS(file["R"].header)
        middle = np.array(wcs.world_to_pixel_values(row["ra"], row["dec"]))
        assert np.abs(middle - (np.array(data.shape[::-1]) - 1) / 2).max() <= 0.51
        y, x = np.mgrid[0 : data.shape[0] : 8, 0 : data.shape[1] : 8]
        column, line = of_tile.world_to_pixel_values(*wcs.pixel_to_world_values(x, y))
        assert np.abs(column - np.rint(column)).max() < 1e-3
        assert np.allclose(data[y, x], to_nanojansky * tile[np.rint(line).astype(int), np.rint(column).astype(int)])


def test_provenance_and_models_are_whole(folder: Path) -> None:
    text = (folder / "paper" / "provenance.json").read_text(encoding="utf-8")
    assert str(folder) not in text
    told: dict[str, Any] = json.loads(text)
    assert [one["source"] for one in told["selection"]] == ["candidates.csv"]
    tests = told["team"]["tests"]
    assert set(tests) == {"painted lenses", "known lenses", "duds"}
    assert tests["known lenses"]["kept"] >= 6
    assert all(0 < tests[name]["kept"] < tests[name]["graded"] for name in ("painted lenses", "duds"))
    assert 0.3 < told["team"]["alpha"]["low"] < told["team"]["alpha"]["value"] < 1
    readme = " ".join((folder / "paper" / "ReadMe").read_text(encoding="ascii").split())
    assert f"{tests['painted lenses']['graded']} painted lenses" in readme
    names = Table.read(folder / "paper" / "candidates.fits")["name"].tolist()
    models = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "models").glob("*/lens.json"))]
    assert sorted(one["name"] for one in models) == sorted(names)
    assert all(set(one["bands"]) == set("ugriz") for one in models)

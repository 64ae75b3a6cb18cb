"""A release: refused until it is complete; every table, picture and row of it can be read back by others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import ascii as text_tables
from astropy.io.votable import parse
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from PIL import Image

from catalogs.digest import file_sha256
from catalogs.errors import ErrorCode, ScannerError
from scanner.candidates.cds import Paper
from scanner.candidates.contributions import LENSCAT
from scanner.candidates.crossmatch import MatchOptions, crossmatch, read_list
from scanner.candidates.release import ReleaseOptions, release
from scanner.hunt.project import Project
from scanner.inspection.merge import merge
from scanner.inspection.plan import Plan
from scanner.inspection.planning import Wish, make_plan
from scanner.inspection.record import CHAIR, FINAL, REVISED
from tests.support import graded_project, team_project

PAPER = Paper("Lenses of a test", ("Doe J.", "Müller R."), "CC-BY-4.0")
TABLES = ("candidates", "inspected", "verdicts")


def options(**more: object) -> ReleaseOptions:
    return ReleaseOptions("UNIONS", PAPER, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    project = graded_project.make(folder / "hunt")
    # The third object is a piece of the second; the fifth is a fake.
    graded_project.judge(project, "zoë", {0: "A", 1: "A", 2: "B", 3: "X", 4: "A"}, fake=4, comment="schön")
    graded_project.judge(project, "ann", {0: "B", 1: "A", 2: "B", 3: "C", 4: "A"}, fake=4)
    known = Table({"ra": [150.2], "dec": [2.2], "name": ["Old lens | J1000"]})
    extra = Table({"ra": [150.1], "dec": [2.2], "zlens": [0.4321], "survey": ["DESI"]})
    out = folder / "paper"
    report = release(project, out, options(), known=known, extra=extra)
    assert report.candidates == {"A": 1, "B": 1}
    assert report.inspected == 4
    return out


def test_candidates_are_systems_with_names_and_means(released: Path) -> None:
    table = Table.read(released / "candidates.fits")
    assert table["name"].tolist() == ["UNIONS J100048.00+021200.0", "UNIONS J100024.00+021200.0"]
    assert table["grade"].tolist() == ["A", "B"]
    assert table["grade_mean"].tolist() == [3.0, 2.5]
    assert table["grade_error"].tolist() == [0.0, 0.5]
    assert table["grades"].tolist() == ["A A", "B A"], "inspectors in the order of their names"
    assert table["tile"].tolist() == ["217.290"] * 2
    every = Table.read(released / "inspected.fits")
    assert len(every) == 4, "the fake is not an object of the sky"
    assert every["system"].tolist()[1:3] == ["UNIONS J100048.00+021200.0"] * 2
    assert "spiral" in every["classes"].tolist()


@pytest.mark.parametrize("name", TABLES)
def test_votable_and_fits_have_units_ucds_and_descriptions(released: Path, name: str) -> None:
    votable = parse(released / f"{name}.vot", verify="exception").get_first_table()
    fields = {field.name: field for field in votable.fields}
    for field in fields.values():
        assert field.description
        if field.name not in ("zlens", "survey"):
            parse_ucd(field.ucd, check_controlled_vocabulary=True)
    if name != "verdicts":
        assert (fields["ra"].unit, fields["mag_r"].unit) == ("deg", "mag")
    fits = Table.read(released / f"{name}.fits")
    assert fits.colnames == list(fields)
    assert len(fits) == votable.nrows


@pytest.mark.parametrize("name", TABLES)
def test_the_cds_tables_read_back_by_their_readme(released: Path, name: str) -> None:
    readme = (released / "ReadMe").read_text(encoding="ascii")
    assert max(map(len, readme.splitlines())) <= 80
    (released / f"{name}.dat").read_text(encoding="ascii")
    read = text_tables.read(released / f"{name}.dat", readme=str(released / "ReadMe"), format="cds")
    fits = Table.read(released / f"{name}.fits")
    assert read.colnames == fits.colnames
    for column in read.colnames:
        values = np.asarray(fits[column])
        if values.dtype.kind == "f":
            blank = ~np.isfinite(values)
            assert (np.ma.getmaskarray(read[column]) == blank).all()
            assert np.allclose(np.asarray(read[column], float)[~blank], values[~blank], rtol=1e-6, atol=1e-3)
        else:
            texts = ["" if one is None else str(one) for one in read[column].tolist()]
            assert texts == values.astype(str).tolist()
    if name == "candidates":
        assert np.abs(read["ra"] - fits["ra"]).max() < 1e-7
        assert read["zlens"][1] == pytest.approx(0.4321, abs=1e-12)


def test_mosaics_and_cutouts_are_pictures(released: Path) -> None:
    for grade in "AB":
        assert (released / "mosaics" / f"{grade}.pdf").read_bytes().startswith(b"%PDF")
        assert Image.open(released / "mosaics" / f"{grade}.png").size[0] > 150
    pictures = sorted(path.name for path in (released / "cutouts").iterdir())
    assert pictures == ["UNIONS_J100024.00+021200.0.png", "UNIONS_J100048.00+021200.0.png"]


def test_rows_for_other_lists(released: Path) -> None:
    with (released / "lenscat.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == LENSCAT
    # A lens that a list knows is no news to lenscat.
    assert [row["name"] for row in rows] == ["UNIONS J100024.00+021200.0"]
    assert (rows[0]["zlens"], rows[0]["type"], rows[0]["grading"]) == ("0.4321", "galaxy", "probable")
    sled = json.loads((released / "sled.json").read_text(encoding="utf-8"))
    assert [one["flag"] for one in sled] == ["CANDIDATE"] * 2
    assert [one["score"] for one in sled] == [3.0, 2.5]
    assert sled[0]["alt_name"] == "Old lens"
    assert all((released / "cutouts" / one["mugshot"]).is_file() for one in sled)


def test_a_redshift_keeps_the_name_that_crossmatch_gives_it(tmp_path: Path) -> None:
    """The whole way: a survey's table, matched with the default prefix, added to a release."""
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A", 1: "A"})
    (tmp_path / "list.csv").write_text("ra,dec\n150.1,2.2\n150.2,2.2\n")
    (tmp_path / "desi.csv").write_text("ra,dec,zlens\n150.1,2.2,0.4321\n")
    matched = crossmatch(*read_list(tmp_path / "list.csv"), tmp_path / "desi.csv", MatchOptions(prefix="desi_"))
    release(project, tmp_path / "paper", options(), extra=matched.table)
    assert redshifts(tmp_path / "paper") == {"150.100000": "0.4321", "150.200000": "-"}


def redshifts(paper: Path) -> dict[str, str]:
    with (paper / "lenscat.csv").open(newline="", encoding="utf-8") as file:
        return {row["RA [deg]"]: row["zlens"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("added", "zlens"),
    [
        ({"sdss_zlens": np.nan, "desi_zlens": 0.5}, "0.5"),
        ({"sdss_zlens": 0.501, "desi_zlens": 0.5}, "0.501"),
        ({"sdss_zlens": 0.3, "desi_zlens": 0.5, "zlens": 0.4}, "0.4"),
        ({"sdss_zlens": 0.3, "desi_ZLENS": -1.0, "zlens": np.nan}, "0.3"),
        ({"old_zlens": "0.524467 | 0.5245"}, "0.524467"),
        ({"zlens": "not measured"}, "-"),
        ({"desi_z": 0.5, "zlens_quality": 4.0, "desi_separation": 0.1}, "-"),
    ],
)
def test_the_redshift_is_the_first_that_a_column_of_the_lens_has(
    tmp_path: Path, added: dict[str, float | str], zlens: str
) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    extra = Table({"ra": [150.1], "dec": [2.2], **{name: [value] for name, value in added.items()}})
    release(project, tmp_path / "paper", options(), extra=extra)
    assert redshifts(tmp_path / "paper") == {"150.100000": zlens}


def test_redshifts_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    extra = Table({"ra": [150.1], "dec": [2.2], "sdss_zlens": [0.3], "desi_zlens": [0.5]})
    with pytest.raises(ScannerError, match=r"sdss_zlens = 0\.3, desi_zlens = 0\.5") as error:
        release(project, tmp_path / "paper", options(), extra=extra)
    assert error.value.code == ErrorCode.RELEASE_BAD_OPTION
    assert not (tmp_path / "paper").exists()


def test_a_test_of_the_inspectors_is_not_offered_as_a_discovery(tmp_path: Path) -> None:
    """Neither a known lens nor a piece of its system, or of a dud's. One on which something was painted is new."""
    places = tuple((150 + number / 10, 2.2) for number in range(5))
    project = graded_project.make(tmp_path / "hunt", places, pixels=False)
    graded_project.judge(project, "ann", dict.fromkeys(range(5), "A"))
    for number, east, truth in ((0, 0, "lens"), (1, 2, "lens"), (2, 2, "dud"), (3, 0, "painted"), (4, 0, "dud")):
        listed = team_project.table(1)
        listed["ra"], listed["dec"] = [places[number][0] + east / 3600], [2.2]
        painted = truth == "painted"
        info = graded_project.info()
        project.add_round(listed, truth, "list", info, "lens" if painted else truth, painted=painted)
    out = tmp_path / "paper"
    report = release(project, out, options())
    assert (report.candidates["A"], report.tests) == (4, 3), "the last is a known dud"
    assert list(redshifts(out)) == ["150.300000"]
    sled = json.loads((out / "sled.json").read_text(encoding="utf-8"))
    assert [one["ra"] for one in sled] == [150.3]
    readme = " ".join((out / "ReadMe").read_text(encoding="ascii").split())
    assert "3 of the candidates were given to the inspectors as a test" in readme
    assert len(Table.read(out / "candidates.fits")) == 4


def test_provenance_names_the_selection_and_every_file(released: Path) -> None:
    told = json.loads((released / "provenance.json").read_text(encoding="utf-8"))
    assert told["selection"][0] | {"created": ""} == {
        "round": 1, "title": "first", "source": "candidates.csv", "objects": 5, "model_sha256": "d" * 64, "created": "",
        "cutouts": {"bands": ["g", "r", "i"], "window": 32, "pixel_scale_arcsec": 0.25},
    }  # fmt: skip
    assert told["inspectors"] == ["1", "2"], "people are numbered unless they are to be named"
    assert told["fakes"] == {"inspected": 1, "put_forward": 1}
    assert told["verdicts"]["count"] == 20
    there = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert there == {*told["files"], "provenance.json"}
    assert all(file_sha256(released / name) == digest for name, digest in told["files"].items())
    endings = (".vot", ".csv", ".json", ".dat", "")
    words = " ".join(
        path.read_text(encoding="utf-8") for path in released.iterdir() if path.suffix in endings and path.is_file()
    )
    assert "UNIONS" in words
    assert not {"zoë", "zo\\xeb", "schön", "sch\\xf6n"} & set(words.replace(">", " ").split()), (
        "comments stay in the project"
    )


@pytest.mark.parametrize(
    ("grades", "code"),
    [
        ([], ErrorCode.RELEASE_NO_VERDICTS),
        ([{0: ""}], ErrorCode.RELEASE_UNGRADED),
        ([{0: "A", 1: "B"}, {0: "A"}], ErrorCode.RELEASE_BLIND),
        ([{0: "X"}], ErrorCode.RELEASE_NOTHING),
    ],
)
def test_an_unfinished_project_is_refused(tmp_path: Path, grades: list[dict[int, str]], code: str) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    for number, given in enumerate(grades):
        graded_project.judge(project, f"inspector {number}", given)
    with pytest.raises(ScannerError) as error:
        release(project, tmp_path / "paper", options())
    assert error.value.code == code
    assert [path.name for path in tmp_path.iterdir()] == ["hunt"], "nothing is left behind"


def test_half_a_project_is_refused(tmp_path: Path) -> None:
    """One of its rounds was not copied whole."""
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    (tmp_path / "hunt" / "rounds" / "1" / "objects.parquet").unlink()
    with pytest.raises(ScannerError) as error:
        release(type(project)(tmp_path / "hunt"), tmp_path / "paper", options())
    assert error.value.code == ErrorCode.HUNT_DAMAGED


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "notes.txt").write_text("mine")
    for folder, chosen, code in (
        ("paper", options(), ErrorCode.RELEASE_EXISTS),
        ("new", options(grades=("Z",)), ErrorCode.RELEASE_BAD_OPTION),
    ):
        with pytest.raises(ScannerError) as error:
            release(project, tmp_path / folder, chosen)
        assert error.value.code == code


def test_the_catalogue_of_another_model_is_refused(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    with pytest.raises(ScannerError, match="no list of the project is") as error:
        release(project, tmp_path / "paper", options(), info=graded_project.info("e" * 64))
    assert error.value.code == ErrorCode.RELEASE_BAD_OPTION


def test_without_pixels_the_tables_are_written(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    report = release(project, tmp_path / "paper", options(name_inspectors=True))
    assert (report.without_pixels, report.candidates) == (1, {"A": 1, "B": 0})
    assert Table.read(tmp_path / "paper" / "verdicts.fits")["inspector"].tolist()[0] == "ann"
    assert "known_as" not in Table.read(tmp_path / "paper" / "candidates.fits").colnames


def test_a_team_releases_when_its_plan_is_fulfilled(tmp_path: Path) -> None:
    """Fakes and duds are no part of it, a revised grade is no independent one, and the chair has the last word."""
    project, _ = team_project.project(tmp_path / "hunt", ("ann", "bob"), candidates=3, fakes=2, duds=1, chairs=("eve",))
    plan = Plan.of(project)
    everything = {index: "A" if plan.is_listed[index] else "X" for index in range(len(plan))}
    team_project.say(project, "ann", everything)
    with pytest.raises(ScannerError, match=r"bob \(6\)") as error:
        release(project, tmp_path / "paper", options())
    assert error.value.code == ErrorCode.RELEASE_BLIND
    team_project.say(project, "bob", {**everything, 1: "C", 2: "C"})
    team_project.say(project, "bob", {1: "A"}, view=REVISED)
    team_project.say(project, "eve", {2: "C"}, view=CHAIR, stage=FINAL)
    report = release(project, tmp_path / "paper", options(grades=("A", "B", "C")))
    assert report.inspected == 3
    found = Table.read(tmp_path / "paper" / "candidates.fits")
    found.sort("ra")
    assert found["grade"].tolist() == ["A", "B", "C"]
    assert found["grade_mean"].tolist() == [3, 2, 2]


def test_a_release_of_a_team_says_what_was_known_and_who_decided(tmp_path: Path) -> None:
    """A dud is no candidate, what a person graded before the plan is no grade of the team, and numbers are counted."""
    project, _ = team_project.project(tmp_path / "hunt", ("ann", "bob"), candidates=5, fakes=2, duds=1, chairs=("eve",))
    project.add_round(team_project.table(1), "known", "list", team_project.INFO, "lens")
    project.add_round(team_project.table(1, 1), "lookalikes", "list", team_project.INFO, "dud")
    plan = make_plan(project, Wish())
    team_project.say(project, "founder", {0: "X", 3: "X"}, view="one")
    for name in ("ann", "bob"):
        team_project.say(project, name, {index: "A" if index < 6 else "X" for index in range(len(plan))})
    team_project.say(project, "eve", {2: "X"}, view=CHAIR, stage=FINAL)
    out = tmp_path / "paper"
    assert release(project, out, options()).candidates == {"A": 3, "B": 0}
    every = Table.read(out / "inspected.fits")
    told = [every[name].tolist() for name in ("grade", "final_grade", "grade_mean", "grade_count", "truth")]
    assert [list(row) for row in zip(*told, strict=True)] == [
        ["A", "", 3.0, 2, "lens"], ["A", "", 3.0, 2, "dud"], ["X", "X", 3.0, 2, ""], ["A", "", 3.0, 2, ""],
        ["A", "", 3.0, 2, ""],
    ]  # fmt: skip
    assert every["grades"].tolist() == ["A A"] * 5
    assert "triage" not in every.colnames, "a column of which nothing is known"
    assert sorted(set(Table.read(out / "candidates.fits")["object_id"] - 10**15)) == [0, 3, 4]
    verdicts = Table.read(out / "verdicts.fits")
    decided = verdicts[verdicts["stage"] == FINAL]
    assert (len(verdicts), decided["inspector"].tolist(), decided["verdict"].tolist()) == (11, ["chair"], ["X"])
    team = json.loads((out / "provenance.json").read_text(encoding="utf-8"))["team"]
    assert team["tests"] == {
        "painted lenses": {"graded": 2, "kept": 1}, "known lenses": {"graded": 1, "kept": 1},
        "duds": {"graded": 2, "kept": 1},
    }  # fmt: skip
    assert [(one["source"], one["truth"], one["painted"], one["objects"]) for one in team["lists_of_tests"]] == [
        ("truth", "lens", True, 2), ("list", "dud", False, 1), ("list", "lens", False, 1), ("list", "dud", False, 1)
    ]  # fmt: skip
    told = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert [one["round"] for one in told["selection"]] == [1], "tests of the inspectors were not selected"
    assert (team["grades_per_object"], team["inspectors"], team["alpha"]["value"]) == ([2, 2], 2, None)
    readme = " ".join((out / "ReadMe").read_text(encoding="ascii").split())
    for words in (
        "Each object has 2 grades, given blind",
        "2 painted lenses (1 with a grade that is kept)",
        "where a chair gave a final grade, it is that",
        "1 of the objects were known not to be lenses",
    ):
        assert words in readme, words


def test_a_release_counts_the_painted_lenses_that_nobody_saw(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "hunt", ("ann",), candidates=2)
    project.add_round(team_project.table(3, 1), "fakes", "truth", team_project.INFO, "lens", painted=True)
    plan = make_plan(project, Wish())
    team_project.say(project, "ann", dict.fromkeys(range(len(plan)), "A"))
    release(project, tmp_path / "paper", options())
    team = json.loads((tmp_path / "paper" / "provenance.json").read_text(encoding="utf-8"))["team"]
    assert [(one["objects"], one["withheld"]) for one in team["lists_of_tests"]] == [(3, 1)]
    assert team["tests"]["painted lenses"]["graded"] == 2
    assert "1 more were withheld" in " ".join((tmp_path / "paper" / "ReadMe").read_text(encoding="ascii").split())


def test_magnitudes_have_errors_and_say_what_they_are(tmp_path: Path) -> None:
    rows = Table({"object_id": [217_290_000_001, 217_290_000_002], "tile": ["217.290"] * 2, "ra": [150.1, 150.2]})
    rows["dec"], rows["flux_r"], rows["fluxerr_r"] = [2.2, 2.2], [1000.0, -5.0], [10.0, 10.0]
    rows["mag_r"] = np.array([31.4 - 7.5, np.nan], np.float32)
    project = Project.create(tmp_path / "hunt")
    project.add_round(rows, "first", "candidates.csv", graded_project.info())
    graded_project.judge(project, "ann", {0: "A", 1: "A"})
    release(project, tmp_path / "paper", options())
    table = Table.read(tmp_path / "paper" / "candidates.vot")
    # 1 % of a flux are 0.0109 mag; a negative flux has no magnitude.
    assert np.asarray(table["magerr_r"].filled(np.nan)).tolist() == pytest.approx([0.010857, np.nan], 1e-4, nan_ok=True)
    assert (table["magerr_r"].unit, table["magerr_r"].meta["ucd"]) == ("mag", "stat.error;phot.mag;em.opt.R")
    about = 'AB magnitude of the flux in r, circular aperture of 3" diameter, without corrections'
    assert " ".join(table["mag_r"].description.split()) == about, "XML may break the line"
    assert "flux_r" not in table.colnames


def test_chairs_who_contradict_each_other_release_nothing(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "hunt", ("ann",), candidates=2, chairs=("eve", "fay"))
    team_project.say(project, "ann", {0: "A", 1: "X"})
    laptop = Project(Path(shutil.copytree(project.folder, tmp_path / "laptop")))
    team_project.say(project, "eve", {0: "A"}, view=CHAIR, stage=FINAL)
    team_project.say(laptop, "fay", {0: "X"}, view=CHAIR, stage=FINAL)
    assert len(merge(project, laptop.folder).conflicts) == 1
    with pytest.raises(ScannerError, match=r"1 final grades .* contradict") as error:
        release(project, tmp_path / "paper", options())
    assert error.value.code == ErrorCode.RELEASE_UNGRADED
    team_project.say(project, "fay", {0: "B"}, view=CHAIR, stage=FINAL)
    assert release(project, tmp_path / "paper", options()).candidates == {"A": 0, "B": 1}

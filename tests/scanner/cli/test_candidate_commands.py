"""Commands for candidates: what is missing on the command line is said before anything is read or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from astropy.table import Table
from click.testing import CliRunner

from scanner.cli import main
from tests.support import graded_project


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text("object_id,tile,ra,dec\n217290000001,217.290,150.1,2.2\n")
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("handoff", "out", "--list", "LIST"), "--root"),
        (("release", "out", "--project", ".", "--root", "."), "--catalog"),
        (("crossmatch", "LIST"), "--list"),
        (("crossmatch", "LIST", "--list", "LIST", "--radius", "0"), "--radius"),
    ],
)
def test_what_is_missing_is_a_wrong_command_line(listed: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, [str(listed) if word == "LIST" else word for word in words])
    assert done.exit_code == 2
    assert said in done.output


def test_a_cross_match_is_written_and_said(listed: Path, tmp_path: Path) -> None:
    Table({"ra": [150.1], "dec": [2.2], "z": [0.5]}).write(tmp_path / "desi.fits")
    arguments = ["crossmatch", str(tmp_path / "desi.fits"), "--list", str(listed), "-f", "json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["desi_z"] == 0.5
    assert row["tile"] == "217.290"
    assert "1 of 1 rows" in done.stderr


def test_a_release_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCANNER_CATALOG", raising=False)
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    out = tmp_path / "paper"
    done = CliRunner().invoke(main, ["release", str(out), "--project", str(project.folder)])
    assert done.exit_code == 1
    assert "[release.no_verdicts]" in done.stderr
    graded_project.judge(project, "ann", {0: "A"})
    done = CliRunner().invoke(main, ["release", str(out), "--project", str(project.folder), "--title", "Mine"])
    # Its objects have no pixels.
    assert done.exit_code == 3, done.output
    assert "1 of grade A" in done.stdout
    assert "Mine" in (out / "ReadMe").read_text(encoding="ascii")


def test_a_release_says_how_many_candidates_were_tests(tmp_path: Path) -> None:
    project = graded_project.make(tmp_path / "hunt", pixels=False)
    graded_project.judge(project, "ann", {0: "A"})
    known = Table({"object_id": [217_290_000_001], "tile": ["217.290"], "ra": [150.1], "dec": [2.2]})
    project.add_round(known, "lens: known", "known.csv", graded_project.info(), "lens")
    done = CliRunner().invoke(main, ["release", str(tmp_path / "paper"), "--project", str(project.folder)])
    assert done.exit_code == 3, done.output
    assert "1 of the candidates are tests of the inspectors" in done.stderr
    assert (tmp_path / "paper" / "lenscat.csv").read_text(encoding="utf-8").count("\n") == 1

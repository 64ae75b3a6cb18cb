"""Known lenses as a user asks for them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.end_to_end.conftest import Scanner


def test_lenses_come_with_the_tile_they_are_on(scanner: Scanner, tmp_path: Path) -> None:
    """Q0957+561 at ra 150.337, dec 55.897 lies on row 292, xxx = 2 * ra * cos(56 deg) = 168."""
    tiles = tmp_path / "tiles.txt"
    tiles.write_text("168.292\n169.292\n")
    done = scanner("lenses", "--tiles", tiles, "--grade", "confident", "-f", "csv")
    assert done.code == 0, done.err
    found = {row["name"]: row for row in csv.DictReader(io.StringIO(done.out))}
    famous = next(row for name, row in found.items() if "0957+561" in name)
    assert (famous["tile"], famous["grade"]) == ("168.292", "confident")
    listed = scanner("lenses", "--tiles", tiles, "--grade", "confident", "--as-tile-list")
    assert "168.292" in listed.out.splitlines()
    assert set(listed.out.splitlines()) <= {"168.292", "169.292"}


def test_only_the_tiles_of_a_catalogue(scanner: Scanner, catalogue: Path) -> None:
    done = scanner("lenses", "--catalog", catalogue, "-f", "csv")
    assert done.code == 0, done.err
    assert {row["tile"] for row in csv.DictReader(io.StringIO(done.out))} <= {"200.292", "201.292", "202.292"}


def test_a_survey_without_a_grid_needs_a_catalogue(scanner: Scanner) -> None:
    done = scanner("lenses", "--survey", "hsc")
    assert done.code == 1
    assert "survey.no_grid" in done.err

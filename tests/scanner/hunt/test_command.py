"""``scanner hunt``: rounds from the score, from lenses and from a list, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import catalogs
from catalogs import lenses as literature
from catalogs.ranking import rank
from catalogs.search.matching import match
from scanner.cli import main
from scanner.hunt.project import Project
from tests.scanner.web.test_rounds import scored
from tests.support import planted


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> catalogs.catalogue.Catalogue:
    return scored(tmp_path_factory.mktemp("scored") / "embeddings")


def hunt(folder: Path, *arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["hunt", str(folder / "hunt"), *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_rounds_begin_from_the_score_from_lenses_and_from_a_list(
    filled: catalogs.catalogue.Catalogue, tmp_path: Path
) -> None:
    catalogue = ("--catalog", filled.path)
    table = filled.table(["object_id", "ra", "dec"])
    some = table[planted.is_lens(table["object_id"])][:8]
    (tmp_path / "mine.csv").write_text(
        "ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in some) + "200,-20\n", encoding="utf-8"
    )
    code, out, _ = hunt(tmp_path, *catalogue, "--score", "-k", 15)
    assert (code, out) == (0, "Round 1: 15 objects\n")
    # Exit code 3 tells that a row is of no object.
    code, out, errors = hunt(tmp_path, *catalogue, "--like", tmp_path / "mine.csv", "-k", 20, "--title", "Like mine")
    assert (code, out) == (3, "Round 2: 20 objects\n")
    assert "Skipped: mine.csv, row 9 [query.outside_coverage]" in errors
    code, out, _ = hunt(tmp_path, *catalogue, "--list", tmp_path / "mine.csv")
    assert (code, out) == (3, "Round 3: 8 objects\n")
    assert hunt(tmp_path, *catalogue)[0] == 0

    project = Project(tmp_path / "hunt")
    rounds = [project.round(number) for number in project.rounds()]
    assert [one.record.title for one in rounds] == ["By the lens score", "Like mine", "mine"]
    by_score = rank.rank(filled, method="score", k=15, known=literature.known(), hide_known=True)
    like = match(filled.snapshot(), some["ra"].tolist(), some["dec"].tolist())
    by_lenses = rank.rank(filled, like, k=20, known=literature.known(), hide_known=True)
    for one, expected in zip(rounds, (by_score, by_lenses, some), strict=True):
        np.testing.assert_array_equal(one.place["object_id"], expected["object_id"])


def test_a_question_without_an_answer_leaves_no_project(filled: catalogs.catalogue.Catalogue, tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("ra,dec\n200,-20\n", encoding="utf-8")
    code, _, errors = hunt(tmp_path, "--catalog", filled.path, "--like", tmp_path / "far.csv")
    assert code == 1
    assert "rank.no_example" in errors
    code, _, errors = hunt(tmp_path, "--catalog", filled.path, "--score", "--list", tmp_path / "far.csv")
    assert code == 2
    assert "one of --list, --like and --score" in errors
    assert not (tmp_path / "hunt").exists()

"""``python -m studies.ranking`` on a catalogue of one tile, and the artefacts that it adds to cutouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

import catalogs
from catalogs.ranking import METHODS
from catalogs.store.scores import Scores
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey
from scanner.survey.tile_list import find
from studies import artefacts, ranking
from tests.support import small_tiles, tiny_encoder

LENSES = 16


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A catalogue of more objects than six rounds of twenty judge: the brightest are called lenses, the next stars."""
    folder = tmp_path_factory.mktemp("ranking")
    unions, options = survey.load("unions"), ScanOptions(readers=0)
    small_tiles.write(folder, "200.292", size=1000, objects=400)
    contract = tiny_encoder.contract(scores=Scores(("lens",), 0.001, "made-up objects"))
    with Encoder(tiny_encoder.write(folder / "encoder.onnx", contract), "cpu", threads=1) as encoder:
        run = make_run(unions, encoder, options)
        filled = catalogs.create(folder / "embeddings", run)
        scan_tiles([find(unions, "200.292", folder)], unions, encoder, filled, run, options, Quiet())
    table = filled.table(["ra", "dec", "snr"], where="is_primary")
    table = table[np.argsort(-table["snr"])][: LENSES + 5]
    labels = ["lens"] * LENSES + ["star"] * 5
    Table([table["ra"], table["dec"], labels], names=("ra", "dec", "label")).write(folder / "truth.csv")
    return [str(filled.path), "--truth", str(folder / "truth.csv")]


@pytest.fixture(autouse=True)
def few_weighings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "WEIGHINGS", dict(list(ranking.WEIGHINGS.items())[:2]))


def test_the_choices_of_ranking_are_measured_by_one_command(words: list[str], tmp_path: Path) -> None:
    folder, out = Path(words[0]).parent, tmp_path / "ranking.json"
    options = ["--label", "lens", "--draws", "4", "--root", str(folder), "--model", str(folder / "encoder.onnx")]
    done = CliRunner().invoke(ranking.main, [*words, *options, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer = json.loads(out.read_text())
    assert set(answer) == {"examples", "fused", "augment", "probability", "rounds", "outliers"}
    # Of 16 lenses; as many leave nothing to find.
    assert [row["examples"] for row in answer["examples"][:: len(METHODS)]] == [1, 3, 8]
    assert [(row["examples"], row["weights"]) for row in answer["fused"]] == [
        (count, name) for count in (1, 3, 8) for name in ranking.WEIGHINGS
    ]
    assert [row["examples"] for row in answer["augment"][:: len(METHODS)]] == ["as they are", "eight ways"]
    assert all(0 <= row["low"] <= row["mAP"] <= row["high"] <= 1 for row in answer["examples"] + answer["augment"])
    assert [row["next"] for row in answer["rounds"]] == list(ranking.PLANS)
    assert all(0 <= row["found"] <= row["of"] for row in answer["rounds"])
    assert answer["probability"]["log_loss"] > 0
    assert [row["method"] for row in answer["outliers"]][:2] == ["mahalanobis", "knn"]
    assert all(0 <= row[kind] <= 1 for row in answer["outliers"] for kind in artefacts.KINDS)
    assert all(kind in done.output for kind in artefacts.KINDS)


def test_without_images_what_takes_pixels_is_left_out(words: list[str], tmp_path: Path) -> None:
    options = ["--draws", "2", "--out", str(tmp_path / "ranking.json")]
    CliRunner().invoke(ranking.main, [*words, *options], catch_exceptions=False)
    assert set(json.loads((tmp_path / "ranking.json").read_text())) == {"examples", "fused", "probability", "rounds"}


def test_too_few_lenses_are_an_error_before_anything_is_measured(words: list[str]) -> None:
    done = CliRunner().invoke(ranking.main, [*words, "--label", "star"])
    assert done.exit_code == 2
    assert "more than 12" in done.output


def test_an_area_is_how_often_the_artefact_is_farther_out() -> None:
    far, near = np.array([3.0, 4.0]), np.array([1.0, 2.0])
    assert (ranking._area(far, near), ranking._area(near, far)) == (1, 0)
    assert ranking._area(np.array([1.0, 2.0]), near) == 0.5  # equals count half


@pytest.mark.parametrize("kind", artefacts.KINDS)
def test_an_artefact_changes_a_copy_of_the_cutout_and_no_missing_band(kind: str) -> None:
    flux = np.random.default_rng(1).normal(100, 5, (3, 32, 32)).astype(np.float32)
    flux[0] = np.nan
    before = flux.copy()
    after, again = (artefacts.KINDS[kind](flux, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(flux, before)
    np.testing.assert_array_equal(after, again)
    assert (after.dtype, after.shape) == (np.float32, flux.shape)
    assert np.isnan(after[0]).all()
    changed = (after != flux)[1:]
    assert changed.any()
    if kind == "half missing":
        assert 0.3 < np.isnan(after[1]).mean() < 0.7
    elif kind == "hot pixels":
        assert changed.sum() == 20
    elif kind == "bleeding column":
        columns = (after[1] - flux[1] > 100).sum(axis=0)
        assert set(columns) == {0, 32}
        assert np.count_nonzero(columns) in (2, 3, 4)
    elif kind == "a band shifted by 10 px":
        np.testing.assert_array_equal(np.sort(after[1:], axis=None), np.sort(flux[1:], axis=None))
        assert changed.any(axis=(1, 2)).sum() == 1

"""What the benchmarks of search, ranking and publishing are made of, on catalogues of a tile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from numpy.typing import NDArray

import catalogs
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.search import publish, readers, rivals
from catalogs.store.vectors import unit
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey
from scanner.survey.tile_list import find
from studies import artefacts as spoilt
from studies import ranking
from tests.support import small_tiles, tiny_encoder

LENSES = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tile of more objects than six rounds of twenty judge."""
    return small_tiles.write(tmp_path_factory.mktemp("images"), "200.292", size=1000, objects=400)


@pytest.fixture(scope="module")
def scanned(model: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its catalogue."""
    unions, options = survey.load("unions"), ScanOptions(readers=0)
    with Encoder(model, device="cpu", threads=1) as encoder:
        run = make_run(unions, encoder, options)
        filled = catalogs.create(tmp_path_factory.mktemp("scanned") / "embeddings", run)
        scan_tiles([find(unions, "200.292", images)], unions, encoder, filled, run, options, Quiet())
    return filled.path


@pytest.fixture
def truth(scanned: Path, tmp_path: Path) -> Path:
    """The brightest objects, called lenses, and others that are not."""
    table = catalogs.open(scanned).table(["ra", "dec", "snr"], where="is_primary")
    table = table[np.argsort(-table["snr"])][: LENSES + 5]
    words = ["lens"] * LENSES + ["star"] * 5
    Table([table["ra"], table["dec"], words], names=("ra", "dec", "label")).write(tmp_path / "truth.csv")
    return tmp_path / "truth.csv"


def test_the_choices_of_ranking_are_measured_by_one_command(
    scanned: Path, model: Path, images: Path, truth: Path, tmp_path: Path
) -> None:
    asked = [str(scanned), "--truth", str(truth), "--label", "lens", "--draws", "4", "--out", str(tmp_path / "r.json")]
    done = CliRunner().invoke(
        ranking.main, [*asked, "--root", str(images), "--model", str(model)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found) == {"examples", "augment", "probability", "rounds", "outliers"}
    assert [row["examples"] for row in found["examples"][::3]] == [1, 3, 8]  # of 16; as many leave nothing to find
    assert [row["examples"] for row in found["augment"][::3]] == ["as they are", "eight ways"]
    for row in (*found["examples"], *found["augment"]):
        assert 0 <= row["low"] <= row["mAP"] <= row["high"] <= 1
    assert [row["next"] for row in found["rounds"]] == list(ranking.PLANS)
    assert all(0 <= row["found"] <= row["of"] for row in found["rounds"])
    assert found["probability"]["log_loss"] > 0
    assert [row["method"] for row in found["outliers"]][:2] == ["mahalanobis", "knn"]
    assert all(0 <= row[kind] <= 1 for row in found["outliers"] for kind in spoilt.KINDS)
    assert all(kind in done.output for kind in spoilt.KINDS)


def test_without_images_what_takes_pixels_is_left_out(scanned: Path, truth: Path, tmp_path: Path) -> None:
    asked = [str(scanned), "--truth", str(truth), "--draws", "2", "--out", str(tmp_path / "r.json")]
    CliRunner().invoke(ranking.main, asked, catch_exceptions=False)
    assert set(json.loads((tmp_path / "r.json").read_text())) == {"examples", "probability", "rounds"}


def test_too_few_lenses_are_said_before_anything_is_measured(scanned: Path, truth: Path) -> None:
    done = CliRunner().invoke(ranking.main, [str(scanned), "--truth", str(truth), "--label", "star"])
    assert done.exit_code == 2
    assert "more than 12" in done.output


def test_an_area_is_how_often_the_spoilt_is_farther_out() -> None:
    far, near = np.array([3.0, 4.0]), np.array([1.0, 2.0])
    assert ranking._area(far, near) == 1
    assert ranking._area(near, far) == 0
    assert ranking._area(np.array([1.0, 2.0]), near) == 0.5  # equals count half


def window(bands: int = 3) -> NDArray[np.float32]:
    """Noise, the first band missing."""
    flux = np.random.default_rng(1).normal(100, 5, (bands, 32, 32)).astype(np.float32)
    flux[0] = np.nan
    return flux


@pytest.mark.parametrize("kind", spoilt.KINDS)
def test_a_spoilt_window_differs_and_the_one_it_came_of_does_not(kind: str) -> None:
    before = window()
    kept = before.copy()
    after = spoilt.KINDS[kind](before, np.random.default_rng(2))
    np.testing.assert_array_equal(before, kept)
    assert (after.dtype, after.shape) == (np.float32, before.shape)
    assert np.isnan(after[0]).all()  # a missing band stays missing
    assert not np.array_equal(after, before, equal_nan=True)
    again = spoilt.KINDS[kind](before, np.random.default_rng(2))
    np.testing.assert_array_equal(after, again)


def test_windows_are_spoilt_as_they_say() -> None:
    flux, rng = window(), np.random.default_rng(3)
    assert 0.3 < np.isnan(spoilt.half(flux, rng)[1]).mean() < 0.7
    assert (spoilt.hot(flux, rng) != flux)[1:].sum() == 20
    np.testing.assert_array_equal(spoilt.negative(flux, rng), -flux)
    full = spoilt.bleeding(flux, rng)[1] - flux[1] > 100
    assert np.array_equal(full.any(axis=0), full.all(axis=0))  # whole columns
    assert full.any(axis=0).sum() in (2, 3, 4)
    moved = spoilt.shifted(flux, rng)
    assert [np.array_equal(np.sort(a, axis=None), np.sort(b, axis=None)) for a, b in zip(moved, flux, strict=True)][1:]
    assert sum(not np.array_equal(a, b, equal_nan=True) for a, b in zip(moved, flux, strict=True)) == 1


def test_settings_of_the_index_stand_beside_exact_search(tmp_path: Path) -> None:
    found = rivals.measure_settings(Setup("", tmp_path, 0, quick=True), Cloud(96, 3000))
    assert [(row["trees"], row["dims"], row["search_k"]) for row in found] == [
        (6, 64, 2000), (6, 64, 5000), (6, 64, 10_000), (4, 64, 5000), (10, 64, 5000), (6, 48, 5000),
    ]  # fmt: skip
    for row in found:
        assert 0.9 < row["recall_at_10"] <= 1
        assert row["speedup"] > 0
    size = {(row["trees"], row["dims"]): row["bytes_per_row"] for row in found}
    assert size[4, 64] < size[6, 64] < size[10, 64]
    assert size[6, 48] < size[6, 64]
    assert min(size.values()) > 2 * 96 + 32  # vectors and items are counted


def test_vectors_are_stored_whole_block_after_block(tmp_path: Path) -> None:
    drawn = Cloud(16, 500).draw(500, stream=100)
    rows = rivals.write_half_vectors(tmp_path / "rows.f16", (drawn[:300], drawn[300:]))
    assert (len(rows), rows.dim) == (500, 16)
    found = unit(np.concatenate(list(rows.leading(16))))
    np.testing.assert_allclose(found, drawn, atol=2e-3)


def test_readers_answer_as_scanner_does_by_the_statements_of_the_docs(model: Path, tmp_path: Path) -> None:
    found = readers.measure(Setup(str(model), tmp_path, 0, quick=True))
    names = [row["reader"].partition(":")[0] for row in found["readers"]]
    assert names == ["DuckDB", "polars", "pyarrow and a numpy product", "scanner, no index", "scanner, index"]
    for row in found["readers"]:
        assert row["reader"].endswith("not installed") or (row["agrees"] == 1 and row["cpu_s"] > 0)
    assert found["map_gain"] > 0


def test_publishing_counts_what_it_wrote(model: Path, tmp_path: Path) -> None:
    found = publish.measure(Setup(str(model), tmp_path, 0, quick=True))
    assert 0.8 * publish.FEW_ROWS < found["rows"] < publish.FEW_ROWS  # copies in overlaps stay out
    assert found["files"] >= 1
    assert found["cpu_s_per_million_rows"] > 0
    assert found["mb_per_million_rows"] > 4 * found["embedding_dim"] / 2

"""Sweeps that store only what looks most like examples: which rows, by which score, and nothing mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs.errors import ScannerError
from catalogs.ranking import rank
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.queries import keep_weights
from scanner.scan import best_rows, prepare
from scanner.scan.best_rows import Best, Keep
from scanner.scan.options import LOW, ScanOptions
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from tests.support import small_tiles, tiny_encoder

UNIONS = survey.load("unions")
NAMES = small_tiles.names(2)
GRID = ScanOptions(readers=0, sources="grid", stride=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("unions")
    for name in NAMES:
        small_tiles.write(made, name, size=300)
    return made


@pytest.fixture(scope="module")
def swept(folder: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of the whole grid."""
    out = tmp_path_factory.mktemp("all")
    scanned(folder, encoder, out, GRID)
    return out


@pytest.fixture(scope="module")
def like(folder: Path, swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three places of the grid as examples, and one off the tiles."""
    table = catalogs.open(swept).table(["ra", "dec"])[[30, 150, 500]]
    path = tmp_path_factory.mktemp("like") / "lenses.csv"
    path.write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in table) + "10,-60\n")
    return path


def scanned(folder: Path, encoder: Encoder, out: Path, options: ScanOptions) -> ScanReport:
    run = make_run(UNIONS, encoder, options)
    listed = [tile_list.find(UNIONS, name, folder) for name in NAMES]
    return scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)


def rows(out: Path, name: str) -> tuple[list[int], np.ndarray]:
    table = pq.read_table(out / "tiles" / f"{name}.parquet")
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return table["object_id"].to_pylist(), vectors


@pytest.mark.parametrize("best", [1, 7, 100_000])
def test_the_best_rows_of_each_tile_are_stored_as_they_were(
    folder: Path, encoder: Encoder, swept: Path, like: Path, tmp_path: Path, best: int
) -> None:
    chosen = keep_weights.by_pixels(best, like, UNIONS, encoder, folder)
    report = scanned(folder, encoder, tmp_path, replace(GRID, keep=chosen))
    for name, tile in zip(NAMES, report.tiles, strict=True):
        ids, vectors = rows(swept, name)
        kept, stored = rows(tmp_path, name)
        scores = chosen.scores(vectors)
        assert len(kept) == tile.objects == min(best, len(ids))
        assert kept == sorted(kept)
        where = np.searchsorted(ids, kept)
        np.testing.assert_array_equal(stored, vectors[where])
        worst = np.sort(scores)[::-1][min(best, len(ids)) - 1]
        assert scores[where].min() >= worst - 1e-3  # scored before the mantissa was rounded
        assert tile.dropped == 0


def test_examples_of_a_catalogue_give_the_score_of_rank(
    folder: Path, encoder: Encoder, swept: Path, like: Path, tmp_path: Path
) -> None:
    """The rows that a scan keeps are those that rank lists first in the catalogue of all rows."""
    from scanner.queries import examples, query

    catalogue = catalogs.open(swept)
    chosen = keep_weights.from_catalogue(5, like, catalogue, encoder)
    found = examples.read(like, query.QueryBuilder(catalogue.snapshot()))
    table = rank.rank(catalogue, found, method="centroid", k=5)
    embedded = dict(
        zip(*(np.concatenate(part) for part in zip(*(rows(swept, name) for name in NAMES), strict=True)), strict=True)
    )
    own = chosen.scores(np.array([embedded[one] for one in table["object_id"]]))
    np.testing.assert_allclose(own, table["score"], atol=1e-4)  # rank divides by the length of rounded vectors


def test_what_is_kept_is_recorded_and_not_mixed(folder: Path, encoder: Encoder, like: Path, tmp_path: Path) -> None:
    five = replace(GRID, keep=keep_weights.by_pixels(5, like, UNIONS, encoder, folder))
    scanned(folder, encoder, tmp_path, five)
    assert catalogs.open(tmp_path).info.keep == {"best": 5, "like": five.keep.like}  # type: ignore[union-attr]
    assert scanned(folder, encoder, tmp_path, five).count("skipped") == 2
    for other in (GRID, replace(GRID, keep=replace(five.keep, best=6))):  # type: ignore[type-var]
        assert make_run(UNIONS, encoder, other).digest != make_run(UNIONS, encoder, five).digest
        with pytest.raises(ScannerError) as caught:
            scanned(folder, encoder, tmp_path, other)
        assert caught.value.code == "catalogue.other_keep"


def test_the_same_examples_on_other_pixels_are_other_examples(
    folder: Path, encoder: Encoder, like: Path, tmp_path: Path
) -> None:
    """Of a new reduction under the same names, say; the weights are others then, and rows must not be mixed."""
    for name in NAMES:
        small_tiles.write(tmp_path, name, size=300, seed=7)
    first, again, other = (
        keep_weights.by_pixels(5, like, UNIONS, encoder, where) for where in (folder, folder, tmp_path)
    )
    assert first == again
    assert first.weights != other.weights
    assert first.like != other.like


def test_the_digest_of_examples_is_of_pixels_not_of_a_processor(
    folder: Path, encoder: Encoder, like: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kind of processor, or a GPU, gives other last bits: a scan that goes on there is the same scan."""
    here = keep_weights.by_pixels(5, like, UNIONS, encoder, folder)
    embed = Encoder.embed
    monkeypatch.setattr(Encoder, "embed", lambda self, flux: embed(self, flux) * np.float32(1 + 1e-6))
    there = keep_weights.by_pixels(5, like, UNIONS, encoder, folder)
    assert here.weights != there.weights
    assert here.like == there.like


def test_without_keep_nothing_changed() -> None:
    assert "keep" not in GRID.settings()


def test_strips_keep_the_same(
    folder: Path, encoder: Encoder, like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanner.images import sections

    monkeypatch.setattr(sections, "SECTION", (100, 300))
    options = replace(GRID, keep=keep_weights.by_pixels(9, like, UNIONS, encoder, folder))
    for memory in ("normal", LOW):
        scanned(folder, encoder, tmp_path / memory, replace(options, memory=memory))
    for name in NAMES:
        assert rows(tmp_path / "normal", name)[0] == rows(tmp_path / LOW, name)[0]


def test_a_dense_grid_reads_a_tile_once(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = open_tile
    monkeypatch.setattr(
        prepare, "open_tile", lambda *given, **named: (read.append(given[1].name), original(*given, **named))[1]
    )
    scanned(folder, encoder, tmp_path, GRID)
    assert read == NAMES


def test_few_rows_are_held_however_many_pass() -> None:
    best, rng = Best(Keep(10, (1.0, 0.0), "x")), np.random.default_rng(1)
    scores = np.round(rng.uniform(-1, 1, 5000), 2).astype(np.float32)  # with ties
    most = 0
    for start in range(0, 5000, 37):
        ids = np.arange(start, min(start + 37, 5000))
        best.add({"object_id": ids, "ra": ids * 1.0, "embedding": np.stack([scores[ids], 0 * scores[ids]], axis=1)})
        most = max(most, best._count)
    (kept,) = best.rows()
    expected = np.sort(np.lexsort((np.arange(5000), -scores))[:10])
    np.testing.assert_array_equal(kept["object_id"], expected)
    assert most < 20 + 37


def test_examples_without_pixels_or_of_another_model_are_refused(
    folder: Path, encoder: Encoder, swept: Path, like: Path, tmp_path: Path
) -> None:
    far = tmp_path / "far.csv"
    far.write_text("ra,dec\n10,-60\n")
    with pytest.raises(ScannerError) as caught:
        keep_weights.by_pixels(5, far, UNIONS, encoder, folder)
    assert caught.value.code == "rank.no_example"
    other = tiny_encoder.write(tmp_path / "other.onnx", tiny_encoder.contract(), seed=9)
    with Encoder(other, device="cpu", threads=1) as loaded, pytest.raises(ScannerError) as caught:
        keep_weights.from_catalogue(5, like, catalogs.open(swept), loaded)
    assert caught.value.code == "catalogue.other_model"


@pytest.mark.parametrize("text", ["best:0", "best", "best:-1", "all", "best:1.5", "best:5 "])
def test_only_best_n_can_be_kept(text: str) -> None:
    with pytest.raises(ValueError, match="best:N"):
        best_rows.parse(text)
    assert best_rows.parse("best:12") == 12

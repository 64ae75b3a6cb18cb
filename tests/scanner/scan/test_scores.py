"""Scores in the files of a scan: each row has those of its own cutout, by whatever road it came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan.best_rows import Keep
from scanner.scan.options import LOW, ScanOptions
from scanner.scan.run import make_run, scan_tiles
from scanner.sources.sources import detect
from scanner.survey import survey, tile_list
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from tests.support import small_tiles, tiny_encoder

UNIONS = survey.load("unions")
NAMES = ["200.292", "201.292", "202.292"]
IN_PROCESS = ScanOptions(readers=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiles of all bands, and one of g, r and i."""
    made = tmp_path_factory.mktemp("unions")
    for name, bands in zip(NAMES, ("ugriz", "ugriz", "gri"), strict=True):
        small_tiles.write(made, name, size=300, bands=bands)
    return made


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    contract = tiny_encoder.contract(scores=tiny_encoder.SCORES)
    with Encoder(tiny_encoder.write(tmp_path_factory.mktemp("m") / "encoder.onnx", contract), "cpu", 2) as loaded:
        yield loaded


def scan(folder: Path, out: Path, encoder: Encoder, options: ScanOptions = IN_PROCESS) -> catalogs.Catalogue:
    run = make_run(UNIONS, encoder, options, "tiny")
    listed = (tile_list.find(UNIONS, name, folder) for name in NAMES)
    report = scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)
    assert report.count("done") == len(NAMES)
    return catalogs.open(out)


@pytest.fixture(scope="module")
def catalogue(folder: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> catalogs.Catalogue:
    return scan(folder, tmp_path_factory.mktemp("scored") / "catalogue", encoder)


def test_each_row_has_the_scores_of_its_own_cutout(
    catalogue: catalogs.Catalogue, folder: Path, encoder: Encoder
) -> None:
    for name in NAMES:
        table = catalogue.table(["score_lens", "score_ring"], where=f'tile == "{name}"')
        images = open_tile(UNIONS, tile_list.find(UNIONS, name, folder))
        windows = Windows(images, detect(images), WindowFrame(*encoder.contract.frame))
        expected = encoder.encode(windows.gather(0, len(windows))).scores
        np.testing.assert_array_equal(np.stack([table["score_lens"], table["score_ring"]], axis=1), expected)
        assert np.unique(expected).size == expected.size > 40


def test_every_road_gives_the_same_files(catalogue: catalogs.Catalogue, folder: Path, tmp_path: Path) -> None:
    path = catalogue.path.parent / "encoder.onnx"
    tiny_encoder.write(path, tiny_encoder.contract(scores=tiny_encoder.SCORES))
    for number, options in enumerate((ScanOptions(readers=2), ScanOptions(readers=1, memory=LOW))):
        with Encoder(path, "cpu", threads=1, batch=5 + number) as other:
            again = scan(folder, tmp_path / str(number), other, options)
        for name in NAMES:
            assert again.tile_path(name).read_bytes() == catalogue.tile_path(name).read_bytes()


def test_the_best_rows_keep_their_scores(
    catalogue: catalogs.Catalogue, folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    weights = tuple(np.random.default_rng(0).normal(size=48).tolist())
    options = replace(IN_PROCESS, keep=Keep(5, weights, "0" * 64))
    best = scan(folder, tmp_path / "best", encoder, options).table(["object_id", "score_lens"])
    every = dict(catalogue.table(["object_id", "score_lens"]).iterrows())
    assert len(best) == 15
    assert all(every[number] == score for number, score in best.iterrows())


def test_a_model_with_scores_and_one_without_do_not_share_a_catalogue(
    catalogue: catalogs.Catalogue, folder: Path, tmp_path: Path
) -> None:
    plain = tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract())
    with Encoder(plain, "cpu", threads=1) as other, pytest.raises(ScannerError) as caught:
        scan(folder, catalogue.path, other)
    assert caught.value.code == "catalogue.other_model"

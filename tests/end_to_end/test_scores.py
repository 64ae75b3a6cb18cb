"""A model with scores as a user meets it: described, scanned with, filtered by, drawn, and asked for a spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import catalogs
from tests.end_to_end.conftest import SIDE, Scanner
from tests.support import small_tiles, tiny_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contract = tiny_encoder.contract(scores=tiny_encoder.SCORES)
    return tiny_encoder.write(tmp_path_factory.mktemp("scored") / "encoder.onnx", contract)


@pytest.fixture(scope="module")
def catalogue(scanner: Scanner, model: Path, field: Path) -> Path:
    """A catalogue of two tiles, by two workers."""
    out = model.parent / "embeddings"
    done = scanner(
        "scan-tiles", "--tiles", "-", "--root", field, "--model", model, "--out", out, "--workers", 2, "--readers", 0,
        stdin="200.292\n201.292\n",
    )  # fmt: skip
    assert done.code == 0, done.err
    return out


def test_info_tells_what_the_scores_are(scanner: Scanner, model: Path, catalogue: Path) -> None:
    expected = tiny_encoder.SCORES.to_dict()
    for what in (("--model", model), ("--catalog", catalogue)):
        facts = json.loads(scanner("info", *what, "-f", "json").out)
        assert facts["scores"] == expected
    human = scanner("info", "--model", model).out
    assert "scores          names lens ring, prevalence 0.001, population Made-up cutouts." in human
    assert "version         2" in human


def test_a_filter_by_score_and_a_spot_without_an_object(scanner: Scanner, catalogue: Path, field: Path) -> None:
    table = catalogs.open(catalogue).table(["object_id", "ra", "dec", "score_lens"])
    cut = float(np.median(table["score_lens"]))
    done = scanner(
        "query", "--id", table["object_id"][0], "-k", 5, "--where", f"score_lens > {cut}", "--catalog", catalogue,
        "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found) == 5
    assert min(one["score_lens"] for one in found) > cut

    # A corner of the tile, where no object is: it is embedded from its pixels, by the same model.
    (ra, dec), = small_tiles.wcs("200.292", SIDE).all_pix2world([[SIDE - 25, SIDE - 25]], 0)  # fmt: skip
    spot = ("query", "--ra", ra, "--dec", dec, "--radius", 0.01, "--root", field, "-k", 3, "--catalog", catalogue)
    done = scanner(*spot, "--model", catalogue.parent / "encoder.onnx", "--format", "json")
    assert done.code == 0, done.err
    assert "Embedding the spot" in done.err
    assert len(json.loads(done.out)) == 3


def test_a_map_is_coloured_by_a_column(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [maps]")
    command = ("map", "--method", "pca", "--catalog", catalogue)
    for colour, code in (("score_arc", "column.unknown"), ("tile", "column.not_numbers")):
        refused = scanner(*command, "--figure", tmp_path / "map.png", "--colour", colour)
        assert (refused.code, f"[{code}]" in refused.err) == (1, True), refused.err
    assert not (catalogue / "maps").exists()
    assert scanner(*command, "--colour", "score_lens").code == 2
    done = scanner(*command, "--figure", tmp_path / "map.png", "--colour", "score_lens")
    assert done.code == 0, done.err
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert ((picture.max(axis=2) - picture.min(axis=2)) > 60).sum() > 500


@pytest.mark.parametrize("method", ["score", "fused", "probe"])
def test_the_gallery_of_a_ranking_is_drawn_by_every_method(
    scanner: Scanner, catalogue: Path, field: Path, tmp_path: Path, method: str
) -> None:
    """A list by score alone has no similarity to any example."""
    some = catalogs.open(catalogue).table(["ra", "dec"])[:6]
    some.write(tmp_path / "like.csv")
    like = () if method == "score" else ("--like", tmp_path / "like.csv")
    done = scanner(
        "rank", *like, "--method", method, "-k", 5, "--catalog", catalogue, "--root", field, "-f", "csv",
        "--gallery", tmp_path / "ranking.png",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 6
    with Image.open(tmp_path / "ranking.png") as picture:
        assert picture.height > 64
    assert ("Fused: " in done.err) == (method == "fused")

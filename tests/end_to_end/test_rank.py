"""Ranking as a user types it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

import catalogs

from .conftest import Scanner


def test_examples_rank_the_catalogue(scanner: Scanner, catalogue: Path, field: Path, tmp_path: Path) -> None:
    objects = catalogs.open(catalogue).table(where="is_primary")
    listed = tmp_path / "like.csv"
    some = objects[np.argsort(-objects["snr"])][:3]
    listed.write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in some) + "10.0,-20.0\n")
    picture = tmp_path / "gallery.png"
    done = scanner(
        "rank", "--like", listed, "--catalog", catalogue, "-k", 8, "-f", "csv", "--root", field, "--gallery", picture
    )
    assert done.code == 0, done.err
    found = list(csv.DictReader(io.StringIO(done.out)))
    assert len(found) == 8
    for row in found:  # an example, or a piece of one
        away = np.hypot(
            (some["ra"] - float(row["ra"])) * np.cos(np.radians(some["dec"])), some["dec"] - float(row["dec"])
        )
        assert (row["known"] == "True") == bool(away.min() * 3600 <= 3)
    assert "True" in {row["known"] for row in found}
    assert "3 objects, 1 positions are no example" in done.err
    assert "like.csv:4" in done.err
    assert "query.outside_coverage" in done.err
    assert Image.open(picture).size[0] > 500


def test_no_example_in_the_catalogue_is_exit_code_1(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    listed = tmp_path / "like.csv"
    listed.write_text("ra,dec\n10.0,-20.0\n")
    done = scanner("rank", "--like", listed, "--catalog", catalogue)
    assert (done.code, done.out) == (1, "")
    assert "rank.no_example" in done.err

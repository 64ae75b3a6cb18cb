"""Maps and archives as a user makes them: what is refused, and where the cutouts of a map are drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import catalogs

from .conftest import Scanner


def test_publishing_over_something_is_refused_and_said_as_json(
    scanner: Scanner, catalogue: Path, tmp_path: Path
) -> None:
    done = scanner("publish", tmp_path / "new", "--catalog", catalogue, "--format", "json", "--all-rows")
    assert done.code == 0, done.err
    assert f'"rows": {len(catalogs.open(catalogue).table())}' in done.out
    again = scanner("publish", tmp_path / "new", "--catalog", catalogue)
    assert again.code == 1
    assert "publish.not_empty" in again.err


def test_cutouts_are_placed_on_the_map(scanner: Scanner, catalogue: Path, field: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(catalogue, tmp_path / "embeddings")
    command = ("map", "--method", "pca", "--catalog", copy, "--where", 'is_primary and tile == "200.292" and snr > 60')
    done = scanner(*command, "--root", field, "--cutouts", tmp_path / "map.png")
    assert done.code == 0, done.err
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    colourful = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    assert colourful.sum() > 500
    assert scanner("map", "--catalog", copy, "--cutouts", tmp_path / "x.png").code == 2
    refused = scanner("map", "--catalog", copy, "--figure", tmp_path / "x.svg")
    assert refused.code == 2
    assert "x.svg does not end in .png or .pdf" in refused.err

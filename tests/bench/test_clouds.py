"""Catalogues of a benchmark are kept for the next run, and those of a run that was stopped are completed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.harness import rows
from bench.harness.embeddings import Cloud
from bench.search import clouds

SOURCE = Cloud(8, 950)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "TILE_ROWS", 100)
    monkeypatch.setattr(clouds, "BLOCK", 500)


def test_tiles_that_are_missing_are_drawn_again_and_no_other_is_written(tmp_path: Path) -> None:
    filled = clouds.catalogue(tmp_path, SOURCE)
    first = filled.table(["object_id", "embedding"])
    assert len(first) == SOURCE.rows
    tiles = {name: filled.tile_path(name) for name in filled.tiles()}
    lost = rows.tile_name(7)
    written = {name: path.stat().st_mtime_ns for name, path in tiles.items()}
    tiles[lost].unlink()
    again = clouds.catalogue(tmp_path, SOURCE)
    assert {name for name, path in tiles.items() if path.stat().st_mtime_ns == written[name]} >= {
        rows.tile_name(number) for number in range(5)
    }
    table = again.table(["object_id", "embedding"])
    np.testing.assert_array_equal(table["object_id"], first["object_id"])
    np.testing.assert_array_equal(table["embedding"], first["embedding"])


def test_a_dataset_is_exported_once_and_its_cost_is_remembered(tmp_path: Path) -> None:
    pytest.importorskip("lance")
    filled = clouds.catalogue(tmp_path, SOURCE)
    out, took = clouds.dataset(filled)
    assert took is not None
    assert took.wall > 0 < took.cpu
    assert clouds.dataset(filled) == (out, took)
    # What two runs made has a cost that nobody has measured.
    out.with_suffix(".json").unlink()
    assert clouds.dataset(filled) == (out, None)

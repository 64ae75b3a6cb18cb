"""A catalogue of overlapping tiles, and the collection that is published from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs import hats
from catalogs.catalogue import Catalogue
from catalogs.sky import unions_grid

MARGIN = 10.0
SMALL = hats.Options("unions", rows_per_file=450, margin=MARGIN)


@pytest.fixture(scope="module")
def on_grid(run):
    return dataclasses.replace(run, grid="unions")


def write_tiles(folder: Path, names: list[str], run, make_rows, write_tile) -> Catalogue:
    """Tiles that overlap: the same objects are in each tile whose image holds them, measured a little differently."""
    catalogue = catalogs.create(folder, run)
    rng = np.random.default_rng(3)
    centres = np.array([unions_grid.centre(name) for name in names])
    ra = np.concatenate([c[0] + rng.uniform(-0.27, 0.27, 500) / np.cos(np.radians(c[1])) for c in centres]) % 360
    dec = np.concatenate([c[1] + rng.uniform(-0.27, 0.27, 500) for c in centres])
    for name in names:
        there = unions_grid.contains(name, ra, dec)
        rows = make_rows(int(name.replace(".", "")), ra[there], dec[there])
        rows["is_primary"] = unions_grid.is_primary(name, ra[there], dec[there])
        write_tile(catalogue, name, rows, run)
    return catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory, on_grid, make_rows, write_tile) -> Catalogue:
    """Five tiles about RA 0, one of which is missing between the others, and two without rows or far away."""
    names = ["000.292", "001.292", "000.293", "402.292", "100.180"]
    folder = tmp_path_factory.mktemp("hats") / "embeddings"
    made = write_tiles(folder, names, on_grid, make_rows, write_tile)
    with made.writer("300.180", on_grid):
        pass
    return made


@pytest.fixture(scope="module")
def collection(catalogue, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "archive"
    hats.publish(catalogue, out, SMALL)
    return out


def read_tables(table: Path) -> dict[tuple[int, int], pa.Table]:
    """Rows of each pixel of a table, by order and pixel."""
    found = {}
    for path in sorted((table / "dataset").rglob("*.parquet")):
        order, pixel = (int(part.split("=")[1].split(".")[0]) for part in (path.parts[-3], path.parts[-1]))
        found[order, pixel] = pq.read_table(path, partitioning=None)
    return found

"""Small catalogues to ask questions of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run
from tests.support import catalogue_rows
from tests.support.catalogue_rows import Rows


@pytest.fixture(scope="session")
def run() -> Run:
    """A run of a model with 16 dimensions over three bands."""
    return catalogue_rows.RUN


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., Rows]:
    """Rows for one tile: ``make_rows(tile_number, ra, dec, embedding)``."""
    return catalogue_rows.make


@pytest.fixture(scope="session")
def write_tile() -> Callable[..., None]:
    """Writes one tile in one batch: ``write_tile(catalogue, tile, rows, run)``."""
    return catalogue_rows.write


@pytest.fixture
def catalogue(tmp_path: Path, run: Run) -> Catalogue:
    """An empty catalogue."""
    return catalogs.create(tmp_path / "embeddings", run)


@pytest.fixture
def survey(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    """Six tiles of 300 objects side by side at dec 30, from ra 359 over 0 to 2."""
    rng = np.random.default_rng(7)
    for number in range(6):
        ra = (359 + 0.5 * number + rng.uniform(0, 0.5, 300)) % 360
        rows = make_rows(100 + number, ra, 30 + rng.uniform(0, 0.5, 300))
        write_tile(catalogue, f"10{number}.240", rows)
    return catalogue

"""Small catalogues to ask questions of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run

DIM = 16
Rows = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def run() -> Run:
    """A run of a model with 16 dimensions over three bands."""
    return Run("unions", ("u", "g", "r"), "small", "a" * 64, {"embedding_dim": DIM, "window": 64}, {"min_snr": 5.0})


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., Rows]:
    """Rows for one tile: ``make_rows(tile_number, ra, dec, embedding)``; other columns have some plausible value."""

    def make(number: int, ra: Any, dec: Any, embedding: np.ndarray | None = None, **columns: Any) -> Rows:
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        count = len(ra)
        rng = np.random.default_rng(number)
        if embedding is None:
            embedding = rng.normal(size=(count, DIM))
        embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        floats = ["x", "y", "flux_auto", "mag_auto", "a", "b", "theta", "flux_radius", "snr", "valid_fraction"]
        floats += [f"{kind}_{band}" for band in "ugr" for kind in ("flux", "fluxerr", "mag")]
        rows: Rows = {name: rng.uniform(1, 30, count).astype(np.float32) for name in floats}
        rows |= {
            "object_id": number * 1_000_000 + np.arange(count),
            "ra": ra,
            "dec": dec,
            "flags": rng.integers(0, 8, count),
            "detection_band": np.full(count, "r"),
            "bands_present": np.full(count, "ugr"),
            "is_primary": np.ones(count, bool),
            "embedding": embedding.astype(np.float32),
        }
        return rows | {name: np.asarray(value) for name, value in columns.items()}

    return make


@pytest.fixture(scope="session")
def write_tile(run: Run) -> Callable[[Catalogue, str, Mapping[str, np.ndarray]], None]:
    """Write one tile in one batch."""

    def write(catalogue: Catalogue, tile: str, rows: Mapping[str, np.ndarray], by: Run = run) -> None:
        with catalogue.writer(tile, by) as writer:
            writer.write(rows)

    return write


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

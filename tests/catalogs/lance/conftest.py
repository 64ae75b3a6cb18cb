"""A small catalogue with copies, gaps and every kind of odd number, and its Lance dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.catalogue import Catalogue, LanceCatalogue
from catalogs.lance import export, tuning
from tests.support import catalogue_rows

pytest.importorskip("lance")

TILES, ROWS = 3, 900
FEWEST = 500
"""Rows from which the datasets of these tests have an index."""
QUESTIONS = 40
OPTIONS = export.LanceOptions(target=0.9)


def fill(folder: Path) -> Catalogue:
    """Make a catalogue: each tile has clusters of embeddings, magnitudes with NaN, zeros and infinities, and copies."""
    catalogue = catalogs.create(folder, catalogue_rows.RUN)
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(20, catalogue_rows.DIM))
    for number in range(TILES):
        embedding = centres[rng.integers(20, size=ROWS)] + 0.35 * rng.normal(size=(ROWS, catalogue_rows.DIM))
        mag = rng.uniform(15, 30, ROWS).astype(np.float32)
        mag[::7], mag[1::50], mag[2::90], mag[3::90] = np.nan, np.copysign(np.float32(np.nan), -1), -0.0, 0.0
        mag[5], mag[6] = np.inf, -np.inf
        rows = catalogue_rows.make(
            217290 + number,
            210 + 0.5 * number + rng.uniform(0, 0.4, ROWS),
            54 + rng.uniform(0, 0.4, ROWS),
            embedding,
            mag_r=mag,
            mag_g=mag[::-1].copy(),
            bands_present=np.array(["ugr", "gr", "ur's"])[rng.integers(3, size=ROWS)],
            is_primary=rng.random(ROWS) < 0.9,
        )
        catalogue_rows.write(catalogue, f"217.29{number}", rows)
    return catalogue


@pytest.fixture(scope="session", autouse=True)
def small_index() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "FEWEST_INDEXED", FEWEST)
        patch.setattr(tuning, "QUESTIONS", QUESTIONS)
        yield


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return fill(tmp_path_factory.mktemp("lance") / "embeddings")


@pytest.fixture(scope="session")
def exported(catalogue: Catalogue) -> Path:
    """The folder of the dataset, which tests do not change."""
    out = catalogue.path.parent / "objects"
    export.export(catalogue, out, OPTIONS)
    return out


@pytest.fixture(scope="session")
def dataset(exported: Path) -> LanceCatalogue:
    opened = catalogs.open(f"lance:{exported}")
    assert isinstance(opened, LanceCatalogue)
    return opened

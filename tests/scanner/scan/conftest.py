"""Small tiles to scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner.encoder.encoder import Encoder
from tests.support import small_tiles
from tests.support.scan_bench import Bench


@pytest.fixture(scope="session")
def five_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200.292 to 202.292 with five bands, 203.292 in g, r, i only, 204.292 without any object."""
    made = tmp_path_factory.mktemp("unions")
    for name in small_tiles.names(3):
        small_tiles.write(made, name, size=300)
    small_tiles.write(made, "203.292", size=260, bands="gri")
    small_tiles.write(made, "204.292", size=200, objects=0)
    return made


@pytest.fixture
def bench(five_tiles: Path, encoder: Encoder, tmp_path: Path) -> Bench:
    return Bench(five_tiles, tmp_path / "catalogue", encoder)

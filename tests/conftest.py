"""Fixtures that every room uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "tests" / "data"
SHARED = Path(os.environ.get("SCANNER_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
# No test sends tables to the programs of whoever runs it: a hub of these tests writes this file.
os.environ["SAMP_HUB"] = f"std-lockurl:{Path(tempfile.gettempdir(), f'scanner-hub-{os.getpid()}.lock').as_uri()}"

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shared(why): needs survey data that are not in the repository, and why")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, visibly, what needs survey data that are not here, and say what it needs them for."""
    marker = item.get_closest_marker("shared")
    if marker and not SHARED.is_dir():
        pytest.skip(f"no survey data here (set SCANNER_SHARED_DATA), needed for: {marker.args[0]}")


@pytest.fixture(autouse=True, scope="module")
def few_open_files() -> Iterator[None]:
    """Close the indexes of earlier tests: astropy's SAMP hub uses ``select``, which takes no descriptor over 1023."""
    yield
    if "catalogs.index.searcher" in sys.modules:
        sys.modules["catalogs.index.searcher"].close_all()


@pytest.fixture(autouse=True)
def only_seeded_numbers() -> Iterator[None]:
    """Nothing draws from numpy's global generator, since no seed of a user decides what that gives."""
    before = _global_generator()
    yield
    assert _global_generator() == before, "a library drew random numbers that no seed decides"


def _global_generator() -> int:
    _, keys, *others = np.random.get_state()
    return hash((keys.tobytes(), *others))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of survey data that are too large to ship, read in place; its tests carry the marker ``shared``."""
    return SHARED


@pytest.fixture(scope="session")
def tiles_dev(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with the development tiles 110.280 and 111.280 (gri, real lenses) and 112.280 (ugriz, 0.339 arcsec).

    Real pixels in UNIONS names, 450 MB, built in seconds and removed at the end; read them, do not change them.
    """
    folder = tmp_path_factory.mktemp("tiles_dev")
    recipe = shared_data / "tiles_dev" / "build_tiles.py"
    subprocess.run([sys.executable, str(recipe), str(folder)], check=True, capture_output=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shipped() -> Path:
    """Folder of the real pixels that ship with the repository: ``tests/data``."""
    return SHIPPED


@pytest.fixture(scope="session")
def real_tile(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the shipped tile 113.280 (gri, 928 x 928 px, gaps of no data), uncompressed; do not change it."""
    folder = tmp_path_factory.mktemp("real_tile")
    for path in sorted((shipped / "tile").glob("*.fz")):
        with fits.open(path) as packed:
            planes = [(hdu.data, hdu.header) for hdu in packed[1:]]
        if len(planes) == 1:
            hdus = [fits.PrimaryHDU(*planes[0])]
        else:
            hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(*plane) for plane in planes)]
        fits.HDUList(hdus).writeto(folder / path.stem)
    return folder

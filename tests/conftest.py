"""Fixtures that every room uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real survey pixels, read in place; the test is skipped, visibly, where it is absent."""
    folder = Path(os.environ.get("SCANNER_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real survey data here: set SCANNER_SHARED_DATA to a folder that has it")
    return folder


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

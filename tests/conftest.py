"""Fixtures that every room uses."""

from __future__ import annotations

import os
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

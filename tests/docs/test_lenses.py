"""The guide to lenses: its Python, on the rows of lenses that a search for injected ones writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from tests.docs.pages import REPOSITORY, blocks

LENSES = REPOSITORY / "docs" / "guide" / "lenses.md"


def test_two_lines_make_a_grid_of_completeness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "completeness").mkdir()
    table = Table({"theta_e": [0.5, 0.5, 0.9, 2.9], "snr": [5.0, 5.0, 15.0, 100.0]})
    table["found"] = [True, False, True, False]
    table.write(tmp_path / "completeness" / "lenses.ecsv")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(LENSES):
        if block.language == "python":
            exec(compile(block.text, "lenses.md", "exec"), names)
    grid = names["completeness"]
    assert grid.shape == (5, 5)
    assert (grid[0, 0], grid[1, 1], grid[4, 4]) == (0.5, 1.0, 0.0)
    assert np.isfinite(grid).sum() == 3
    assert len(names["confident"]) > 1000

"""The report of an evaluation is written with and without matplotlib."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from scanner.queries import ranking_report


def report() -> dict[str, Any]:
    rising = [{"value": share, "low": 0.9 * share, "high": share} for share in (0.1, 0.5, 1.0)]
    return {
        "lenses": 12,
        "objects": 700,
        "examples": 4,
        "measures": {
            "centroid": {"mAP": rising[1], "recall@10": rising[2]},
            "chance": {"mAP": rising[0], "recall@10": rising[0]},
        },
        "curve": {"objects_looked_at": [1, 20, 700], "recall": {"centroid": rising, "chance": rising}},
    }


def test_the_table_has_a_line_for_each_measure() -> None:
    assert ranking_report.table(report()).splitlines() == [
        "           centroid              chance",
        "mAP        0.500 [0.450, 0.500]  0.100 [0.090, 0.100]",
        "recall@10  1.000 [0.900, 1.000]  0.100 [0.090, 0.100]",
    ]


def test_without_matplotlib_the_numbers_are_written_and_the_curve_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING):
        ranking_report.write(report(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "ranking.json").read_text()) == report()
    assert not (tmp_path / "out" / "curve.png").exists()
    assert "curve.png is not drawn" in caplog.text
    assert "pip install 'unions-scanner[maps]'" in caplog.text

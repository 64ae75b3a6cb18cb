"""The report of an evaluation: its table, its numbers and its curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def test_numbers_and_curve_are_written(tmp_path: Path) -> None:
    ranking_report.write(report(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "ranking.json").read_text()) == report()
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")

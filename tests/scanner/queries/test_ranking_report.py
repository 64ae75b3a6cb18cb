"""The report of an evaluation: its table, its numbers and its curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.ranking.evaluation import Evaluation, EvaluationSettings
from scanner.queries import ranking_report


def report() -> dict[str, Any]:
    rising = [{"value": share, "low": 0.9 * share, "high": share} for share in (0.1, 0.5, 1.0)]
    return {
        "lenses": 12,
        "objects": 700,
        "examples": 4,
        "draws": 20,
        "like": None,
        "to_be_found": {"centroid": 8, "chance": 8},
        "measures": {
            "centroid": {"mAP": rising[1], "recall@10": rising[2]},
            "chance": {"mAP": rising[0], "recall@10": rising[0]},
        },
        "curve": {"objects_looked_at": [1, 20, 700], "recall": {"centroid": rising, "chance": rising}},
    }


def test_the_table_has_a_line_for_each_measure() -> None:
    assert ranking_report.table(report()).splitlines() == [
        "12 lenses among 700 other objects; 20 draws of 4 examples, with 8 lenses to be found.",
        "",
        "           centroid              chance",
        "mAP        0.500 [0.450, 0.500]  0.100 [0.090, 0.100]",
        "recall@10  1.000 [0.900, 1.000]  0.100 [0.090, 0.100]",
    ]


def test_the_table_tells_the_list_that_ranked_once() -> None:
    first = ranking_report.table(report() | {"like": "mine.csv"}).splitlines()[0]
    assert first == "12 lenses among 700 other objects; ranked once by mine.csv, with 8 lenses to be found."


def test_a_list_is_no_longer_than_what_is_ranked() -> None:
    """Of 96 other objects and 5 lenses, a list of 1,000 holds 101; of more lists of lenses drawn again, no more."""
    above, targets = [np.array([0, 3, 10, 50, 96])], [np.arange(5)]
    evaluation = Evaluation({"centroid": above}, targets, 96, 5, 0)
    measured = ranking_report.facts(evaluation, EvaluationSettings(), (10, 1000), {})["measures"]["centroid"]
    assert measured["purity@1000"] == {"value": 5 / 101, "low": 5 / 101, "high": 5 / 101}
    assert measured["purity@10"]["value"] == 0.2


def test_numbers_and_curve_are_written(tmp_path: Path) -> None:
    ranking_report.write(report(), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "ranking.json").read_text()) == report()
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")

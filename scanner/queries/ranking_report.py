"""The report of a trial of rankings: a table, the same numbers as JSON, and the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.atomic import write_json
from catalogs.ranking.evaluation import Evaluation, EvaluationSettings
from catalogs.ranking.measures import Measure, average_precision, ndcg, purity, recall
from catalogs.text_table import text_table
from scanner.figures.chart import Curve, draw_chart


def measures(sizes: Sequence[int], others: int) -> dict[str, Measure]:
    """Return the measures of a report: mAP, nDCG@10, and recall and purity of lists of these ``sizes``.

    Lists hold no more than the lenses and the ``others``.
    """
    by_name: dict[str, Measure] = {"mAP": average_precision, "nDCG@10": ndcg(10)}
    by_name |= {f"recall@{size}": recall(size) for size in sizes}
    return by_name | {f"purity@{size}": purity(size, others) for size in sizes}


def facts(
    evaluation: Evaluation, settings: EvaluationSettings, sizes: Sequence[int], about: dict[str, Any]
) -> dict[str, Any]:
    """Collect the whole report as JSON values."""
    by_name = measures(sizes, evaluation.objects)
    estimates = {name: evaluation.estimates(measure, settings.seed) for name, measure in by_name.items()}
    methods = list(evaluation.above)
    curve = evaluation.sizes()
    # One estimate of the recall for each list length of the curve [N] and each method.
    shares = [evaluation.estimates(recall(int(size)), settings.seed) for size in curve]
    return {
        **about,
        **{name: value for name, value in asdict(settings).items() if name != "weighing"},
        "objects": evaluation.objects,
        "lenses": evaluation.lenses,
        "lenses_not_ranked": evaluation.not_ranked,
        "rankings": {method: len(evaluation.above[method]) for method in methods},
        "to_be_found": {method: len(evaluation.above[method][0]) for method in methods},
        "measures": {m: {name: asdict(by_method[m]) for name, by_method in estimates.items()} for m in methods},
        "curve": {
            "objects_looked_at": curve.tolist(),
            "recall": {m: [asdict(share[m]) for share in shares] for m in methods},
        },
    }


def table(report: dict[str, Any]) -> str:
    """Render what was ranked, and the measures of every method with their intervals, a line for each measure."""
    measured = report["measures"]
    names = list(next(iter(measured.values())))
    lines = [["", *measured], *([name, *(_cell(of[name]) for of in measured.values())] for name in names)]
    return f"{_describe(report)}\n\n{text_table(lines)}"


def _describe(report: dict[str, Any]) -> str:
    """Tell how many lenses, other objects and draws there were."""
    sought = max(report["to_be_found"].values())
    among = f"{report['lenses']:,} lenses among {report['objects']:,} other objects"
    if report["like"]:
        return f"{among}; ranked once by {report['like']}, with {sought:,} lenses to be found."
    return f"{among}; {report['draws']:,} draws of {report['examples']:,} examples, with {sought:,} lenses to be found."


def write(report: dict[str, Any], folder: Path) -> None:
    """Write ``ranking.json`` and ``curve.png`` to ``folder``."""
    write_json(folder / "ranking.json", report)
    looked = np.array(report["curve"]["objects_looked_at"], float)
    curves = [
        Curve(method, *(np.array([point[name] for point in points]) for name in ("value", "low", "high")))
        for method, points in report["curve"]["recall"].items()
    ]
    by = report["examples"]
    title = f"{report['lenses']} known lenses among {report['objects']:,} objects, found by {by} of them"
    x_label, y_label = "objects looked at, best first", "recall (share of the others found)"
    draw_chart(looked, curves, title, x_label, y_label, folder / "curve.png")


def _cell(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"

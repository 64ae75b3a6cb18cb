"""What a trial of rankings says: a table, the same numbers as JSON, and the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.atomic import write_json
from catalogs.ranking import measures as quality
from catalogs.ranking.evaluation import Evaluation, Trial
from catalogs.ranking.measures import Measure
from scanner.figures import chart as charts


def measures(sizes: Sequence[int]) -> dict[str, Measure]:
    """What is printed: mAP and nDCG@10, and recall and purity of lists of these ``sizes``."""
    found: dict[str, Measure] = {"mAP": quality.average_precision, "nDCG@10": quality.ndcg(10)}
    found |= {f"recall@{size}": quality.recall(size) for size in sizes}
    return found | {f"purity@{size}": quality.purity(size) for size in sizes}


def facts(evaluation: Evaluation, trial: Trial, sizes: Sequence[int], about: dict[str, Any]) -> dict[str, Any]:
    """Everything as JSON values."""
    estimates = {name: evaluation.estimates(measure, trial.seed) for name, measure in measures(sizes).items()}
    methods = list(evaluation.above)
    curve = evaluation.sizes()
    shares = [evaluation.estimates(quality.recall(int(size)), trial.seed) for size in curve]
    return {
        **about,
        **asdict(trial),
        "objects": evaluation.objects,
        "lenses": evaluation.lenses,
        "lenses_not_ranked": evaluation.not_ranked,
        "rankings": {method: len(evaluation.above[method]) for method in methods},
        "to_be_found": {method: len(evaluation.above[method][0]) for method in methods},
        "measures": {m: {name: asdict(found[m]) for name, found in estimates.items()} for m in methods},
        "curve": {
            "objects_looked_at": curve.tolist(),
            "recall": {m: [asdict(share[m]) for share in shares] for m in methods},
        },
    }


def table(found: dict[str, Any]) -> str:
    """The measures of every method, with their intervals, a line each."""
    names = list(next(iter(found["measures"].values())))
    rows = [["", *found["measures"]]]
    for name in names:
        rows.append([name, *(_cell(values[name]) for values in found["measures"].values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def write(found: dict[str, Any], folder: Path) -> None:
    """``ranking.json`` and ``curve.png`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ranking.json", found)
    lines = []
    for method, points in found["curve"]["recall"].items():
        y, low, high = (np.array([point[name] for point in points]) for name in ("value", "low", "high"))
        lines.append(charts.Line(method, y, low, high))
    by = found["examples"]
    title = f"{found['lenses']} known lenses among {found['objects']:,} objects, found by {by} of them"
    looked = np.array(found["curve"]["objects_looked_at"], float)
    charts.draw(looked, lines, title, "objects looked at, best first", "recall (share of the others found)",
                folder / "curve.png")  # fmt: skip


def _cell(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"

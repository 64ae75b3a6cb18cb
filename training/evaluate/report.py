"""Report of an evaluation as a text table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.atomic import make_folder, write_text
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import PairedEstimate, difference
from catalogs.records import load_json
from catalogs.text_table import markdown_table, text_table
from training.evaluate.results import Results, rows, with_counts

DIGITS = 5
"""Decimals of numbers in JSON."""
INTERVAL = (
    "[low, high]: 95 % interval, of a share of n objects that of Wilson, else by bootstrap over queries, objects or "
    "draws. [-]: all draws of the bootstrap give the same value, so they say nothing of other objects."
)
NOTE = (
    f"{INTERVAL} n of an AUC: objects to be found + others. ±: standard deviation between random networks. *: the "
    "paired difference to the first column, by bootstrap, excludes 0."
)


def table(results: Mapping[str, Results]) -> str:
    """Lay out a table for a terminal: a row for each measure under its task, a column for each model."""
    lines: list[list[str]] = [["", *results]]
    current = ""
    for task, measure, estimates in rows(results):
        if task != current:
            lines, current = [*lines, [task]], task
        lines.append([f"  {measure}", *cells(estimates)])
    return f"{text_table(lines, '<>')}\n{NOTE}"


def markdown(results: Mapping[str, Results]) -> str:
    """Lay out the same table in Markdown."""
    lines = ([task, measure, *cells(estimates)] for task, measure, estimates in rows(results))
    return markdown_table(["task", "measure", *results], lines)


def row_of(results: Results, first: Results, measures: Sequence[tuple[str, str]]) -> list[str]:
    """Format some (task, measure) of one model as cells, compared with those of the ``first`` model of the table."""
    pairs = ((results[task].estimates[name], first[task].estimates[name]) for task, name in measures)
    return [_cell(one, None if results is first else other) for one, other in pairs]


def cells(estimates: list[PairedEstimate | None]) -> list[str]:
    """Format the estimates of a row."""
    return [_cell(one, estimates[0] if place else None) for place, one in enumerate(estimates)]


def _cell(estimate: PairedEstimate | None, first: PairedEstimate | None) -> str:
    if estimate is None:
        return "-"
    spread = "" if np.isnan(estimate.spread) else f" ±{estimate.spread:.2f}"
    star = "*" if _differs(estimate, first) else ""
    return f"{_with_interval(estimate.value, estimate.low, estimate.high)}{spread}{star}"


def _with_interval(value: float, low: float, high: float) -> str:
    # The interval of Wilson always has a width, so this one is of a bootstrap whose values are all equal.
    if round(low, DIGITS) == round(high, DIGITS):
        return f"{value:.3f} [-]"
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


def _differs(estimate: PairedEstimate, first: PairedEstimate | None) -> bool:
    if first is None:
        return False
    # The same resamples serve all models, so the difference is paired.
    apart = difference(estimate, first)
    return apart.low > 0 or apart.high < 0


def write(results: Mapping[str, Results], about: Mapping[str, Any], folder: Path) -> None:
    """Write ``evaluation.json``, ``evaluation.md`` and the figures into ``folder``."""
    # Imported here, since the model card needs this module but not matplotlib.
    from training.evaluate import figures

    make_folder(folder)
    document = {"about": dict(about), "note": NOTE, "models": plain(results)}  # columns and rows keep their order
    write_text(folder / "evaluation.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    write_text(folder / "evaluation.md", f"{markdown(results)}\n\n{NOTE}\n")
    figures.bars(results, folder / "evaluation.png")
    if any(measured.curves for tasks in results.values() for measured in tasks.values()):
        figures.curves(results, folder / "retrieval.png")


def plain(results: Mapping[str, Results]) -> dict[str, Any]:
    """Convert results to JSON: model, task, measure, then value, low, high and, for random networks, spread.

    ``n`` lists the ``counts`` of an estimate that has any.
    """
    return {
        model: {
            task: {
                "measures": {name: _numbers(estimate) for name, estimate in measured.estimates.items()},
                "recall": {name: np.round(curve, 4).tolist() for name, curve in measured.curves.items()},
            }
            for task, measured in tasks.items()
        }
        for model, tasks in results.items()
    }


def _numbers(estimate: PairedEstimate) -> dict[str, Any]:
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "spread": estimate.spread}
    # JSON has no NaN: the spread is left out where only one network was measured.
    kept = {name: round(number, DIGITS) for name, number in numbers.items() if np.isfinite(number)}
    return kept | ({"n": list(estimate.counts)} if estimate.counts else {})


def card_table(path: Path) -> str:
    """Lay out an ``evaluation.json`` in Markdown.

    Raises:
        ScannerError: ``evaluate.no_table``.
    """
    try:
        models = load_json(path)["models"]
        # Models may differ in their tasks, so the rows are those of all of them.
        keys = dict.fromkeys((task, name) for m in models.values() for task in m for name in m[task]["measures"])
        lines = []
        for task, name in keys:
            estimates = [m.get(task, {}).get("measures", {}).get(name) for m in models.values()]
            label = with_counts(name, [one.get("n", []) for one in estimates if one])
            lines.append([task, label, *(_stored(one) for one in estimates)])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        hint = "Write one with: python -m training evaluate MODEL --data DATA --out FOLDER"
        raise ScannerError(ErrorCode.EVALUATE_NO_TABLE, f"{path} is not an evaluation.json: {error}.", hint) from error
    return markdown_table(["task", "measure", *models], lines)


def _stored(estimate: Mapping[str, Any] | None) -> str:
    return "-" if estimate is None else _with_interval(*(estimate[name] for name in ("value", "low", "high")))

"""The measurements as a text table, as JSON, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.atomic import replacing, write_json
from training.evaluate.measure import Results
from training.evaluate.metrics import Estimate


def table(results: Mapping[str, Results]) -> str:
    """Rows are measures, columns models, cells ``value [low, high]``."""
    names = measures(results)
    first = max(map(len, names))
    columns = [[model, *(_cell(found.get(name)) for name in names)] for model, found in results.items()]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row, name in enumerate(["", *names]):
        cells = (column[row].rjust(width) for column, width in zip(columns, widths, strict=True))
        lines.append("  ".join([name.ljust(first), *cells]))
    return "\n".join(lines)


def measures(results: Mapping[str, Results]) -> list[str]:
    """Names of all measures, in the order of the model that has most."""
    longest = max(results.values(), key=len)
    return list(longest)


def write(results: Mapping[str, Results], about: Mapping[str, Any], folder: Path) -> None:
    """``evaluation.json`` and ``evaluation.png`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {model: {name: asdict(value) for name, value in found.items()} for model, found in results.items()}
    write_json(folder / "evaluation.json", {"about": dict(about), "models": models})
    draw(results, folder / "evaluation.png")


def draw(results: Mapping[str, Results], out: Path) -> None:
    """A point with its interval for every measure and model."""
    from matplotlib.figure import Figure

    names = measures(results)
    figure = Figure(figsize=(8, 0.34 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    for place, (model, found) in enumerate(results.items()):
        rows = [row for row, name in enumerate(names) if name in found]
        values = [found[names[row]] for row in rows]
        middle = np.array([value.value for value in values])
        spread = np.abs(np.array([[value.low, value.high] for value in values]).T - middle)
        offset = (place - (len(results) - 1) / 2) * 0.6 / len(results)
        axes.errorbar(middle, np.array(rows) + offset, xerr=spread, fmt="o", ms=4, lw=1.2, label=model)
    axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.01), xlabel="with 95 % bootstrap interval")
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=min(len(results), 4), frameon=False)
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _cell(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"

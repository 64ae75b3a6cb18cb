"""Report on what pre-training is worth: table, JSON and figure of the finished cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from catalogs.atomic import replacing, write_json, write_text
from catalogs.estimate import PairedEstimate, average
from catalogs.text_table import markdown_table
from training.evaluate.report import cells as format_row
from training.evaluate.results import with_counts

if TYPE_CHECKING:
    from studies.training.worth import Cell

MEASURES = {"AP": "AP all", "P@10": "P@10 all", "AUC matched": "AUC matched"}
NOTE = (
    "Mean over seeds. [low, high]: 95 % bootstrap interval over lenses, of the mean over seeds. ±: standard deviation "
    "between seeds, which draw the painted lenses too. *: the paired difference to the first start excludes 0; it does "
    "not count the scatter of trainings. [-]: all draws of the bootstrap agree. n of an AUC: lenses + others. "
    "-: not run."
)
LINES = (("black", "o", "-"), ("#5a5a5a", "s", "--"), ("#9a9a9a", "^", "-."), ("black", "D", ":"))
"""Colour, marker and line of the starts, to be told apart in grey."""
APART = 1.03
"""Factor between the places of two starts, so that their error bars do not cover each other."""


@dataclass(frozen=True)
class Mean:
    """Mean over the seeds of a start and a number of lenses; ``values`` [seeds] by measure are those of each."""

    seeds: tuple[int, ...]
    minutes: float
    estimates: Mapping[str, PairedEstimate]
    values: Mapping[str, tuple[float, ...]]


Means = Mapping[tuple[str, int], Mean | None]
"""By start and number of lenses; None where no cell is finished."""


def average_seeds(cells: Sequence[Cell]) -> Means:
    """Average the finished cells over their seeds."""
    means: dict[tuple[str, int], Mean | None] = {}
    for key in dict.fromkeys((cell.start, cell.lenses) for cell in cells):
        of_seed = {cell.seed: cell.measured() for cell in cells if (cell.start, cell.lenses) == key}
        done = {seed: measured for seed, measured in of_seed.items() if measured is not None}
        names = next(iter(done.values())).estimates if done else ()
        of_measure = {name: [measured.estimates[name] for measured in done.values()] for name in names}
        means[key] = None
        if done:
            minutes = float(np.mean([measured.minutes for measured in done.values()]))
            estimates = {name: average(some) for name, some in of_measure.items()}
            values = {name: tuple(one.value for one in some) for name, some in of_measure.items()}
            means[key] = Mean(tuple(done), minutes, estimates, values)
    return means


def write_report(cells: Sequence[Cell], out: Path) -> str:
    """Write ``worth.md``, ``worth.json`` and ``worth.png`` of all finished cells into ``out``; return the table."""
    means, seeds = average_seeds(cells), len({cell.seed for cell in cells})
    text = f"{_table(means, seeds)}\n\n{NOTE}\n"
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "worth.md", text)
    write_json(out / "worth.json", {"note": NOTE, "asked": _asked(cells), "starts": _plain(means)})
    draw(means, out / "worth.png")
    return text


def _axes(means: Means) -> tuple[list[str], list[int]]:
    return list(dict.fromkeys(start for start, _ in means)), sorted({lenses for _, lenses in means})


def _table(means: Means, seeds: int) -> str:
    starts, numbers = _axes(means)
    rows = []
    for measure, name in MEASURES.items():
        for lenses in numbers:
            row = [means[start, lenses] for start in starts]
            cells = format_row([mean and mean.estimates[name] for mean in row])
            label = with_counts(measure, [mean.estimates[name].counts for mean in row if mean])
            rows.append([label, f"{lenses:,}", *map(_with_seeds, cells, row, [seeds] * len(row))])
    for lenses in numbers:
        minutes = [f"{mean.minutes:.1f}" if (mean := means[start, lenses]) else "-" for start in starts]
        rows.append(["minutes of a run", f"{lenses:,}", *minutes])
    return markdown_table(["measure", "painted lenses", *starts], rows)


def _with_seeds(cell: str, mean: Mean | None, seeds: int) -> str:
    """Add the number of seeds to a cell of which some are missing."""
    return f"{cell} ({len(mean.seeds)} of {seeds} seeds)" if mean and len(mean.seeds) < seeds else cell


def _asked(cells: Sequence[Cell]) -> dict[str, Any]:
    """Describe what all cells share, and the weights that each start began with."""
    return {
        "shards": cells[0].asked["shards"],
        "began_with": {cell.start: cell.asked["began_with"] for cell in cells},
        "config": cells[0].asked["config"],
    }


def _plain(means: Means) -> dict[str, dict[str, Any]]:
    starts, numbers = _axes(means)
    return {start: {str(lenses): _numbers(means[start, lenses]) for lenses in numbers} for start in starts}


def _numbers(mean: Mean | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    measures = {}
    for name, one in mean.estimates.items():
        numbers = {"value": one.value, "low": one.low, "high": one.high, "spread": one.spread}
        # JSON has no NaN: the spread of one seed is left out.
        kept = {key: round(number, 5) for key, number in numbers.items() if np.isfinite(number)}
        measures[name] = kept | {"seeds": [round(value, 5) for value in mean.values[name]]}
    return {"seeds": list(mean.seeds), "minutes": round(mean.minutes, 2), "measures": measures}


def draw(means: Means, path: Path) -> None:
    """Draw AP against the number of painted lenses: a line for each start, error bars over seeds."""
    starts, numbers = _axes(means)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, start in enumerate(starts):
        points = [(lenses, mean.estimates[MEASURES["AP"]]) for lenses in numbers if (mean := means[start, lenses])]
        if not points:
            continue
        colour, marker, line = LINES[place % len(LINES)]
        x = [lenses * APART ** (place - (len(starts) - 1) / 2) for lenses, _ in points]
        y, spread = [one.value for _, one in points], [np.nan_to_num(one.spread) for _, one in points]
        axes.errorbar(
            x, y, yerr=spread, color=colour, marker=marker, ls=line, ms=6, lw=1.5, capsize=3, label=start,
            mfc="white" if place % 2 else colour,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="painted lenses seen in training", ylabel="AP of the lens score, real lenses")
    axes.set(ylim=(0, 1), xlim=(numbers[0] / 1.3, numbers[-1] * 1.3))
    axes.set_xticks(numbers, [f"{lenses:,}" for lenses in numbers])
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.containers:
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)

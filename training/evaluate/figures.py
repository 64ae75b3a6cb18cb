"""Figures of an evaluation: each measure with its interval, and recall against rank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from catalogs.estimate import PairedEstimate
from scanner.figures.canvas import drawing
from scanner.figures.chart import COLOURS, STYLES
from training.evaluate.results import Results, rows

MARKERS = "os^Dv*X"
"""Points of models, which are told apart without colours too."""


def bars(results: Mapping[str, Results], out: Path) -> None:
    """Draw a panel for each task: value and interval of each measure for each model."""
    tasks: dict[str, list[tuple[str, list[PairedEstimate | None]]]] = {}
    for task, measure, estimates in rows(results):
        tasks.setdefault(task, []).append((measure, estimates))
    heights = [len(lines) + 1.2 for lines in tasks.values()]
    with drawing(out, 9, 0.32 * sum(heights) + 1.0) as figure:
        panels = figure.subplots(len(tasks), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, (task, lines) in zip(panels, tasks.items(), strict=True):
            _panel(axes, task, lines, list(results))
        # A model may be absent from some panels, so the legend is collected from all of them.
        found = [axes.get_legend_handles_labels() for axes in panels]
        handles = {name: handle for pair in found for handle, name in zip(*pair, strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False)


def _panel(axes: Axes, task: str, lines: list[tuple[str, list[PairedEstimate | None]]], names: list[str]) -> None:
    for place, name in enumerate(names):
        points = [(row, estimates[place]) for row, (_, estimates) in enumerate(lines) if estimates[place] is not None]
        if not points:
            continue
        # Models share a row and are shifted, so that their intervals do not cover each other.
        offset = (place - (len(names) - 1) / 2) * 0.7 / len(names)
        middle = np.array([one.value for _, one in points if one])
        ends = np.array([(one.low, one.high) for _, one in points if one])
        spread = np.abs(ends.T - middle)
        at = np.array([row for row, _ in points]) + offset
        look = {"marker": MARKERS[place % len(MARKERS)], "color": COLOURS[place % len(COLOURS)]}
        axes.errorbar(middle, at, xerr=spread, linestyle="", ms=4, elinewidth=1.2, label=name, **look)
    lowest = min((one.low for _, estimates in lines for one in estimates if one), default=0)
    highest = max((one.high for _, estimates in lines for one in estimates if one), default=1)
    axes.set(yticks=range(len(lines)), ylim=(len(lines) - 0.4, -0.6))
    # Most measures lie between 0 and 1. A very low R2 is cut off, as it would compress all others.
    axes.set_xlim(min(0.0, max(lowest, -1) - 0.02), max(1.01, min(highest, 2) + 0.02))
    axes.set_yticklabels([name for name, _ in lines], fontsize=8)
    axes.set_title(task, loc="left", fontsize=9, fontweight="bold")
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def curves(results: Mapping[str, Results], out: Path) -> None:
    """Draw the recall among the first k (logarithmic): a panel for each question, a line for each model."""
    curves_of: dict[str, dict[str, np.ndarray]] = {}
    for model, tasks in results.items():
        for measured in tasks.values():
            for question, curve in measured.curves.items():
                curves_of.setdefault(question, {})[model] = curve
    columns = min(len(curves_of), 3)
    lines = -(-len(curves_of) // columns)
    names = list(results)
    with drawing(out, 3.6 * columns, 3.1 * lines + 0.6) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels[len(curves_of) :]:
            axes.set_visible(False)
        for axes, (question, curve_of) in zip(panels, curves_of.items(), strict=False):
            for model, curve in curve_of.items():
                number = names.index(model)
                look = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}
                axes.plot(np.arange(1, len(curve) + 1), curve, lw=1.5, label=model, **look)
            axes.set(xscale="log", xlabel="k", ylim=(0, 1.01), xlim=(1, None))
            axes.set_ylabel("recall among the first k", fontsize=8)
            axes.set_title(question, fontsize=9)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        legend = {"loc": "outside upper center", "ncols": 4, "frameon": False, "handlelength": 3.5}
        figure.legend(*panels[0].get_legend_handles_labels(), **legend)

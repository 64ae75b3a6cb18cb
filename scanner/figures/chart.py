"""A chart of curves with their intervals, as PNG or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanner.figures.canvas import drawing

Floats = npt.NDArray[np.floating]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#787878", "#E69F00")
"""By Okabe and Ito: distinct with any colour vision."""
STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
"""Lines that are told apart without colours. Their number and that of colours have no common divisor."""


@dataclass(frozen=True)
class Curve:
    """A named curve ``y`` [N] and its interval from ``low`` to ``high`` [N]."""

    name: str
    y: Floats
    low: Floats
    high: Floats


def draw_chart(x: Floats, curves: Sequence[Curve], title: str, x_label: str, y_label: str, path: Path) -> None:
    """Draw curves with values from 0 to 1 over positive ``x`` [N], on a logarithmic axis.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    with drawing(path, 9, 6) as figure:
        panel = figure.subplots()
        for number, curve in enumerate(curves):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            panel.plot(x, curve.y, linewidth=2, color=colour, linestyle=style, label=curve.name)
            panel.fill_between(x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        # Lists of 10 and of 10,000 objects matter alike, hence the logarithm.
        panel.set(xscale="log", ylim=(0, 1), xlabel=x_label, ylabel=y_label, title=title)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.margins(x=0)
        panel.grid(color="0.88")
        # Wide enough for a pattern to be seen.
        panel.legend(loc="best", handlelength=3.5)

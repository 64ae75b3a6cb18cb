"""A chart of curves with their intervals, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanner.figures.canvas import open_figure, save_figure

Floats = npt.NDArray[np.floating]

# By Okabe and Ito: distinct with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#787878", "#E69F00")


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
        ScannerError: ``map.not_installed``.
    """
    figure, (panel,) = open_figure(1, 9, 6, dpi=100)
    panel.set_prop_cycle(color=COLOURS)
    for curve in curves:
        (line,) = panel.plot(x, curve.y, linewidth=2, label=curve.name)
        panel.fill_between(x, curve.low, curve.high, color=line.get_color(), alpha=0.18, linewidth=0)
    # Lists of 10 and of 10,000 objects matter alike, hence the logarithm.
    panel.set(xscale="log", ylim=(0, 1), xlabel=x_label, ylabel=y_label, title=title)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.margins(x=0)
    panel.grid(color="0.88")
    panel.legend(loc="best")
    save_figure(figure, path)

"""The chart shows what it was given: lines where their values are, each in its colour, named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from scanner.figures import chart as charts
from scanner.figures.chart import Line


def test_a_line_lies_at_its_values(tmp_path: Path) -> None:
    x = np.geomspace(1, 1000, 50)
    lines = [Line("high", np.full(50, 0.8)), Line("low", np.full(50, 0.2), np.full(50, 0.1), np.full(50, 0.3))]
    charts.draw(x, lines, "title", "objects", "recall", tmp_path / "curve.png")
    pixels = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB")).astype(int)
    assert pixels.shape == (charts.HEIGHT, charts.WIDTH, 3)
    column = pixels[:, 600]  # clear of the legend
    for value, colour in ((0.8, charts.COLOURS[0]), (0.2, charts.COLOURS[1])):
        row = round(charts.HEIGHT - charts.BOTTOM - value * (charts.HEIGHT - charts.TOP - charts.BOTTOM))
        assert np.abs(column[row] - colour).max() < 30
    veiled = round(charts.HEIGHT - charts.BOTTOM - 0.27 * (charts.HEIGHT - charts.TOP - charts.BOTTOM))
    assert 20 < np.abs(column[veiled] - charts.PAPER).max() < 120


def test_more_lines_than_colours_and_a_single_point_are_drawn(tmp_path: Path) -> None:
    charts.draw(np.array([3.0]), [Line(str(n), np.array([0.5])) for n in range(9)], "", "", "", tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000

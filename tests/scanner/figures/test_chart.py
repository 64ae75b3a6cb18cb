"""The chart shows what it was given: curves where their values are, each in its colour, named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from scanner.figures.chart import COLOURS, Curve, draw_chart


def flat(name: str, value: float, count: int) -> Curve:
    return Curve(name, *(np.full(count, value + step) for step in (0, -0.1, 0.1)))


def test_a_curve_lies_at_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Any] = []
    keep = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (saved.append(figure), keep(figure, *a, **k)))
    x = np.geomspace(1, 1000, 50)
    draw_chart(x, [flat("high", 0.8, 50), flat("low", 0.2, 50)], "title", "objects", "recall", tmp_path / "curve.png")
    pixels = np.asarray(Image.open(tmp_path / "curve.png").convert("RGB")).astype(int)
    assert pixels.shape == (600, 900, 3)
    panel = saved[0].axes[0]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["high", "low"]

    def pixel(value: float) -> Any:
        across, up = panel.transData.transform((300, value))  # clear of the legend and of the grid
        return pixels[600 - round(up), round(across)]

    for line, value, name in zip(panel.lines, (0.8, 0.2), COLOURS, strict=False):
        colour = np.array(ImageColor.getrgb(name))
        np.testing.assert_allclose(line.get_ydata(), value)
        veiled = 255 + 0.18 * (colour - 255)
        assert np.abs(pixel(value + 0.07) - veiled).max() < 5
        assert np.abs(pixel(value - 0.07) - veiled).max() < 5
    assert pixel(0.5).min() == 255
    # Without colours, the curves differ by their lines.
    assert len({line.get_linestyle() for line in panel.lines}) == 2


def test_more_curves_than_colours_and_a_single_point_are_drawn(tmp_path: Path) -> None:
    draw_chart(np.array([3.0]), [flat(str(n), 0.5, 1) for n in range(9)], "", "", "", tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000

"""A line chart with bands, as PNG, by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from catalogs.atomic import replacing

Floats = npt.NDArray[np.floating]

WIDTH, HEIGHT = 900, 600
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 80, 70
FINE = 3
"""Drawn so many times larger, then scaled down: smooth lines."""
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 34), (215, 215, 220)
# Okabe and Ito's, told apart with any colour vision
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (120, 120, 120), (230, 159, 0))
BAND = 45
"""Opacity of a band, of 255."""


@dataclass(frozen=True)
class Line:
    """One curve: ``y`` [N], with a band from ``low`` to ``high`` [N] where they are given."""

    name: str
    y: Floats
    low: Floats | None = None
    high: Floats | None = None


def draw(x: Floats, lines: Sequence[Line], title: str, x_label: str, y_label: str, path: Path) -> None:
    """Curves over ``x`` [N] (positive, drawn by its logarithm) with values from 0 to 1, as a PNG at ``path``."""
    canvas = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    axes = _Axes(np.log10(x.min()), max(np.log10(x.max()), np.log10(x.min()) + 1e-9))
    _grid(canvas, axes)
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        _curve(canvas, axes, x, line, colour)
    pen = ImageDraw.Draw(canvas)
    _text(pen, (LEFT + WIDTH - RIGHT) / 2, 26, title, 19, "mm")
    _text(pen, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 22, x_label, 16, "mm")
    _text(pen, LEFT, TOP - 16, y_label, 16, "lm")
    _legend(pen, lines)
    with replacing(path) as temporary:
        canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(temporary, format="PNG", optimize=True)


@dataclass(frozen=True)
class _Axes:
    """From log10 x, and y from 0 to 1, to pixels of the fine canvas."""

    low: float
    high: float

    def points(self, x: Floats, y: Floats) -> list[tuple[float, float]]:
        across = LEFT + (np.log10(x) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - np.clip(y, 0, 1) * (HEIGHT - TOP - BOTTOM)
        return [(float(a) * FINE, float(b) * FINE) for a, b in zip(across, down, strict=True)]


def _grid(canvas: Image.Image, axes: _Axes) -> None:
    pen = ImageDraw.Draw(canvas)
    for share in np.linspace(0, 1, 6):
        ends = axes.points(10.0 ** np.array([axes.low, axes.high]), np.full(2, share))
        pen.line(ends, fill=FAINT, width=FINE)
        _text(pen, LEFT - 10, ends[0][1] / FINE, f"{share:.1f}", 14, "rm")
    for power in range(int(np.ceil(axes.low - 1e-9)), int(axes.high + 1e-9) + 1):
        ends = axes.points(np.full(2, 10.0**power), np.array([0.0, 1.0]))
        pen.line(ends, fill=FAINT, width=FINE)
        _text(pen, ends[0][0] / FINE, HEIGHT - BOTTOM + 16, f"{10**power:,}", 14, "mm")
    corners = axes.points(10.0 ** np.array([axes.low, axes.high]), np.array([0.0, 1.0]))
    (left, bottom), (right, top) = corners
    pen.rectangle((left, top, right, bottom), outline=INK, width=FINE)


def _curve(canvas: Image.Image, axes: _Axes, x: Floats, line: Line, colour: tuple[int, int, int]) -> None:
    if line.low is not None and line.high is not None:
        veil = Image.new("RGBA", canvas.size)
        outline = axes.points(x, line.high) + axes.points(x, line.low)[::-1]
        ImageDraw.Draw(veil).polygon(outline, fill=(*colour, BAND))
        canvas.paste(veil, mask=veil)
    ImageDraw.Draw(canvas).line(axes.points(x, line.y), fill=colour, width=3 * FINE, joint="curve")


def _legend(pen: ImageDraw.ImageDraw, lines: Sequence[Line]) -> None:
    for place, (line, colour) in enumerate(zip(lines, _colours(len(lines)), strict=True)):
        y = TOP + 22 + 24 * place
        pen.line((FINE * (LEFT + 16), FINE * y, FINE * (LEFT + 50), FINE * y), fill=colour, width=3 * FINE)
        _text(pen, LEFT + 60, y, line.name, 15, "lm")


def _colours(count: int) -> list[tuple[int, int, int]]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _text(pen: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, anchor: str) -> None:
    pen.text((x * FINE, y * FINE), text, fill=INK, font=ImageFont.load_default(size * FINE), anchor=anchor)

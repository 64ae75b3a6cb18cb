"""The gallery of a query beside its neighbours, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from catalogs.atomic import replacing
from scanner.figures.composite import NO_DATA, Flux, compose_rgb

COLUMNS = 8
# Pixels: side of a cutout, gap between cutouts, and height of a caption.
TILE, PAD, CAPTION = 160, 10, 40
BACKGROUND, INK, FAINT, ACCENT = (18, 18, 22), (236, 236, 240), (150, 150, 160), (255, 196, 64)


@dataclass(frozen=True)
class Panel:
    """One cutout of a gallery: its ``flux`` (None where it has no pixels) and up to two lines of caption."""

    flux: Flux | None
    bands: tuple[str, ...]
    caption: tuple[str, ...]
    highlighted: bool = False


def draw_gallery(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Draw each row of panels (a query, then its neighbours), wrapped at ``COLUMNS``, as one PNG at ``path``."""
    # Each query begins a new line.
    lines = [list(row[start : start + COLUMNS]) for row in rows for start in range(0, len(row), COLUMNS)]
    width = max((len(line) for line in lines), default=1)
    canvas = Image.new("RGB", (width * (TILE + PAD) + PAD, len(lines) * (TILE + CAPTION + PAD) + PAD), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for down, line in enumerate(lines):
        for across, panel in enumerate(line):
            _draw_panel(canvas, draw, panel, PAD + across * (TILE + PAD), PAD + down * (TILE + CAPTION + PAD))
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG", optimize=True)


def _draw_panel(canvas: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int) -> None:
    frame = (left, top, left + TILE - 1, top + TILE - 1)
    if panel.flux is None:
        draw.rectangle(frame, fill=tuple(NO_DATA.tolist()))
        draw.text((left + TILE / 2, top + TILE / 2), "no pixels\nat hand", fill=FAINT, font=_font(13), anchor="mm")
    else:
        picture = Image.fromarray(np.ascontiguousarray(compose_rgb(panel.flux, panel.bands)))
        canvas.paste(picture.resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
    if panel.highlighted:
        draw.rectangle(frame, outline=ACCENT, width=3)
    for line, text in enumerate(panel.caption[:2]):
        colour = (ACCENT if panel.highlighted else INK) if line == 0 else FAINT
        draw.text((left + 1, top + TILE + 3 + 18 * line), text, fill=colour, font=_font(14 if line == 0 else 11))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

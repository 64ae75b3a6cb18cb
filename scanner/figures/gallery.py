"""Pictures for people: colour composites of windows, and the gallery of a query beside its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from catalogs.atomic import replacing
from scanner.survey.bands import BLUE_TO_RED, TRIPLES, WEIGHTS

Flux = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NO_DATA = np.array([52, 52, 60], dtype=np.uint8)
Q = 6.0

COLUMNS = 8
TILE, PAD, CAPTION = 160, 10, 40
BACKGROUND, INK, FAINT, ACCENT = (18, 18, 22), (236, 236, 240), (150, 150, 160), (255, 196, 64)


def triple(bands: Sequence[str], present: Sequence[bool]) -> tuple[int, int, int]:
    """Indices of the red, green and blue bands of a composite; bands repeat where fewer than three are present."""
    there = [band for band, here in zip(bands, present, strict=True) if here]
    for names in TRIPLES:
        if set(names) <= set(there):
            return tuple(bands.index(name) for name in names)  # type: ignore[return-value]
    ordered = sorted(there, key=BLUE_TO_RED.find) or list(bands[:1])
    middle = ordered[len(ordered) // 2]
    return bands.index(ordered[-1]), bands.index(middle), bands.index(ordered[0])


def rgb(flux: Flux, bands: Sequence[str]) -> Pixels:
    """Colour composite of one window: ``flux`` [B, S, S] in nJy, NaN for no data, to uint8 [S, S, 3], north up.

    Lupton et al. (2004, PASP 116, 133) through astropy, scaled by the window's own sky noise. Pixels without data in
    all three bands are grey; a band that lacks a pixel takes the mean of the others there.
    """
    from astropy.visualization import make_lupton_rgb

    present = [bool(np.isfinite(plane).any()) for plane in flux]
    channels = np.stack([flux[index] * WEIGHTS.get(bands[index], 1.0) for index in triple(bands, present)])
    known = np.isfinite(channels)
    mean = np.where(known, channels, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, channels, mean)
    noise = max(_noise(filled), 1e-6)
    image: Pixels = make_lupton_rgb(*filled, minimum=-noise, stretch=9 * noise, Q=Q)
    image[~known.any(axis=0)] = NO_DATA
    return image[::-1]  # FITS rows go up, picture rows go down


def _noise(channels: Flux) -> float:
    """Robust noise of a window from differences of neighbouring pixels, which a smooth galaxy hardly touches."""
    steps = np.diff(channels, axis=-1)
    return float(np.median(np.abs(steps)) * 1.4826 / np.sqrt(2))


@dataclass(frozen=True)
class Panel:
    """One cutout of a gallery: its window (None where its pixels are not at hand) and up to two lines of caption."""

    flux: Flux | None
    bands: tuple[str, ...]
    caption: tuple[str, ...]
    highlighted: bool = False


def gallery(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Draw each row of panels (a query, then its neighbours), wrapped at ``COLUMNS``, as one PNG at ``path``."""
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
        picture = Image.fromarray(np.ascontiguousarray(rgb(panel.flux, panel.bands)))
        canvas.paste(picture.resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
    if panel.highlighted:
        draw.rectangle(frame, outline=ACCENT, width=3)
    for line, text in enumerate(panel.caption[:2]):
        colour = (ACCENT if panel.highlighted else INK) if line == 0 else FAINT
        draw.text((left + 1, top + TILE + 3 + 18 * line), text, fill=colour, font=_font(14 if line == 0 else 11))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

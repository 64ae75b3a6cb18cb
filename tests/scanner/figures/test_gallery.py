"""Galleries: every cutout in its place, with its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from scanner.figures.gallery import TILE, Panel, draw_gallery

UGRIZ = tuple("ugriz")


def window(**bands: float) -> np.ndarray:
    """A source in the upper left of noise, of the given total brightness in each band."""
    flux = np.random.default_rng(1).normal(0, 1, (5, 64, 64)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((x - 16) ** 2 + (y - 48) ** 2) / 20)  # FITS rows go up: y = 48 is near the top
    for band, brightness in bands.items():
        flux[UGRIZ.index(band)] += brightness * blob
    return flux


def test_a_gallery_wraps_its_rows_and_marks_the_query(tmp_path: Path) -> None:
    panels = [Panel(window(i=300), UGRIZ, ("query",), highlighted=True)]
    panels += [Panel(window(i=50 * n), UGRIZ, (f"0.{n}", str(n))) for n in range(8)]
    panels.append(Panel(None, UGRIZ, ("0.1",)))
    draw_gallery([panels], tmp_path / "out.png")
    image = np.asarray(Image.open(tmp_path / "out.png"))
    assert 8 * TILE < image.shape[1] < 9 * TILE
    assert 2 * TILE < image.shape[0] < 3 * TILE
    assert image[10, 20].tolist() == [255, 196, 64]

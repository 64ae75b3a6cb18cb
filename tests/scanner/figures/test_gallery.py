"""Colours and galleries: what a person sees must be what the pixels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scanner.figures.composite import NO_DATA, choose_triple, compose_rgb
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


@pytest.mark.parametrize(
    ("present", "expected"),
    [("ugriz", "irg"), ("urz", "zru"), ("grz", "zrg"), ("gr", "rrg"), ("r", "rrr"), ("ui", "iiu")],
)
def test_the_bands_of_a_composite_run_from_red_to_blue(present: str, expected: str) -> None:
    picked = choose_triple(UGRIZ, [band in present for band in UGRIZ])
    assert "".join(UGRIZ[index] for index in picked) == expected


def test_a_red_object_is_red_a_blue_one_blue_and_north_is_up() -> None:
    red, blue = compose_rgb(window(i=300, r=100, g=10), UGRIZ), compose_rgb(window(i=20, r=40, g=60), UGRIZ)
    assert red[15, 16, 0] > red[15, 16, 2]
    assert blue[15, 16, 2] > blue[15, 16, 0]
    assert red[15, 16].max() > 3 * np.median(red)


def test_pixels_without_data_are_grey_and_a_missing_band_is_not() -> None:
    flux = window(i=300, r=100, g=10)
    flux[:, :10] = np.nan
    flux[UGRIZ.index("g"), 20:30] = np.nan
    image = compose_rgb(flux, UGRIZ)
    assert (image[-10:] == NO_DATA).all()
    assert not (image[34:44] == NO_DATA).all()


def test_nothing_at_all_is_drawn_too() -> None:
    assert (compose_rgb(np.full((5, 64, 64), np.nan, np.float32), UGRIZ) == NO_DATA).all()


def test_a_gallery_wraps_its_rows_and_marks_the_query(tmp_path: Path) -> None:
    panels = [Panel(window(i=300), UGRIZ, ("query",), highlighted=True)]
    panels += [Panel(window(i=50 * n), UGRIZ, (f"0.{n}", str(n))) for n in range(8)]
    panels.append(Panel(None, UGRIZ, ("0.1",)))
    draw_gallery([panels], tmp_path / "out.png")
    image = np.asarray(Image.open(tmp_path / "out.png"))
    assert 8 * TILE < image.shape[1] < 9 * TILE
    assert 2 * TILE < image.shape[0] < 3 * TILE
    assert image[10, 20].tolist() == [255, 196, 64]

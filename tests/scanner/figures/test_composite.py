"""Colours: what a person sees must be what the pixels say, here and in a browser."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from scanner.figures.composite import CURVES, NO_DATA, Stretch, choose_stretch, choose_triple, compose_rgb, encode_png

UGRIZ = tuple("ugriz")


def window(noise: float = 1.0, **bands: float) -> np.ndarray:
    """A source in the upper left of noise, of the given total brightness in each band."""
    flux = np.random.default_rng(1).normal(0, noise, (5, 64, 64)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    blob = np.exp(-((x - 16) ** 2 + (y - 48) ** 2) / 20)  # FITS rows go up: y = 48 is near the top
    for band, brightness in bands.items():
        flux[UGRIZ.index(band)] += brightness * blob
    return flux


def documented(fluxes: list[float], stretch: Stretch) -> list[int]:
    """A pixel by the formula of ``Stretch``, as a browser works it out."""
    values = [gain * flux for gain, flux in zip(stretch.gains, fluxes, strict=True)]
    valid = [value for value in values if not math.isnan(value)]
    if not valid:
        return NO_DATA.tolist()
    values = [sum(valid) / len(valid) if math.isnan(value) else value for value in values]
    values = [(value - stretch.black) / (stretch.white - stretch.black) for value in values]
    light, soft = max(sum(values) / 3, 0.001), stretch.softness
    shade = {
        "asinh": lambda: math.asinh(soft * light) / math.asinh(soft),
        "log": lambda: math.log(1 + soft * light) / math.log(1 + soft),
        "sqrt": lambda: math.sqrt(light),
        "linear": lambda: light,
    }[stretch.curve]()
    out = [max(value, 0) * shade / light for value in values]
    return [math.floor(255 * value / max(1, *out) + 0.5) for value in out]


@pytest.mark.parametrize(
    ("present", "expected"),
    [("ugriz", "irg"), ("urz", "zru"), ("grz", "zrg"), ("gr", "rrg"), ("r", "rrr"), ("ui", "iiu")],
)
def test_the_bands_of_a_composite_run_from_red_to_blue(present: str, expected: str) -> None:
    picked = choose_triple(UGRIZ, [band in present for band in UGRIZ])
    assert "".join(UGRIZ[index] for index in picked) == expected


def test_a_red_object_is_red_a_blue_one_blue_and_rows_go_up() -> None:
    red, blue = compose_rgb(window(i=300, r=100, g=10), UGRIZ), compose_rgb(window(i=20, r=40, g=60), UGRIZ)
    assert red[15, 16, 0] > red[15, 16, 2]
    assert blue[15, 16, 2] > blue[15, 16, 0]
    assert red[15, 16].max() > 3 * np.median(red)


@pytest.mark.parametrize("curve", CURVES)
def test_every_pixel_follows_the_documented_formula(curve: str) -> None:
    flux = window(i=3000, r=900, g=200)
    flux[UGRIZ.index("g"), 20:30] = np.nan
    flux[:, :3] = np.nan
    stretch = Stretch(("i", "r", "g"), (0.4, 0.6, 1.7), -0.7, 300.0, curve, 90.0)
    image = compose_rgb(flux, UGRIZ, stretch)[::-1]
    channels = [UGRIZ.index(band) for band in stretch.bands]
    for row, column in ((1, 1), (25, 40), (48, 16), (45, 18), (60, 60), (5, 5)):
        pixel = documented(flux[channels, row, column].tolist(), stretch)
        np.testing.assert_allclose(image[row, column], pixel, atol=1)


def test_the_picture_does_not_depend_on_the_unit_nor_on_how_much_has_no_data() -> None:
    flux = window(i=300, r=100, g=10)
    image = compose_rgb(flux, UGRIZ)
    np.testing.assert_allclose(compose_rgb(flux * 1000, UGRIZ).astype(int), image, atol=1)
    flux[:, :36] = np.nan  # more than half
    half = compose_rgb(flux, UGRIZ)
    assert (half[28:] == NO_DATA).all()
    np.testing.assert_allclose(half[:28].astype(int), image[:28], atol=12)


def test_a_cutout_without_noise_is_not_white_and_one_without_data_is_grey() -> None:
    image = compose_rgb(window(noise=0, i=300, r=100, g=10), UGRIZ)
    assert (image.max(axis=2) == 255).mean() < 0.1
    assert image[15, 5, 0] > image[15, 4, 0] > image[15, 3, 0]
    assert (compose_rgb(np.full((5, 64, 64), np.nan, np.float32), UGRIZ) == NO_DATA).all()


def test_one_stretch_serves_a_page_and_a_single_band_is_grey() -> None:
    page = np.stack([window(i=300, r=100, g=10), window(i=20, r=40, g=60)])
    stretch = choose_stretch(page, UGRIZ)
    assert stretch.white == pytest.approx(choose_stretch(page[0], UGRIZ).white, rel=0.05)
    grey = compose_rgb(page[0], UGRIZ, choose_stretch(page[0], UGRIZ, "rrr"))
    assert (grey == grey[:, :, :1]).all()


def test_a_thumbnail_is_the_composite_and_the_same_bytes_twice() -> None:
    image = compose_rgb(window(i=300), UGRIZ)
    png = encode_png(image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image)
    assert png == encode_png(image.copy())

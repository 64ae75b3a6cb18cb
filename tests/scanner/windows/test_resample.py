"""Windows at another pixel scale: right in flux and to a hundredth of a pixel, where there is a truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.special import erf

from scanner.windows.resample import PHASES, Resampler

MODEL = 0.18577


def gaussian(shape: tuple[int, int], x: float, y: float, sigma: float, flux: float = 1.0) -> np.ndarray:
    """A round Gaussian, integrated over each pixel."""

    def axis(length: int, centre: float) -> np.ndarray:
        edges = (np.arange(length + 1) - 0.5 - centre) / sigma / np.sqrt(2)
        return np.diff(erf(edges)) / 2

    return (flux * np.outer(axis(shape[0], y), axis(shape[1], x))).astype(np.float32)


def window(image: np.ndarray, resampler: Resampler, x: float, y: float) -> np.ndarray:
    (left,), (phase_x,) = resampler.place(np.array([x]))
    (top,), (phase_y,) = resampler.place(np.array([y]))
    side = resampler.patch
    return resampler.apply(image[top : top + side, left : left + side], int(phase_y), int(phase_x))


def centroid(image: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(image.shape)
    return float((image * x).sum() / image.sum()), float((image * y).sum() / image.sum())


@pytest.mark.parametrize("scale", [0.339, 0.168, 0.262, 0.396, 0.1, 0.03])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.31, -0.47), (0.5, 0.125)])
def test_a_galaxy_keeps_its_flux_and_its_place(scale: float, offset: tuple[float, float]) -> None:
    """At 0.8 arcsec (and 3 px) full width: flux to 1e-3, centre to 0.012 px, every pixel to 2 % of the peak.

    The centre is that good because phases are 1/64 px apart; the last 2 % are for input of 3 px a width, less for more.
    """
    sigma = max(0.8 / scale, 3.0) / 2.355
    side = int(13 / scale) + 24
    x, y = side / 2 + offset[0], side / 2 + offset[1]
    resampler = Resampler(64, MODEL / scale)
    out = window(gaussian((side, side), x, y, sigma, flux=1000.0), resampler, x, y)
    assert out.sum() == pytest.approx(1000, rel=1e-3)
    assert centroid(out) == pytest.approx((31.5, 31.5), abs=0.012)
    wide = sigma * scale / MODEL
    pixel = max(scale / MODEL, 1.0)  # light is spread over the larger of the two pixels
    truth = gaussian((64, 64), 31.5, 31.5, float(np.sqrt(wide**2 + (pixel**2 - 1) / 12)), flux=1000.0)
    assert np.abs(out - truth).max() < 0.02 * truth.max()


def test_it_is_the_spline_of_scipy() -> None:
    """The matrices do what scipy.ndimage does point by point, to float32."""
    image = np.random.default_rng(0).normal(size=(120, 130)).astype(np.float32)
    ratio = MODEL / 0.339
    x, y = 61.25, 58.75
    out = window(image, Resampler(64, ratio), x, y)
    grid = (np.arange(64) - 31.5) * ratio
    columns, rows = (np.rint((centre + grid[0]) * PHASES) / PHASES - grid[0] + grid for centre in (x, y))
    expected = map_coordinates(image.astype(float), np.meshgrid(rows, columns, indexing="ij"), order=3) * ratio**2
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_noise_is_not_aliased_when_pixels_get_larger() -> None:
    """White noise averaged over 6 x 6 pixels: its sum grows like the square root of their number, not faster."""
    image = np.random.default_rng(1).normal(size=(500, 500)).astype(np.float32)
    ratio = 6.0
    out = window(image, Resampler(64, ratio), 250.0, 250.0)
    assert out.std() == pytest.approx(ratio, rel=0.15)


def test_no_data_stays_no_data_and_its_neighbours_stay_right() -> None:
    smooth = gaussian((80, 80), 40, 40, 12, flux=1e4)
    holed = smooth.copy()
    holed[:, 30:34] = np.nan
    holed[50, 50] = np.nan
    resampler = Resampler(64, MODEL / 0.339)
    clean, out = window(smooth, resampler, 40, 40), window(holed, resampler, 40, 40)
    missing = np.isnan(out)
    assert 4 / 0.548 * 64 * 0.8 < missing.sum() < 4 / 0.548 * 64 * 1.25
    near = np.abs(out - clean)[~missing]
    assert near.max() < 0.02 * clean.max()
    assert np.median(near) < 1e-4 * clean.max()


def test_a_band_without_data_is_all_nan() -> None:
    resampler = Resampler(64, 0.5)
    patch = np.ones((3, resampler.patch, resampler.patch), np.float32)
    patch[1] = np.nan
    out = resampler.apply(patch, 0, 0)
    assert np.isnan(out[1]).all()
    np.testing.assert_allclose(out[[0, 2]], 0.25, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.339, 0.168, 0.03])
def test_the_sky_keeps_its_brightness(scale: float) -> None:
    resampler = Resampler(64, MODEL / scale)
    patch = np.full((resampler.patch, resampler.patch), 7.0, np.float32)
    np.testing.assert_allclose(resampler.apply(patch, 5, 60), 7 * (MODEL / scale) ** 2, rtol=1e-4)

"""Exposure: noise, saturation, satellite trails, cosmic rays, and gaps without data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.sky.unions_grid import PIXEL_SCALE
from training.simulate.conditions import NEIGHBOUR, BandConditions, Settings
from training.simulate.correlation import Correlation

Image = NDArray[np.float32]

_KERNEL = np.array([NEIGHBOUR, 1.0, NEIGHBOUR])
_ALONG = np.convolve(_KERNEL, _KERNEL) / (_KERNEL**2).sum()
CORRELATION = Correlation(np.outer(_ALONG, _ALONG))
"""Of ``correlated_noise``."""


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int], rms: float) -> Image:
    """Draw Gaussian noise of ``rms`` per pixel with a correlation of about 0.2 at one pixel, as in resampled images."""
    noise = rng.standard_normal((shape[0] + 2, shape[1] + 2), dtype=np.float32)
    a = np.float32(NEIGHBOUR)
    # The kernel (a, 1, a) along each axis raises the variance by 1 + 2 a^2, which the division takes back.
    noise = noise[1:-1] + a * (noise[:-2] + noise[2:])
    noise = noise[:, 1:-1] + a * (noise[:, :-2] + noise[:, 2:])
    return np.asarray(noise * np.float32(rms / (1 + 2 * NEIGHBOUR**2)), np.float32)


def expose(rng: np.random.Generator, flux: Image, conditions: BandConditions, settings: Settings) -> Image:
    """Expose the noiseless flux [H, W] in nJy of one band; the result has NaN for no data."""
    if not conditions.present:
        return np.full_like(flux, np.nan)
    # Background noise and photon noise of the objects in nJy; the gain is in electrons per nJy.
    rms = np.sqrt(conditions.rms**2 + np.maximum(flux, 0) / np.float32(conditions.gain))
    image = (
        flux
        + rms * correlated_noise(rng, (flux.shape[0], flux.shape[1]), 1.0)
        + _background(rng, flux.shape, conditions)
    )
    image = saturate(image, conditions)
    # Square arcmin, the unit of the rate of cosmic rays.
    area = flux.size * (PIXEL_SCALE / 60) ** 2
    for _ in range(rng.poisson(settings.cosmic_rays * area)):
        draw_cosmic_ray(rng, image, conditions)
    if rng.random() < settings.trails:
        draw_trail(rng, image, conditions)
    if rng.random() < settings.gaps:
        _gap(rng, image)
    return np.asarray(image, np.float32)


def _background(rng: np.random.Generator, shape: tuple[int, ...], conditions: BandConditions) -> Image:
    """Draw the residual of background subtraction: a plane of at most a few tenths of the noise."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    a, b, c = rng.normal(0, 0.05 * conditions.rms, 3)
    return np.asarray(a + b * x + c * y, np.float32)


def saturate(image: Image, conditions: BandConditions) -> Image:
    """Clip saturated pixels; their excess charge bleeds up and down their columns."""
    full = np.float32(conditions.saturation)
    over = image > full
    if not over.any():
        return image
    bled = np.minimum(image, full)
    excess = np.where(over, image - full, 0).sum(axis=0)
    for column in np.flatnonzero(excess > 2 * full):
        rows = np.flatnonzero(over[:, column])
        # Half of the excess charge goes to either side.
        length = int(min(excess[column] / full / 2, 0.25 * len(image)))
        bottom, top = max(rows.min() - length, 0), rows.max() + length
        bled[bottom : top + 1, column] = np.maximum(bled[bottom : top + 1, column], 0.8 * full)
    return np.asarray(bled, np.float32)


def draw_cosmic_ray(rng: np.random.Generator, image: Image, conditions: BandConditions) -> None:
    """Draw a short straight track, one pixel wide, without PSF."""
    length, angle = rng.integers(2, 18), rng.uniform(0, np.pi)
    x0, y0 = rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0])
    step = np.arange(0, length, 0.7)
    x, y = (x0 + step * np.cos(angle)).astype(int), (y0 + step * np.sin(angle)).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
    image[y[inside], x[inside]] += np.float32(conditions.rms) * rng.uniform(8, 60, inside.sum()).astype(np.float32)


def draw_trail(rng: np.random.Generator, image: Image, conditions: BandConditions) -> None:
    """Draw a satellite trail: a straight line through the tile, as wide as the seeing and out of focus."""
    angle = rng.uniform(0, np.pi)
    x0, y0 = rng.uniform(0, image.shape[1]), rng.uniform(0, image.shape[0])
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    away = (x - x0) * np.sin(angle) - (y - y0) * np.cos(angle)
    width = conditions.fwhm / 2.355 / PIXEL_SCALE * rng.uniform(1.1, 2.5)
    image += np.float32(conditions.rms * 10 ** rng.uniform(-0.5, 0.7)) * np.exp(-0.5 * (away / width) ** 2).astype(
        np.float32
    )


def _gap(rng: np.random.Generator, image: Image) -> None:
    """Remove a strip along a column or row, as between chips, or a corner outside the footprint."""
    height, width = image.shape
    at, wide = rng.uniform(0.05, 0.95), int(rng.integers(4, 40))
    match rng.integers(3):
        case 0:
            image[:, int(at * width) : int(at * width) + wide] = np.nan
        case 1:
            image[int(at * height) : int(at * height) + wide] = np.nan
        case _:
            tall, broad = (rng.uniform(0.03, 0.25, 2) * image.shape).astype(int)
            image[:tall, width - broad :] = np.nan

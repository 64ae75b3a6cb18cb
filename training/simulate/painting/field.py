"""Conditions of a real field, measured in its own pixels: the PSF of its stars and the noise of its background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from scanner.windows.stars import FEWEST, cut_stars, find_stars, fit_moffat
from training.simulate.conditions import GAIN, BandConditions
from training.simulate.correlation import Correlation

MAD_TO_SIGMA = 1.4826
PATCH, PATCHES = 128, 256
"""Side in pixels of the parts of an image in which the covariance of the noise is measured, and how many at most."""
REACH = 8
"""Distance in pixels, along rows and columns, beyond which noise is taken as independent."""
SMOOTH, ABOVE, GROWN = 2.0, 4.0, 3
"""Pixels belong to a source where the image, smoothed by ``SMOOTH`` px, is farther from its median than ``ABOVE`` times
its noise, and within ``GROWN`` px of these. A lower limit would cut off peaks of the noise itself."""
FREE = 0.2
"""Least share of the pixels of a part that belong to no source."""


def measure_conditions(
    images: TileImages, sources: Sources, seeing: float, pixel_scale: float = PIXEL_SCALE
) -> tuple[BandConditions, ...]:
    """Measure PSF and noise of each band, for a ``Canvas`` of ``pixel_scale`` (arcsec).

    ``sources`` are detections in ``images``. A band with fewer than ``FEWEST`` stars gets a PSF of ``seeing`` (FWHM,
    arcsec). The noise is that of white noise of the same variance in a square arcsec. Gains are typical ones.
    """
    stars = find_stars(sources, seeing)
    conditions = []
    for band, name in enumerate(images.bands):
        present = images.present[band]
        stamps = cut_stars(images, sources, stars, band) if present else []
        psf = fit_moffat(np.median(stamps, axis=0), images.pixel_scale) if len(stamps) >= FEWEST else None
        fwhm, beta, g1, g2 = (psf.fwhm, psf.beta, psf.g1, psf.g2) if psf else (seeing, 3.0, 0.0, 0.0)
        # What was measured contains the pixel of the image; a canvas adds that of its own.
        fwhm = np.sqrt(max(fwhm**2 - (0.68 * pixel_scale) ** 2, (0.5 * fwhm) ** 2))
        rms = _background_noise(images.flux[band]) * pixel_scale / images.pixel_scale if present else 1.0
        conditions.append(
            BandConditions(name, float(fwhm), beta, g1, g2, float(rms), GAIN.get(name, 4.0), np.inf, 0.0, present)
        )
    return tuple(conditions)


def _background_noise(flux: NDArray[np.float32]) -> float:
    """Measure the noise of a pixel in nJy from the pixels below the median: sources only make pixels brighter."""
    finite = flux[np.isfinite(flux)].astype(np.float64)
    median = np.median(finite)
    below = median - finite[finite < median]
    return float(MAD_TO_SIGMA * np.median(below)) if len(below) else 1.0


def measure_correlation(flux: NDArray[np.float32]) -> Correlation | None:
    """Measure the covariance of the noise of neighbouring pixels of an image [H, W] in nJy, where there is no source.

    It is in units of the variance that ``measure_conditions`` gives a pixel, and contains what faint sources and the
    residual background add. None where no part of the image is free of sources enough to tell.

    It is the median over parts of the image, spread evenly, so that haloes of bright stars do not count.
    """
    height, width = flux.shape
    side = min(PATCH, height, width)
    most = round(PATCHES**0.5)
    tops, lefts = (np.linspace(0, n - side, min(n // side, most)).astype(int) for n in (height, width))
    measured = [_covariance(flux[top : top + side, left : left + side]) for top in tops for left in lefts]
    found = [one for one in measured if one is not None]
    return Correlation(np.median(found, axis=0) / _background_noise(flux) ** 2) if found else None


def _covariance(flux: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Measure the covariance of pixels without sources, by their distance, [2 REACH + 1, 2 REACH + 1] in nJy^2."""
    free = np.isfinite(flux)
    if free.mean() < FREE:
        return None
    filled = np.where(free, flux - np.median(flux[free]), 0).astype(np.float64)
    smooth = ndimage.gaussian_filter(filled, SMOOTH)
    level, noise = np.median(smooth[free]), _background_noise(np.where(free, smooth, np.nan))
    free &= ndimage.maximum_filter(np.abs(smooth - level), 2 * GROWN + 1) <= ABOVE * noise
    if free.mean() < FREE:
        return None
    # Sums of products of two pixels, and their number, at each distance; the padding keeps opposite edges apart.
    padded = fft.next_fast_len(len(flux) + REACH, real=True)
    sums, pairs = (
        fft.irfft2(np.abs(fft.rfft2(values, (padded, padded))) ** 2, (padded, padded))
        for values in (np.where(free, filled - filled[free].mean(), 0), free.astype(np.float64))
    )
    steps = np.arange(-REACH, REACH + 1)
    near = np.ix_(steps, steps)
    return np.asarray(sums[near] / np.maximum(pairs[near], 0.5))

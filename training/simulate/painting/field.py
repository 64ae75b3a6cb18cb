"""Conditions of a real field, measured in its own pixels: the PSF of its stars and the noise of its background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from scanner.windows.stars import FEWEST, cut_stars, find_stars, fit_moffat
from training.simulate.conditions import GAIN, BandConditions

MAD_TO_SIGMA = 1.4826


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

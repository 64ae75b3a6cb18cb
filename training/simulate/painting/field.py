"""Conditions of a real field, measured in its own pixels: the PSF of its stars and the noise of its background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift
from scipy.optimize import least_squares

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from training.simulate.conditions import GAIN, BandConditions

Array = NDArray[np.float64]

BETAS = (2.5, 3.0, 3.5, 4.5)
ROUND = 1.3  # largest ratio of the half-axes of a star
SNR = 30.0  # of a star, least
FEWEST, MOST = 2, 15  # stars that a PSF is measured with
STAR_RADIUS = 0.6  # half-light radius of a star in FWHM
HALF = 1.8  # arcsec, half the side of a star's stamp
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
        psf = _measure_psf(images, sources, stars, band) if present else None
        fwhm, beta, g1, g2 = psf or (seeing, 3.0, 0.0, 0.0)
        # What was measured contains the pixel of the image; a canvas adds that of its own.
        fwhm = np.sqrt(max(fwhm**2 - (0.68 * pixel_scale) ** 2, (0.5 * fwhm) ** 2))
        rms = _background_noise(images.flux[band]) * pixel_scale / images.pixel_scale if present else 1.0
        conditions.append(
            BandConditions(name, float(fwhm), beta, g1, g2, float(rms), GAIN.get(name, 4.0), np.inf, 0.0, present)
        )
    return tuple(conditions)


def find_stars(sources: Sources, seeing: float) -> NDArray[np.intp]:
    """Find at most ``MOST`` stars among detections, the best first: bright, round, and as small as the smallest."""
    columns = sources.columns
    radius, snr = columns["flux_radius"], columns["snr"]
    with np.errstate(invalid="ignore", divide="ignore"):
        small = (snr > SNR) & (columns["a"] < ROUND * columns["b"]) & (radius < 1.15 * STAR_RADIUS * seeing * 1.1)
    small &= (radius > 0.25 * seeing) & (columns["flags"] == 0)
    if not small.any():
        return np.zeros(0, np.intp)
    # Stars lie on a narrow line of sizes: galaxies as small as that are rare.
    line = np.percentile(radius[small], 40)
    rows = np.flatnonzero(small & (np.abs(radius - line) < 0.12 * line))
    return rows[np.argsort(-snr[rows], kind="stable")][:MOST]


def _measure_psf(
    images: TileImages, sources: Sources, stars: NDArray[np.intp], band: int
) -> tuple[float, float, float, float] | None:
    """Fit an elliptical Moffat profile to the median of the stars: FWHM (arcsec), beta, g1, g2; None without enough."""
    half = round(HALF / images.pixel_scale)
    stamps = []
    for star in stars:
        x, y = (float(axis[star]) for axis in sources.pixels[band])
        column, row = round(x) if np.isfinite(x) else -1, round(y) if np.isfinite(y) else -1
        stamp = images.flux[band][max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
        if row < half or column < half or stamp.shape != (2 * half + 1,) * 2 or not np.isfinite(stamp).all():
            continue
        stamp = shift(stamp.astype(float), (row - y, column - x), order=3, mode="nearest")
        stamp -= np.median(np.concatenate([stamp[0], stamp[-1], stamp[:, 0], stamp[:, -1]]))
        core = stamp[half - 1 : half + 2, half - 1 : half + 2]
        # A saturated star has a flat core, and a star that is faint in this band has none.
        if stamp.sum() > 0 and stamp[half, half] > 1.02 * np.median(core) and stamp[half, half] >= 0.95 * core.max():
            stamps.append(stamp / stamp.sum())
    if len(stamps) < FEWEST:
        return None
    return _fit_moffat(np.median(stamps, axis=0), images.pixel_scale)


def _fit_moffat(stamp: Array, pixel_scale: float) -> tuple[float, float, float, float] | None:
    side = np.arange(len(stamp)) - len(stamp) // 2
    x, y = np.meshgrid(side * pixel_scale, side * pixel_scale)

    def model(values: Array, beta: float) -> Array:
        flux, alpha, e1, e2, level, x0, y0 = values
        u, v = x - x0, y - y0
        r2 = ((1 - e1) * u**2 + (1 + e1) * v**2 - 2 * e2 * u * v) / alpha**2
        return np.asarray(flux * (1 + np.maximum(r2, 0)) ** -beta + level)

    best = None
    for beta in BETAS:
        start = np.array([stamp.max(), 0.6, 0, 0, 0, 0, 0])
        fit = least_squares(lambda values, beta=beta: (model(values, beta) - stamp).ravel(), start, max_nfev=200)  # type: ignore[misc]
        if best is None or fit.cost < best[0]:
            best = (fit.cost, beta, fit.x)
    assert best is not None
    _, beta, (_, alpha, e1, e2, *_) = best
    fwhm = 2 * abs(alpha) * np.sqrt(2 ** (1 / beta) - 1)
    if not (0.3 < fwhm < 3.0 and np.hypot(e1, e2) < 0.4):
        return None
    # r2 to first order in a shear g is r^2 less 2 (g1 (u^2 - v^2) + 2 g2 u v).
    return float(fwhm), float(beta), float(e1 / 2), float(e2 / 2)


def _background_noise(flux: NDArray[np.float32]) -> float:
    """Measure the noise of a pixel in nJy from the pixels below the median: sources only make pixels brighter."""
    finite = flux[np.isfinite(flux)].astype(np.float64)
    median = np.median(finite)
    below = median - finite[finite < median]
    return float(MAD_TO_SIGMA * np.median(below)) if len(below) else 1.0

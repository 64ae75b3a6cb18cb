"""Stars of a field among its detections, their images, and the point spread function (PSF) that they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift
from scipy.optimize import least_squares

from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources

Array = NDArray[np.float64]

BETAS = (2.5, 3.0, 3.5, 4.5)
ROUND = 1.3  # largest ratio of the half-axes of a star
SNR = 30.0  # of a star, least
FEWEST, MOST = 2, 15  # stars that a PSF is measured with
STAR_RADIUS = 0.6  # half-light radius of a star in FWHM
HALF = 1.8  # arcsec, half the side of a star's stamp
LOCUS = 0.15
"""Relative width of the line of stars in size."""
FEWEST_STARS = 5
"""Bright, round objects of about one size that give a rough seeing."""


@dataclass(frozen=True)
class MoffatProfile:
    """An elliptical Moffat profile: FWHM in arcsec, exponent, and a shear along x and y."""

    fwhm: float
    beta: float
    g1: float
    g2: float


def estimate_seeing(sources: Sources) -> float | None:
    """Estimate the FWHM in arcsec by the line of stars: the smallest size that many bright, round objects have.

    None where there are too few.
    """
    columns = sources.columns
    with np.errstate(invalid="ignore"):
        round_ones = (columns["snr"] > SNR) & (columns["a"] < ROUND * columns["b"]) & (columns["flags"] == 0)
    size = np.sort(columns["flux_radius"][round_ones & (columns["flux_radius"] > 0)].astype(float))
    # Objects up to so much larger than each one.
    counts = np.searchsorted(size, size * (1 + LOCUS), side="right") - np.arange(len(size))
    if counts.max(initial=0) < FEWEST_STARS:
        return None
    first = int(np.argmax(counts >= max(FEWEST_STARS, 0.6 * counts.max())))
    return float(np.median(size[first : first + counts[first]])) / STAR_RADIUS


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


def cut_stars(
    images: TileImages, sources: Sources, stars: NDArray[np.intp], band: int, reach: float = HALF
) -> list[Array]:
    """Cut stars [2 h + 1, 2 h + 1] out of a band, h pixels in ``reach`` arcsec: centred, without background, of sum 1.

    Left out are those that are cut by an edge or a gap, saturated, or too faint in this band.
    """
    half = round(reach / images.pixel_scale)
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
    return stamps


def fit_moffat(stamp: Array, pixel_scale: float) -> MoffatProfile | None:
    """Fit an elliptical Moffat profile to the image of a star [2 h + 1, 2 h + 1]; None where it is no star's."""
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
    return MoffatProfile(float(fwhm), float(beta), float(e1 / 2), float(e2 / 2))


def draw_moffat(profile: MoffatProfile, half: int, pixel_scale: float) -> Array:
    """Draw a Moffat profile of sum 1 at the middles of pixels, [2 h + 1, 2 h + 1]."""
    side = (np.arange(2 * half + 1) - half) * pixel_scale
    x, y = np.meshgrid(side, side)
    alpha = profile.fwhm / (2 * np.sqrt(2 ** (1 / profile.beta) - 1))
    e1, e2 = 2 * profile.g1, 2 * profile.g2
    r2 = ((1 - e1) * x**2 + (1 + e1) * y**2 - 2 * e2 * x * y) / alpha**2
    image = (1 + np.maximum(r2, 0)) ** -profile.beta
    return np.asarray(image / image.sum())

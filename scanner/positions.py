"""Between pixels and sky, each band through its own WCS; pixels are 0-based, their centres at whole numbers."""

from __future__ import annotations

from warnings import catch_warnings, simplefilter

import numpy as np
from astropy.wcs import WCS, NoConvergence
from numpy.typing import NDArray

from scanner.images import TileImages

Floats = NDArray[np.float64]


def to_sky(images: TileImages, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """RA and Dec (degrees ICRS, [N]) of pixels of the detection band."""
    wcs = images.wcs[images.detection]
    if len(x) == 0 or wcs is None:
        return np.zeros(0), np.zeros(0)
    ra, dec = wcs.all_pix2world(x, y, 0)
    return np.asarray(ra, float) % 360, np.asarray(dec, float)


def to_pixels(images: TileImages, band: int, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Pixels [N] of sky positions in a band; NaN where the band is missing or the position is not on its plane."""
    wcs = images.wcs[band]
    if len(ra) == 0 or wcs is None:
        return np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    return sky_to_pixels(wcs, ra, dec)


def sky_to_pixels(wcs: WCS, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Pixels [N] of sky positions (degrees); NaN where they cannot be projected (the other side of the sky)."""
    with catch_warnings():
        simplefilter("ignore")
        try:
            x, y = wcs.all_world2pix(ra, dec, 0, quiet=True)
        except (ValueError, NoConvergence):
            return np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    behind = ~(_cosine(wcs, ra, dec) > 0)
    return np.where(behind, np.nan, x), np.where(behind, np.nan, y)


def inside(shape: tuple[int, ...], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Whether positions fall on a pixel of an image [..., H, W]; NaN does not."""
    rows, columns = shape[-2:]
    return np.asarray((x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5))


def _cosine(wcs: WCS, ra: Floats, dec: Floats) -> Floats:
    """Cosine of the distance to the reference point: a tangent plane also projects what lies behind it."""
    ra0, dec0 = np.radians(wcs.wcs.crval[:2])
    right, up = np.radians(ra) - ra0, np.radians(dec)
    return np.asarray(np.sin(dec0) * np.sin(up) + np.cos(dec0) * np.cos(up) * np.cos(right))

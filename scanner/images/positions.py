"""Between pixels and sky, each band through its own WCS; pixels are 0-based, their centres at whole numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.images import wcs as astrometry
from scanner.images.tile_images import TileImages

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
    return astrometry.sky_to_pixels(wcs, ra, dec)


def inside(shape: tuple[int, ...], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Whether positions fall on a pixel of an image [..., H, W]; NaN does not."""
    rows, columns = shape[-2:]
    return np.asarray((x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5))

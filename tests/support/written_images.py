"""Small images with a header of any cards, in the units of which a tile is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.sky import unions_grid
from scanner.images.tile_images import TileImages

SCALE = unions_grid.PIXEL_SCALE
Opened = Callable[..., TileImages]


def counts(seed: int = 1) -> NDArray[np.float32]:
    """Noise and one bright star."""
    image = np.random.default_rng(seed).normal(0, 1, (90, 100)).astype(np.float32)
    y, x = np.mgrid[:90, :100]
    return image + np.float32(5e4) * np.exp(-0.5 * ((x - 50) ** 2 + (y - 40) ** 2) / 4).astype(np.float32)


def header(**cards: Any) -> fits.Header:
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"], made["CUNIT1"], made["CUNIT2"] = "RA---TAN", "DEC--TAN", "deg", "deg"
    made["CRVAL1"], made["CRVAL2"] = unions_grid.centre("217.292")
    made["CRPIX1"], made["CRPIX2"] = 50.5, 45.5
    made["CDELT1"], made["CDELT2"] = -SCALE / 3600, SCALE / 3600
    made.update(cards)
    return made

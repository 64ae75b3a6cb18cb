"""What a band's file holds, read by astropy alone: the scanner must find the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_opening

from tests.support import small_tiles

HUGE = 1e30
"""Of what is as large as this in nJy no program means that it is light."""


def honest(path: Path, band: str) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, WCS]:
    """Flux [H, W] of a file in nJy, variance in nJy^2 and the WCS: planes read in one piece, by astropy alone."""
    factor = 10 ** (-0.4 * (small_tiles.ZERO_POINTS[band] - 31.4))
    with fits.open(path, memmap=False) as hdus:
        if band == "r":
            image, mask, noise = next(hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2), None, None
        else:
            image, mask, noise = (_plane(hdus, name, at) for at, name in enumerate(("IMAGE", "MASK", "VARIANCE"), 1))
        rounded = isinstance(image, fits.CompImageHDU) and "ZSCALE" in image._bintable.columns.names
        rounded &= rounded and image._bintable.header.get("ZQUANTIZ") != "SUBTRACTIVE_DITHER_2"
        flux = (np.asarray(image.data, float) * factor).astype(np.float32)
        flux[~(np.abs(flux) < HUGE)] = np.nan
        if band == "r":
            zero = flux == 0
            flux[zero & binary_opening(zero | np.isnan(flux), np.ones((3, 3))) if rounded else zero] = np.nan
        if mask is not None:
            bits = np.asarray(mask.data, float)
            flux[~np.isfinite(bits)] = np.nan
            width = mask.data.dtype.itemsize * 8 if mask.data.dtype.kind in "iu" else 64
            if 0 <= _bit(mask) < width:
                flux[(np.nan_to_num(bits).astype(np.int64) >> _bit(mask)) & 1 == 1] = np.nan
        variance = None if noise is None else (np.asarray(noise.data, float) * factor**2).astype(np.float32)
        if variance is not None:
            variance[~(np.isfinite(variance) & (variance > 0))] = np.nan
            variance = None if np.isnan(variance).all() else variance  # one that is known nowhere is none
        header = image.header.copy()
        if not str(header.get("CTYPE1")).endswith("-SIP"):  # by the convention there is no such distortion
            for card in [card for card in header if re.fullmatch("[AB]P?_(ORDER|[0-9]_[0-9])", card)]:
                del header[card]
        return flux, variance, WCS(header, naxis=2)


def _bit(mask: Any) -> int:
    """The number of the bit that says "no data"."""
    return int(mask.header.get("MP_NO_DATA", 8))


def _plane(hdus: fits.HDUList, name: str, index: int) -> Any | None:
    """A plane by its name, or by its place if what stands there bears no other plane's name."""
    flat = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2]
    named = [hdu for hdu in flat if name in (hdu.name, str(hdu.header.get("EXTTYPE", "")).upper())]
    placed = [hdu for hdu in hdus[index : index + 1] if hdu in flat and hdu.name not in ("IMAGE", "MASK", "VARIANCE")]
    return next(iter([*named, *placed]), None)

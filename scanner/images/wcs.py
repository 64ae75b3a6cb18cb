"""World coordinates (WCS) of an image: read from its header, or invented for an image without a place on the sky."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError

Floats = NDArray[np.float64]


FLAT_CENTRE = (180.0, 0.0)
"""RA and Dec in degrees of the middle of an image with an invented WCS."""

_NUMBERS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
_ORDERS = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")
MAX_ORDER = 9
"""The highest order of a SIP polynomial; astropy would allocate any number of terms. Source: Shupe et al. 2005."""


def read_wcs(hdu: Any, path: Path) -> WCS:
    """Read the celestial WCS of an image HDU.

    Raises:
        ScannerError: ``tile.no_wcs`` where its header has none, or one that does not work.
    """
    with catch_warnings():
        simplefilter("ignore")
        try:
            _check_numbers(hdu.header)
            wcs = WCS(hdu.header, naxis=2)
            # Some WCS are read without complaint and fail only when they are used.
            centre = wcs.all_pix2world([[hdu.shape[1] / 2, hdu.shape[0] / 2]], 0)
        except Exception as error:  # wcslib raises many kinds for a bad header
            raise _no_wcs(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if not wcs.has_celestial or not np.isfinite(centre).all():
        raise _no_wcs(path, "it has no celestial axes")
    return wcs


def _check_numbers(header: Any) -> None:
    """Refuse a text in place of a number, where wcslib would use its default without a word."""
    for card in _NUMBERS:
        if isinstance(header.get(card), str | bool):
            raise ValueError(f"{card} is {header[card]!r}")
    for card in _ORDERS:
        if not header.get(card, 0) <= MAX_ORDER:
            raise ValueError(f"{card} is {header[card]!r}")


def measure_pixel_scale(wcs: WCS, path: Path) -> float:
    """Side of a pixel in arcsec, from its area at the reference point.

    Raises:
        ScannerError: ``tile.no_wcs`` where it is not between 0 and a degree.
    """
    scale = float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600
    if not 0 < scale < 3600:
        raise _no_wcs(path, f'its pixels would be {scale}" wide')
    return scale


def flat_wcs(shape: tuple[int, ...], pixel_scale: float) -> WCS:
    """Invent a tangent plane for an image [..., H, W] without a place on the sky, with ``pixel_scale`` in arcsec.

    ``FLAT_CENTRE`` lies in the middle of the image, north is up and east left. The plane serves to find the same pixel
    in every band.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3 (TAN).
    """
    rows, columns = shape[-2:]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(FLAT_CENTRE)
    # FITS counts pixels from 1, so the middle of n pixels is (n + 1) / 2.
    wcs.wcs.crpix = [(columns + 1) / 2, (rows + 1) / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    return wcs


def sky_to_pixels(wcs: WCS, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """0-based pixels [N] of sky positions (degrees ICRS); NaN where they cannot be projected.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, by wcslib.
    """
    with catch_warnings():
        simplefilter("ignore")
        try:
            x, y = wcs.all_world2pix(ra, dec, 0, quiet=True)
        except (ValueError, NoConvergence):
            return np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    # A tangent plane also projects what lies behind it: the cosine of the distance to the reference point tells.
    ra0, dec0 = np.radians(wcs.wcs.crval[:2])
    right, up = np.radians(ra) - ra0, np.radians(dec)
    cosine = np.sin(dec0) * np.sin(up) + np.cos(dec0) * np.cos(up) * np.cos(right)
    behind = ~(cosine > 0)
    return np.where(behind, np.nan, x), np.where(behind, np.nan, y)


def _no_wcs(path: Path, why: str) -> ScannerError:
    hint = "Solve the image's astrometry first: objects need positions on the sky."
    return ScannerError(ErrorCode.TILE_NO_WCS, f"{path} has no usable world coordinates: {why}.", hint)

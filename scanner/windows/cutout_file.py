"""A cutout that a user has as FITS, read as a small tile: bands in nanojansky on one pixel grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.calibration import calibrate
from scanner.images.fits import errors_of, open_fits
from scanner.images.tile_images import TileImages
from scanner.images.wcs import flat_wcs
from scanner.survey.survey import Survey
from scanner.windows.frame import WindowFrame

ZERO_POINT_CARDS = ("MAGZERO", "MAGZPT", "MAGZP", "PHOTZP", "ZEROPNT", "ZEROPOIN", "ZP")
PIXEL_SCALE_CARDS = ("PIXSCALE", "PIXSCAL1", "PIXSCAL", "SECPIX")
UNITS = {"njy": 31.4, "ujy": 23.9, "mjy": 16.4, "jy": 8.9, "nanomaggy": 22.5, "nanomaggies": 22.5, "maggy": 0.0}
"""AB zero points of fluxes in these units (BUNIT, any case)."""

NOT_FLUX = ("inv", "mask", "weight", "psf", "var", "model", "resid", "chi2")
"""Words in IMAGETYP of planes that are not images of the sky."""


@dataclass(frozen=True)
class _Plane:
    band: str
    counts: NDArray[Any]
    header: fits.Header


def read(path: Path, survey: Survey, frame: WindowFrame) -> TileImages:
    """Read the bands of a cutout that the frame has, as a small tile whose middle is at ``FLAT_CENTRE``.

    Bands are HDUs named by EXTNAME, BAND or FILTER, or the planes of a cube named by BANDS (``gri``) or BAND0, BAND1...
    Zero points come from the header (MAGZERO and such, or BUNIT), else from the survey.

    Raises:
        ScannerError: ``cutout.unknown_bands``, ``cutout.shape_mismatch``, ``cutout.no_pixels``, or as ``open_fits``.
    """
    with open_fits(path) as hdus, errors_of(path):
        # Of several planes of a band the first one counts.
        by_band: dict[str, _Plane] = {}
        for plane in _planes(hdus, frame.bands):
            by_band.setdefault(plane.band, plane)
        planes = [by_band[band] for band in frame.bands if band in by_band]
        if not planes:
            raise ScannerError(
                ErrorCode.CUTOUT_UNKNOWN_BANDS,
                f"{path} does not say which of its images are in {', '.join(frame.bands)}.",
                "Name each HDU by its band (EXTNAME = 'r'), or the planes of a cube by BANDS = 'gri'.",
            )
        shapes = {plane.counts.shape for plane in planes}
        if len(shapes) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SHAPE_MISMATCH, f"The bands of {path} have different shapes.", "Cut them alike."
            )
        flux = np.full((len(frame.bands), *shapes.pop()), np.nan, np.float32)
        for plane in planes:
            band = survey.band(plane.band)
            zero_point = _zero_point(plane.header, default=band.zero_point)
            calibrate(plane.counts, zero_point, band.zero_is_missing, out=flux[frame.bands.index(band.name)])
        scale = _pixel_scale([plane.header for plane in planes]) or frame.pixel_scale
    # Cutouts are looked at, not placed: an invented WCS serves all bands, since they have one shape.
    images = TileImages.of(path.name, frame.bands, flux, (flat_wcs(flux.shape, scale),) * len(flux), scale)
    if not any(images.valid):
        raise ScannerError(ErrorCode.CUTOUT_NO_PIXELS, f"{path} has no pixel with data.", "Give another cutout.")
    return images


def _planes(hdus: fits.HDUList, bands: Sequence[str]) -> Iterator[_Plane]:
    for hdu in hdus:
        if not hdu.is_image or hdu.data is None:
            continue
        kind = str(hdu.header.get("IMAGETYP", "")).lower()
        # Without this, an HDU of weights with the band's name would be taken for its image.
        if any(word in kind for word in NOT_FLUX):
            continue
        if hdu.data.ndim == 2:
            if band := _band(hdu.header, bands):
                yield _Plane(band, hdu.data, hdu.header)
        elif hdu.data.ndim == 3:
            names = _cube_bands(hdu.header, len(hdu.data))
            # Planes beyond the names are left out; ``read`` chooses those of the frame's bands.
            yield from (_Plane(name, plane, hdu.header) for name, plane in zip(names, hdu.data, strict=False))


def _band(header: fits.Header, bands: Sequence[str]) -> str | None:
    """Band of an image HDU from its cards (``r``, ``HSC_r``, ``r.MP9602``), or the frame's band if it has only one."""
    for card in ("BAND", "FILTER", "EXTNAME"):
        name = str(header.get(card, "")).strip().lower()
        for band in bands:
            if band.lower() in (name, name.split(".")[0].split("_")[-1]):
                return band
    return bands[0] if len(bands) == 1 else None


def _cube_bands(header: fits.Header, count: int) -> list[str]:
    names = str(header.get("BANDS", header.get("FILTERS", ""))).strip()
    if names:
        # Either g,r,i or gri.
        return [part.strip() for part in names.split(",")] if "," in names else list(names)
    first = 0 if "BAND0" in header else 1
    return [str(header.get(f"BAND{first + index}", "")).strip() for index in range(count)]


def _zero_point(header: fits.Header, default: float) -> float:
    for card in ZERO_POINT_CARDS:
        # A card may hold a text in place of a number.
        value = header.get(card)
        if isinstance(value, int | float) and np.isfinite(value):
            return float(value)
    return UNITS.get(str(header.get("BUNIT", "")).strip().lower(), default)


def _pixel_scale(headers: Sequence[fits.Header]) -> float | None:
    """Pixel scale in arcsec from a WCS or a card; None where the headers have neither."""
    for header in headers:
        # Without these cards a WCS has pixels of one degree by default.
        wcs = WCS(header, naxis=2)
        if wcs.has_celestial and any(card in header for card in ("CDELT1", "CD1_1")):
            return float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600
        for card in PIXEL_SCALE_CARDS:
            if isinstance(header.get(card), int | float) and header[card] > 0:
                return float(header[card])
    return None

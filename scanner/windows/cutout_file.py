"""A cutout that a user has as FITS, brought to what a tile is: bands in nanojansky on one pixel grid."""

from __future__ import annotations

from collections.abc import Iterator
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
NOT_PIXELS = ("inv", "mask", "weight", "psf", "var", "model", "resid", "chi2")

Image = NDArray[np.float32]


@dataclass(frozen=True)
class _Plane:
    band: str
    counts: NDArray[Any]
    header: fits.Header


def read(path: Path, survey: Survey, frame: WindowFrame) -> TileImages:
    """The bands of a cutout of the frame, as a small tile whose middle is at ``FLAT_CENTRE``.

    Bands are HDUs named by EXTNAME, BAND or FILTER, or the planes of a cube named by BANDS (``gri``) or BAND0, BAND1...
    Zero points come from the header (MAGZERO and such, or BUNIT), else from the survey. Raises ``ScannerError``:
    ``cutout.unknown_bands``, ``cutout.shape_mismatch``, ``cutout.no_pixels``, or what reading the file raises.
    """
    with open_fits(path) as hdus, errors_of(path):
        planes: dict[str, _Plane] = {}
        for plane in _planes(hdus, frame):
            planes.setdefault(plane.band, plane)
        found = [planes[band] for band in frame.bands if band in planes]
        if not found:
            raise _unknown(path, frame)
        shapes = {plane.counts.shape for plane in found}
        if len(shapes) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SHAPE_MISMATCH, f"The bands of {path} have different shapes.", "Cut them alike."
            )
        flux = np.full((len(frame.bands), *shapes.pop()), np.nan, np.float32)
        for plane in found:
            band, out = survey.band(plane.band), flux[frame.bands.index(plane.band)]
            calibrate(plane.counts, _zero_point(plane.header, band.zero_point), band.zero_is_missing, out)
        scale = _pixel_scale([plane.header for plane in found]) or frame.pixel_scale
    return _as_tile(path, flux, frame, scale)


def _planes(hdus: fits.HDUList, frame: WindowFrame) -> Iterator[_Plane]:
    for hdu in hdus:
        if not hdu.is_image or hdu.data is None or _is_something_else(hdu.header):
            continue
        if hdu.data.ndim == 2:
            if band := _band(hdu.header, frame):
                yield _Plane(band, hdu.data, hdu.header)
        elif hdu.data.ndim == 3:
            names = _cube_bands(hdu.header, len(hdu.data))
            yield from (_Plane(name, plane, hdu.header) for name, plane in zip(names, hdu.data, strict=False))


def _is_something_else(header: fits.Header) -> bool:
    kind = str(header.get("IMAGETYP", "")).lower()
    return any(word in kind for word in NOT_PIXELS)


def _band(header: fits.Header, frame: WindowFrame) -> str | None:
    """Band of an image HDU: what its cards say, the frame's own where it has but one."""
    for card in ("BAND", "FILTER", "EXTNAME"):
        said = str(header.get(card, "")).strip()
        for band in frame.bands:
            if said.lower() == band.lower() or said.lower().split(".")[0].split("_")[-1] == band.lower():
                return band
    return frame.bands[0] if len(frame.bands) == 1 else None


def _cube_bands(header: fits.Header, count: int) -> list[str]:
    said = str(header.get("BANDS", header.get("FILTERS", ""))).strip()
    if said:
        return [part.strip() for part in said.split(",")] if "," in said else list(said)
    first = 0 if "BAND0" in header else 1
    return [str(header.get(f"BAND{first + index}", "")).strip() for index in range(count)]


def _zero_point(header: fits.Header, survey_has: float) -> float:
    for card in ZERO_POINT_CARDS:
        value = header.get(card)
        if isinstance(value, int | float) and np.isfinite(value):
            return float(value)
    return UNITS.get(str(header.get("BUNIT", "")).strip().lower(), survey_has)


def _pixel_scale(headers: list[fits.Header]) -> float | None:
    """Arcsec a pixel, from a WCS or a card; None where nothing is said."""
    for header in headers:
        wcs = WCS(header, naxis=2)
        if wcs.has_celestial and any(card in header for card in ("CDELT1", "CD1_1")):
            return float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600
        for card in PIXEL_SCALE_CARDS:
            if isinstance(header.get(card), int | float) and header[card] > 0:
                return float(header[card])
    return None


def _as_tile(path: Path, flux: Image, frame: WindowFrame, scale: float) -> TileImages:
    wcs = flat_wcs(flux.shape, scale)
    images = TileImages.of(path.name, frame.bands, flux, (wcs,) * len(flux), scale)
    if not any(images.valid):
        raise ScannerError(ErrorCode.CUTOUT_NO_PIXELS, f"{path} has no pixel with data.", "Give another cutout.")
    return images


def _unknown(path: Path, frame: WindowFrame) -> ScannerError:
    return ScannerError(
        ErrorCode.CUTOUT_UNKNOWN_BANDS,
        f"{path} does not say which of its images are in {', '.join(frame.bands)}.",
        "Name each HDU by its band (EXTNAME = 'r'), or the planes of a cube by BANDS = 'gri'.",
    )

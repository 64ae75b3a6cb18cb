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
from scanner.encoder.contract import Contract
from scanner.images import fits as fits_planes
from scanner.images.tile_images import TileImages
from scanner.survey.survey import AB_NANOJANSKY, Survey

CENTRE = (180.0, 0.0)
"""RA and Dec, degrees, that the middle of a cutout is given: cutouts are looked at, not placed."""

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


def read(path: Path, survey: Survey, contract: Contract) -> TileImages:
    """The bands of a cutout that the model sees, as a small tile whose middle is at ``CENTRE``.

    Bands are HDUs named by EXTNAME, BAND or FILTER, or the planes of a cube named by BANDS (``gri``) or BAND0, BAND1...
    Zero points come from the header (MAGZERO and such, or BUNIT), else from the survey. Raises ``ScannerError``:
    ``cutout.unknown_bands``, ``cutout.shape_mismatch``, ``cutout.no_pixels``, or what reading the file raises.
    """
    with fits_planes.opened(path) as hdus, fits_planes.reading(path):
        planes: dict[str, _Plane] = {}
        for plane in _planes(hdus, contract):
            planes.setdefault(plane.band, plane)
        found = [planes[band] for band in contract.bands if band in planes]
        if not found:
            raise _unknown(path, contract)
        shapes = {plane.counts.shape for plane in found}
        if len(shapes) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SHAPE_MISMATCH, f"The bands of {path} have different shapes.", "Cut them alike."
            )
        flux = np.full((len(contract.bands), *shapes.pop()), np.nan, np.float32)
        for plane in found:
            _calibrate(plane, survey, flux[contract.bands.index(plane.band)])
        scale = _pixel_scale([plane.header for plane in found]) or contract.pixel_scale
    return _as_tile(path, flux, contract, scale)


def _planes(hdus: fits.HDUList, contract: Contract) -> Iterator[_Plane]:
    for hdu in hdus:
        if not hdu.is_image or hdu.data is None or _is_something_else(hdu.header):
            continue
        if hdu.data.ndim == 2:
            if band := _band(hdu.header, contract):
                yield _Plane(band, hdu.data, hdu.header)
        elif hdu.data.ndim == 3:
            names = _cube_bands(hdu.header, len(hdu.data))
            yield from (_Plane(name, plane, hdu.header) for name, plane in zip(names, hdu.data, strict=False))


def _is_something_else(header: fits.Header) -> bool:
    kind = str(header.get("IMAGETYP", "")).lower()
    return any(word in kind for word in NOT_PIXELS)


def _band(header: fits.Header, contract: Contract) -> str | None:
    """Band of an image HDU: what its cards say, the model's own where it has but one."""
    for card in ("BAND", "FILTER", "EXTNAME"):
        said = str(header.get(card, "")).strip()
        for band in contract.bands:
            if said.lower() == band.lower() or said.lower().split(".")[0].split("_")[-1] == band.lower():
                return band
    return contract.bands[0] if len(contract.bands) == 1 else None


def _cube_bands(header: fits.Header, count: int) -> list[str]:
    said = str(header.get("BANDS", header.get("FILTERS", ""))).strip()
    if said:
        return [part.strip() for part in said.split(",")] if "," in said else list(said)
    first = 0 if "BAND0" in header else 1
    return [str(header.get(f"BAND{first + index}", "")).strip() for index in range(count)]


def _calibrate(plane: _Plane, survey: Survey, out: Image) -> None:
    """Counts to nJy, NaN for no data, as for the survey's own tiles."""
    band = survey.band(plane.band)
    factor = 10 ** (-0.4 * (_zero_point(plane.header, band.zero_point) - AB_NANOJANSKY))
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(plane.counts, factor, out=out, casting="unsafe")
    if band.zero_is_missing:
        out[plane.counts == 0] = np.nan
    out[~np.isfinite(out)] = np.nan


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


def _as_tile(path: Path, flux: Image, contract: Contract, scale: float) -> TileImages:
    valid = tuple(float(np.isfinite(image).mean()) for image in flux)
    if not any(valid):
        raise ScannerError(ErrorCode.CUTOUT_NO_PIXELS, f"{path} has no pixel with data.", "Give another cutout.")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(CENTRE)
    wcs.wcs.crpix = [(flux.shape[2] + 1) / 2, (flux.shape[1] + 1) / 2]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return TileImages(
        name=path.name,
        bands=contract.bands,
        flux=flux,
        variance=(None,) * len(flux),
        wcs=tuple(wcs if share else None for share in valid),
        valid=valid,
        detection_band=contract.bands[int(np.argmax(valid))],
        pixel_scale=scale,
    )


def _unknown(path: Path, contract: Contract) -> ScannerError:
    return ScannerError(
        ErrorCode.CUTOUT_UNKNOWN_BANDS,
        f"{path} does not say which of its images are in {', '.join(contract.bands)}.",
        "Name each HDU by its band (EXTNAME = 'r'), or the planes of a cube by BANDS = 'gri'.",
    )

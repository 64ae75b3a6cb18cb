"""A cutout that a user has as FITS, read as a small tile: bands in nanojansky on one pixel grid."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.band import drop_zero_blocks
from scanner.images.calibration import calibrate
from scanner.images.checksums import check_sums
from scanner.images.fits import errors_of, is_rounded, open_fits, read_plane
from scanner.images.flux_units import Cards, choose_zero_point, read_asinh, read_cards, read_number
from scanner.images.sky.placement import SCALE_TOLERANCE
from scanner.images.sky.wcs import flat_wcs, is_celestial, measure_pixel_scale, read_wcs
from scanner.images.tile_images import TileImages
from scanner.survey.survey import Survey
from scanner.windows.frame import WindowFrame

SCALE_CARDS = ("CDELT1", "CDELT2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
"""Cards of which a WCS has at least one: without them its pixels are of one degree by default."""
PIXEL_SCALE_CARDS = ("PIXSCALE", "PIXSCAL1", "PIXSCAL", "SECPIX")
PIXEL_SCALES = (0.001, 60.0)
"""Limits of these cards, in arcsec: smaller values are degrees."""

NOT_FLUX = ("inv", "mask", "weight", "wgt", "wht", "psf", "var", "model", "resid", "chi2", "sigma", "rms", "err")
"""Words in the names of planes that are not images of the sky."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plane:
    band: str
    counts: NDArray[Any]
    cards: Cards
    pixel_scale: float | None
    is_rounded: bool


def read(path: Path, survey: Survey, frame: WindowFrame) -> TileImages:
    """Read the bands of a cutout that the frame has, as a small tile whose middle is at ``FLAT_CENTRE``.

    Bands are HDUs named by EXTNAME, BAND or FILTER, or the planes of a cube named by BANDS (``gri``) or BAND0, BAND1...
    Zero points come from the header (see ``flux_units``), else from the survey.

    Raises:
        ScannerError: ``cutout.unknown_bands``, ``cutout.shape_mismatch``, ``cutout.no_pixels``, ``tile.zero_point``,
            ``tile.unknown_unit``, ``tile.checksum``, or as ``open_fits``.
    """
    with open_fits(path) as hdus, errors_of(path):
        planes: dict[str, _Plane] = {}
        for plane in _planes(hdus, frame.bands, path):
            if plane.band in planes:
                raise ScannerError(
                    ErrorCode.CUTOUT_UNKNOWN_BANDS,
                    f"{path} has more than one image in band {plane.band}.",
                    "Keep one image of each band. IMAGETYP = 'weight' says that an HDU is not an image of the sky.",
                )
            planes[plane.band] = plane
        if not planes:
            raise ScannerError(
                ErrorCode.CUTOUT_UNKNOWN_BANDS,
                f"{path} does not say which of its images are in {', '.join(frame.bands)}.",
                "Name each HDU by its band (EXTNAME = 'r'), or the planes of a cube by BANDS = 'gri'.",
            )
        shapes = {plane.counts.shape for plane in planes.values()}
        if len(shapes) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SHAPE_MISMATCH, f"The bands of {path} have different shapes.", "Cut them alike."
            )
        scale = _common_scale(list(planes.values()), path) or frame.pixel_scale
        flux, unsaid = np.full((len(frame.bands), *shapes.pop()), np.nan, np.float32), []
        for plane in planes.values():
            band, counts = survey.band(plane.band), plane.counts
            if (asinh := read_asinh(plane.cards, path)) is not None:
                counts = asinh.expand(counts, band.zero_is_missing)
            zero_point = choose_zero_point(plane.cards, path, plane.pixel_scale, default=math.nan)
            if math.isnan(zero_point):
                zero_point = band.zero_point
                unsaid.append(f"{band.name} {zero_point}")
            image = flux[frame.bands.index(band.name)]
            calibrate(counts, zero_point, band.zero_is_missing and not plane.is_rounded, out=image)
            if band.zero_is_missing and plane.is_rounded:
                drop_zero_blocks(image)
    if unsaid:
        log.info("%s gives no zero points; those of survey %s are taken: %s.", path, survey.name, ", ".join(unsaid))
    # Cutouts are looked at, not placed: an invented WCS serves all bands, since they have one shape.
    images = TileImages.of(path.name, frame.bands, flux, (flat_wcs(flux.shape, scale),) * len(flux), scale)
    if not any(images.valid):
        raise ScannerError(ErrorCode.CUTOUT_NO_PIXELS, f"{path} has no pixel with data.", "Give another cutout.")
    return images


def _planes(hdus: fits.HDUList, bands: Sequence[str], path: Path) -> Iterator[_Plane]:
    """The images of the sky in a file, each with its band."""
    for hdu in hdus:
        if not hdu.is_image or len(hdu.shape) not in (2, 3) or 0 in hdu.shape:
            continue
        # Without this, an HDU of weights with the band's name would be taken for its image.
        kind = " ".join(str(hdu.header.get(card, "")) for card in ("IMAGETYP", "EXTTYPE", "EXTNAME")).lower()
        if any(word in kind for word in NOT_FLUX):
            continue
        is_cube = len(hdu.shape) == 3
        names = _cube_bands(hdu.header, hdu.shape[0]) if is_cube else [_band(hdu.header, bands)]
        if not set(names) & set(bands):
            continue
        check_sums(hdus, hdu, path)
        cards, scale = read_cards(hdu, hdus, path), _pixel_scale(hdu.header, hdu.shape[-2:], path)
        images = read_plane(hdu, path) if is_cube else read_plane(hdu, path)[None]
        # Planes beyond the names are left out.
        yield from (
            _Plane(name, image, cards, scale, is_rounded(hdu))
            for name, image in zip(names, images, strict=False)
            if name in bands
        )


def _band(header: fits.Header, bands: Sequence[str]) -> str:
    """Band of an image HDU from its cards (``r``, ``HSC-R``, ``r.MP9602``); "" if they name none of the bands.

    An image without BAND and FILTER is in the frame's only band, if it has no more.
    """
    for card in ("BAND", "FILTER", "FPA.FILTER", "EXTNAME"):
        parts = re.split(r"[\s._-]+", str(header.get(card, "")).strip().lower())
        for band in bands:
            if band.lower() in (parts[0], parts[-1]):
                return band
    is_named = any(str(header.get(card, "")).strip() for card in ("BAND", "FILTER", "FPA.FILTER"))
    return bands[0] if len(bands) == 1 and not is_named else ""


def _cube_bands(header: fits.Header, count: int) -> list[str]:
    names = str(header.get("BANDS", header.get("FILTERS", ""))).strip()
    if names:
        # Either g,r,i or gri.
        return [part.strip() for part in names.split(",")] if "," in names else list(names)
    first = 0 if "BAND0" in header else 1
    return [str(header.get(f"BAND{first + index}", "")).strip() for index in range(count)]


def _common_scale(planes: Sequence[_Plane], path: Path) -> float | None:
    """Pixel scale in arcsec of all planes that have one; None where none has.

    Raises:
        ScannerError: ``cutout.shape_mismatch``.
    """
    scales = [plane.pixel_scale for plane in planes if plane.pixel_scale is not None]
    for scale in scales:
        if abs(scale / scales[0] - 1) > SCALE_TOLERANCE:
            raise ScannerError(
                ErrorCode.CUTOUT_SHAPE_MISMATCH,
                f'The bands of {path} have pixels of {scales[0]:.4f}" and of {scale:.4f}".',
                "Resample them to one pixel scale.",
            )
    return scales[0] if scales else None


def _pixel_scale(header: fits.Header, shape: tuple[int, ...], path: Path) -> float | None:
    """Pixel scale in arcsec of an image [H, W] from a WCS or a card; None where the header has neither.

    Raises:
        ScannerError: ``tile.unknown_unit``, or ``tile.no_wcs`` where the header has a WCS that does not work.
    """
    if is_celestial(header) and any(card in header for card in SCALE_CARDS):
        header = header.copy()
        # A cutout is looked at, not placed: its header may leave out where it lies.
        for axis, length in enumerate(reversed(shape), 1):
            header.setdefault(f"CRVAL{axis}", 0.0)
            header.setdefault(f"CRPIX{axis}", (length + 1) / 2)
        return measure_pixel_scale(read_wcs(header, shape, path), shape, path)
    for card in PIXEL_SCALE_CARDS:
        if card in header:
            return read_number(path, card, header[card], *PIXEL_SCALES)
    return None

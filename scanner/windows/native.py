"""Cutouts in the pixels of the tile: nothing is resampled, and each band keeps its own place on the sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import directions
from scanner.images.sky.wcs import CelestialWCS
from scanner.images.tile_images import OpenTile, TileImages

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NativeCutout:
    """One band around a position: ``flux`` [S, S] in nJy, NaN for no data, S odd; the position is in the middle pixel.

    ``x`` and ``y`` are the 0-based pixels of the position in the cutout, within half a pixel of the middle. ``wcs`` are
    the cards of its place on the sky. ``slices`` are the rows and columns of the images that it was cut from; they may
    reach beyond these.
    """

    band: str
    flux: Image
    x: float
    y: float
    wcs: fits.Header
    slices: tuple[slice, slice]


def read_around(tile: OpenTile, name: str, ra: float, dec: float, radius: float) -> TileImages:
    """Read what lies within ``radius`` arcsec of a position in degrees.

    Raises:
        ScannerError: ``query.outside_coverage``, or a code that starts with ``tile.``.
    """
    region = tile.region_around(ra, dec, radius)
    if region is None:
        raise ScannerError(ErrorCode.QUERY_OUTSIDE_COVERAGE, f"{ra:.5f}, {dec:.5f} is not on tile {name}.")
    return tile.read(region)


def cut_native(images: TileImages, band: int, ra: float, dec: float, size: float) -> NativeCutout | None:
    """Cut a square of ``size`` arcsec around a position in degrees from one band; None where the band has no data.

    Beyond the images there is no data.
    """
    wcs = images.wcs[band]
    x, y = (float(axis[0]) for axis in images.to_pixels(band, np.array([ra]), np.array([dec])))
    if wcs is None or not np.isfinite([x, y]).all():
        return None
    half = max(round(size / images.pixel_scale / 2), 1)
    side, column, row = 2 * half + 1, round(x), round(y)
    slices = slice(row - half, row + half + 1), slice(column - half, column + half + 1)
    flux = crop(images.flux[band], slices)
    if not np.isfinite(flux).any():
        return None
    cards = local_wcs(wcs, column, row, side)
    return NativeCutout(images.bands[band], flux, x - column + half, y - row + half, cards, slices)


def crop(image: NDArray[np.float32], slices: tuple[slice, slice], fill: float = np.nan) -> Image:
    """Copy rows and columns of an image [H, W], which may reach beyond it: there is ``fill``."""
    out = np.full(tuple(one.stop - one.start for one in slices), fill, np.float32)
    inner, outer = [], []
    for one, length in zip(slices, image.shape, strict=True):
        start, stop = max(one.start, 0), max(min(one.stop, length), max(one.start, 0))
        inner.append(slice(start, stop))
        outer.append(slice(start - one.start, stop - one.start))
    out[tuple(outer)] = image[tuple(inner)]
    return out


def local_wcs(wcs: CelestialWCS, column: int, row: int, side: int) -> fits.Header:
    """Make the cards of the tangent plane at the middle pixel of a cutout of ``side`` pixels, ICRS.

    Any projection, frame and distortion is a tangent plane over the few arcsec of a cutout: the cards are those that
    every reader knows.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3 (TAN).
    """
    step = max(side // 4, 1)
    x = np.array([column, column + step, column - step, column, column], float)
    y = np.array([row, row, row, row + step, row - step], float)
    ra, dec = wcs.pixels_to_sky(x, y)
    here, *around = directions(ra, dec)
    lon = np.radians(ra[0])
    # At a pole, east is that of the right ascension that the middle is given.
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.cross(here, east)
    # Projected on the plane, in degrees: [right, left, up, down] x [xi, eta].
    plane = np.degrees([[one @ east / (one @ here), one @ north / (one @ here)] for one in around])
    (cd11, cd21), (cd12, cd22) = (plane[0] - plane[1]) / (2 * step), (plane[2] - plane[3]) / (2 * step)
    cards = fits.Header()
    cards["WCSAXES"] = 2
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN", "DEC--TAN"
    cards["CUNIT1"], cards["CUNIT2"] = "deg", "deg"
    cards["CRVAL1"], cards["CRVAL2"] = float(ra[0]), float(dec[0])
    cards["CRPIX1"], cards["CRPIX2"] = float(side // 2 + 1), float(side // 2 + 1)
    cards["CD1_1"], cards["CD1_2"], cards["CD2_1"], cards["CD2_2"] = map(float, (cd11, cd12, cd21, cd22))
    cards["RADESYS"] = "ICRS"
    return cards

"""Where images must lie: the bands of a tile together, and a tile of a grid where its name says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from catalogs.sky.geometry import separation
from scanner.images.band import BandFile, mismatch, size
from scanner.images.sky.wcs import CelestialWCS
from scanner.survey.survey import Survey

SCALE_TOLERANCE = 0.01
"""Pixel scales that differ by a smaller share are taken as equal."""

MAX_SHIFT = 0.1
"""Share of an image's longer side by which another band may be shifted. Each band is cut at its own pixels: those of
UNIONS differ by 0.672 px, those of SDSS by up to 12 px of 2048."""


def check_alignment(files: Sequence[BandFile]) -> None:
    """Refuse bands that differ in their shapes, in their pixel scales, or in the place of their pixels on the sky.

    Raises:
        ScannerError: ``tile.shape_mismatch``, ``tile.bands_elsewhere``.
    """
    first, *others = files
    # The corners and the middle: an image that is turned or mirrored has its middle in place.
    height, width = first.image.shape
    x, y = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1], [width // 2, height // 2]]).T
    place = first.wcs.pixels_to_sky(x, y)
    for other in others:
        if other.image.shape != first.image.shape:
            raise mismatch(
                f"{other.path} is {size(other.image.shape)} px, {first.path} is {size(first.image.shape)} px."
            )
        if abs(other.pixel_scale / first.pixel_scale - 1) > SCALE_TOLERANCE:
            raise mismatch(
                f'{other.path} has {other.pixel_scale:.4f}" pixels, {first.path} has {first.pixel_scale:.4f}" pixels.'
            )
        there_x, there_y = other.wcs.sky_to_pixels(*place)
        shift = float(np.max(np.hypot(there_x - x, there_y - y)[np.isfinite(place[0])]))
        if not shift <= MAX_SHIFT * max(width, height):
            by = "more than an image" if math.isnan(shift) else f"{shift:.0f} px"
            raise ScannerError(
                ErrorCode.TILE_BANDS_ELSEWHERE,
                f"{other.path} lies elsewhere on the sky than {first.path}: corners of the images differ by {by}.",
                "Check the names of the files and their CRVAL and CRPIX cards, or leave a band out with --bands.",
            )


def check_place(
    survey: Survey, name: str, wcs: CelestialWCS, shape: tuple[int, int], by_sky: bool = False
) -> tuple[str, ...]:
    """Check that images [H, W] lie where the tile of their name is, on a survey's grid; a note if that was overruled.

    ``by_sky``: the user gave positions on the sky for these images. Their place is then that of their headers, unless
    that is the place of another tile.

    Raises:
        ScannerError: ``tile.elsewhere``.
    """
    if survey.grid is None:
        return ()
    height, width = shape
    x, y = np.array([[0, 0], [width, 0], [0, height], [width, height], [width / 2, height / 2]]).T - 0.5
    ra, dec = wcs.pixels_to_sky(x, y)
    on_sky = np.isfinite(ra)
    if unions_grid.is_image_of(name, ra[on_sky], dec[on_sky]):
        return ()
    middle_ra, middle_dec = float(ra[-1]), float(dec[-1])
    away = float(separation(*unions_grid.centre(name), middle_ra, middle_dec))
    place = f"The images of tile {name} lie at {middle_ra:.4f} {middle_dec:+.4f}, {away:.2f} degrees from its centre"
    other = unions_grid.tile_centred_at(middle_ra, middle_dec)
    if by_sky and other in (None, name):
        return (f"{place}: as positions on the sky were given for them, all their rows are primary.",)
    raise ScannerError(
        ErrorCode.TILE_ELSEWHERE,
        f"{place}{'' if other in (None, name) else f', where tile {other} is'}.",
        "Check the names of the files, and the CRVAL and CRPIX cards of their headers.",
    )

"""World coordinates (WCS) of an image: degrees ICRS, whatever axes, frame, projection and distortion its header has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs import WCS, SingularMatrixError
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import directions, normalise_ra, separation
from scanner.images.sky import wcs_cards

Floats = NDArray[np.float64]


FLAT_CENTRE = (180.0, 0.0)
"""RA and Dec in degrees of the middle of an image with an invented WCS."""

ROUND_TRIP = 0.01
"""Pixels. A position has a pixel only if that pixel's own position is as close as this."""

_SAME_SCALE = 1e-3
_CYLINDRICAL = ("CAR", "CEA", "MER")
"""Projections whose x is the native longitude, so that it may be counted from any turn."""


@dataclass(frozen=True)
class Compass:
    """Where north and east lie from a pixel: unit vectors of x (to the right) and y (up)."""

    north: tuple[float, float]
    east: tuple[float, float]


class CelestialWCS(WCS):  # type: ignore[misc]  # astropy has no types
    """An astropy WCS of two celestial axes, in either order; ``frame`` is that of the axes, None for ICRS.

    astropy's own methods, such as ``all_pix2world``, speak of the axes as they are: use those of this class. ``notes``
    are sentences on what was read by a convention.
    """

    frame: Any | None = None
    notes: tuple[str, ...] = ()

    def pixels_to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """RA in [0, 360) and Dec, degrees ICRS, of 0-based pixels; NaN where the projection has no sky."""
        lon, lat = self._native(x, y)
        if self.frame is not None:
            icrs = SkyCoord(lon, lat, unit="deg", frame=self.frame).icrs
            lon, lat = icrs.ra.deg, icrs.dec.deg
        return normalise_ra(lon), np.asarray(lat, float)

    def sky_to_pixels(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Floats, Floats]:
        """0-based pixels of positions (degrees ICRS); NaN where no pixel has that position.

        Source: Calabretta & Greisen 2002, A&A 395, 1077, by wcslib; Shupe et al. 2005 (SIP), by astropy.
        """
        lon, lat = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
        lon, lat = np.where(np.isfinite(lon) & (np.abs(lat) <= 90), (lon, lat), np.nan)
        with catch_warnings():
            simplefilter("ignore")
            if self.frame is not None:
                native = SkyCoord(lon, lat, unit="deg", frame=ICRS()).transform_to(self.frame).spherical
                lon, lat = native.lon.deg, native.lat.deg
            x, y = self.all_world2pix(*((lon, lat) if self.wcs.lng == 0 else (lat, lon)), 0, quiet=True)
            # A projection may also give a pixel for what it cannot show: behind a tangent plane, beyond a distortion.
            away = separation(lon, lat, *self._native(x, y))
        has_pixel = away <= ROUND_TRIP * self.nominal_pixel_scale
        return np.where(has_pixel, x, np.nan), np.where(has_pixel, y, np.nan)

    def compass(self, x: float, y: float) -> Compass | None:
        """North and east at a 0-based pixel; None off the sky and at a pole."""
        here, right, up = directions(*self.pixels_to_sky([x, x + 1, x], [y, y, y + 1]))
        # East and north on the sky, by the polar axis.
        east = np.cross((0, 0, 1), here)
        tangents = np.stack([east, np.cross(here, east)])
        # Within a pixel of a pole, north has no direction.
        if not np.linalg.norm(east) > np.linalg.norm(right - here):
            return None
        # What a step to the right and one up are on the sky; its inverse has steps to the east and north as columns.
        steps = tangents @ np.stack([right - here, up - here]).T
        pixels = np.linalg.inv(steps)
        (east_x, north_x), (east_y, north_y) = (pixels / np.linalg.norm(pixels, axis=0)).tolist()
        return Compass((north_x, north_y), (east_x, east_y))

    @property
    def nominal_pixel_scale(self) -> float:
        """Side of a pixel at the reference point in degrees, from its area."""
        # Not by astropy.wcs.utils: its function copies the WCS, and wcslib 8.6 keeps 48 bytes of each copy for good. A
        # few bytes among freed arrays keep these from being used again, so that a long scan would grow by megabytes.
        return float(np.sqrt(np.abs(np.linalg.det(self.pixel_scale_matrix))))

    def _native(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """Longitude and latitude of pixels in the frame of the axes, degrees."""
        world = self.all_pix2world(x, y, 0)
        return world[self.wcs.lng], world[self.wcs.lat]


def is_celestial(header: Any) -> bool:
    """Whether a header says that its axes are those of a place on the sky, rightly or not."""
    return re.match("(RA--|DEC-|[A-Z]L(ON|AT))-", str(header.get("CTYPE1", ""))) is not None


def read_wcs(header: Any, shape: tuple[int, ...], path: Path) -> CelestialWCS:
    """Read the WCS of an image [..., H, W] from its header.

    Raises:
        ScannerError: ``tile.no_wcs`` where the header has none, or one that does not work.
    """
    with catch_warnings():
        simplefilter("ignore")
        try:
            cards, notes = wcs_cards.check(header)
            wcs = CelestialWCS(cards, naxis=2)
            wcs.array_shape = shape[-2:]  # astropy believes any NAXIS card of the header
            if not wcs.has_celestial:
                raise wcs_cards.CardError(f"CTYPE1 is {header['CTYPE1']!r} and CTYPE2 {header['CTYPE2']!r}")
            wcs.frame, frame_notes = wcs_cards.read_frame(header, wcs.wcs.lngtyp.strip())
            wcs.notes = tuple(f"{path.name}: {note}" for note in (*notes, *frame_notes))
            _check_centre(wcs, shape)
        except wcs_cards.CardError as error:
            raise _no_wcs(path, str(error)) from error
        except Exception as error:  # wcslib raises many kinds for a bad header
            raise _no_wcs(path, _explain(error, header)) from error
    return wcs


def _check_centre(wcs: CelestialWCS, shape: tuple[int, ...]) -> None:
    """Refuse a WCS that is read without complaint and fails when it is used, or gives numbers that mean nothing."""
    y, x = ((length - 1) / 2 for length in shape[-2:])
    if not np.isfinite(wcs.pixels_to_sky(x, y)).all() and wcs.wcs.ctype[wcs.wcs.lng][5:8] in _CYLINDRICAL:
        _turn_round(wcs, x, y)
    position = wcs.pixels_to_sky(x, y)
    if not np.isfinite(position).all():
        raise wcs_cards.CardError(
            f"the middle of the image is off the sky, by CRPIX {wcs.wcs.crpix} and the projection {wcs.wcs.ctype[0]}"
        )
    away = np.hypot(*np.subtract(wcs.sky_to_pixels(*position), (x, y)))
    if not away <= ROUND_TRIP:
        raise wcs_cards.CardError(f"the middle of the image has no exact position, by CRPIX {wcs.wcs.crpix}")


def _turn_round(wcs: CelestialWCS, x: float, y: float) -> None:
    """Count native longitudes by another turn, where the image lies beyond 180 degrees of the reference point."""
    turn = np.zeros(2)
    turn[wcs.wcs.lng] = 360.0
    step = np.linalg.solve(wcs.pixel_scale_matrix, turn)
    crpix = np.array(wcs.wcs.crpix)
    for sign in (1, -1):
        wcs.wcs.crpix = crpix + sign * step
        if np.isfinite(wcs.pixels_to_sky(x, y)).all():
            return
    wcs.wcs.crpix = crpix


def _explain(error: Exception, header: Any) -> str:
    """What wcslib or astropy says, without the line of its source, and with the cards it is about."""
    if isinstance(error, SingularMatrixError):
        return "the matrix of its CD, or PC and CDELT, cards is singular"
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("ERROR")]
    text = (lines[-1] if lines else type(error).__name__).rstrip(".")
    if "Ill-conditioned" in str(error):
        place = f"CRVAL1 {header['CRVAL1']}, CRVAL2 {header['CRVAL2']}"
        text = f"{place} is no position, or LONPOLE and LATPOLE contradict it"
    return f"{text} (CTYPE1 {header['CTYPE1']!r}, CTYPE2 {header['CTYPE2']!r})"


def measure_pixel_scale(wcs: CelestialWCS, shape: tuple[int, ...], path: Path) -> float:
    """Side of a pixel in arcsec, from its area in the middle of an image [..., H, W].

    Raises:
        ScannerError: ``tile.no_wcs`` where it is not between 0 and a degree.
    """
    y, x = ((length - 1) / 2 for length in shape[-2:])
    here, right, up = directions(*wcs.pixels_to_sky([x, x + 1, x], [y, y, y + 1]))
    local = float(np.degrees(np.sqrt(np.linalg.norm(np.cross(right - here, up - here))))) * 3600
    # That of the reference point has no rounding errors, and most images lie about theirs.
    reference = wcs.nominal_pixel_scale * 3600
    scale = reference if abs(local / reference - 1) < _SAME_SCALE else local
    if not 0 < scale < 3600:
        raise _no_wcs(path, f'its pixels would be {scale}" wide, by CD or CDELT')
    return scale


def flat_wcs(shape: tuple[int, ...], pixel_scale: float) -> CelestialWCS:
    """Invent a tangent plane for an image [..., H, W] without a place on the sky, with ``pixel_scale`` in arcsec.

    ``FLAT_CENTRE`` lies in the middle of the image, north is up and east left. The plane serves to find the same pixel
    in every band.
    """
    rows, columns = shape[-2:]
    # FITS counts pixels from 1, so the middle of n pixels is (n + 1) / 2.
    return tangent_wcs(FLAT_CENTRE, ((columns + 1) / 2, (rows + 1) / 2), pixel_scale)


def tangent_wcs(sky: tuple[float, float], pixel: tuple[float, float], pixel_scale: float) -> CelestialWCS:
    """Make the tangent plane at ``sky`` (RA, Dec, degrees ICRS), which is the 1-based ``pixel``; north up, east left.

    Source: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3 (TAN).
    """
    wcs = CelestialWCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(sky)
    wcs.wcs.crpix = list(pixel)
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    return wcs


def _no_wcs(path: Path, why: str) -> ScannerError:
    hint = "Correct the card, or solve the image's astrometry again: objects need positions on the sky."
    return ScannerError(ErrorCode.TILE_NO_WCS, f"{path} has no usable world coordinates: {why}.", hint)

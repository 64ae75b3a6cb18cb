"""Spherical geometry in degrees. Nothing special happens at RA 0 or at a pole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SAME_OBJECT = 1.0 / 3600
"""Degrees: two rows of different tiles that are as close as this are one object."""
ONE_SYSTEM = 3.0 / 3600
"""Degrees: what is as close as this to an object is a piece of it, such as an arc or a knot of a spiral."""

_TOGETHER = 1000  # positions whose candidates are compared at a time
_SWEPT = 20_000  # positions up to which close pairs are found by a sweep in declination


@dataclass(frozen=True)
class Circle:
    """A circle on the sky, with its inside: all positions within ``radius`` degrees of (``ra``, ``dec``)."""

    ra: float
    dec: float
    radius: float

    def touches(self, other: Circle) -> bool:
        """Tell whether the two circles share a position."""
        return float(separation(self.ra, self.dec, other.ra, other.dec)) <= self.radius + other.radius

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Tell which positions lie inside, the rim included."""
        return np.asarray(separation(self.ra, self.dec, ra, dec) <= self.radius)


def normalise_ra(ra: ArrayLike) -> Floats:
    """Bring right ascensions in degrees into [0, 360).

    Those more than a turn outside, such as -999 for "unknown", and those that are not finite become NaN.
    """
    angle = np.asarray(ra, np.float64)
    remainder = np.mod(np.where(np.abs(angle - 180) <= 540, angle, np.nan), 360.0)
    # That of a tiny negative angle is rounded to 360 itself.
    return np.where(remainder >= 360.0, 0.0, remainder)


def directions(ra: ArrayLike, dec: ArrayLike) -> Floats:
    """Compute the unit vectors [N, 3] of positions."""
    lon, lat = np.radians(np.atleast_1d(ra)), np.radians(np.atleast_1d(dec))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def separation(ra0: ArrayLike, dec0: ArrayLike, ra1: ArrayLike, dec1: ArrayLike) -> Floats:
    """Compute the angle between positions, by the haversine formula: exact down to micro-arcseconds."""
    lon0, lat0, lon1, lat1 = (np.radians(np.asarray(value, np.float64)) for value in (ra0, dec0, ra1, dec1))
    hav = np.sin((lat1 - lat0) / 2) ** 2 + np.cos(lat0) * np.cos(lat1) * np.sin((lon1 - lon0) / 2) ** 2
    # Rounding may take the haversine of opposite positions beyond 1.
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.minimum(hav, 1)))))


def bounding_circle(ra: Floats, dec: Floats) -> Circle | None:
    """Make a circle around the mean direction that holds every finite position; None if there is none."""
    finite = np.isfinite(ra) & np.isfinite(dec)
    if not finite.any():
        return None
    ra, dec = ra[finite], dec[finite]
    # A mean of unit vectors has no seam at RA 0, as a mean of angles has.
    x, y, z = directions(ra, dec).mean(axis=0)
    centre_ra, centre_dec = float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    radius = float(separation(centre_ra, centre_dec, ra, dec).max())
    # Rounding must not leave the outermost position outside.
    return Circle(centre_ra, centre_dec, radius + 1e-9)


def pairs_within(
    ra: Floats, dec: Floats, there_ra: Floats, there_dec: Floats, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find all pairs of a position [N] and one of ``there`` [M] within ``radius`` degrees of it: the indices of both.

    Pairs are in the order of the first index. Positions that are not finite have no pairs.
    """
    finite = np.flatnonzero(np.isfinite(there_ra) & np.isfinite(there_dec))
    order = finite[np.argsort(there_dec[finite], kind="stable")]
    # Candidates are those in a band of declination, a little wider than the radius so that rounding cuts no pair.
    reach = radius + 1e-9
    starts = np.searchsorted(there_dec[order], dec - reach, side="left")
    stops = np.searchsorted(there_dec[order], dec + reach, side="right")
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    # Blocks of positions bound the memory for their candidates.
    for begin in range(0, len(dec), _TOGETHER):
        start, stop = starts[begin : begin + _TOGETHER], stops[begin : begin + _TOGETHER]
        count = stop - start
        # Row by row the candidates between start and stop, as two flat arrays of indices.
        first = np.repeat(np.arange(begin, begin + len(count)), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        second = order[np.repeat(start, count) + within]
        near = separation(ra[first], dec[first], there_ra[second], there_dec[second]) <= radius
        firsts.append(first[near])
        seconds.append(second[near])
    return np.concatenate(firsts), np.concatenate(seconds)


def close_pairs(ra: Floats, dec: Floats, radius: float) -> list[tuple[int, int]]:
    """Find all pairs (i, j), i < j, of positions within ``radius`` degrees, in the order of i, then j."""
    if len(ra) <= _SWEPT:
        first, second = pairs_within(ra, dec, ra, dec, radius)
    else:
        # In a dense field a band of declination holds too many positions. A tree takes longer to import than to search.
        from scipy.spatial import cKDTree

        finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        tree = cKDTree(directions(ra[finite], dec[finite]))
        first, second = finite[tree.query_pairs(chord(radius), output_type="ndarray")].T
    once = (first < second) & (separation(ra[first], dec[first], ra[second], dec[second]) <= radius)
    return sorted(zip(first[once].tolist(), second[once].tolist(), strict=True))


def chord(angle: float) -> float:
    """Compute the distance of unit vectors that are ``angle`` degrees apart, rounded up, to search a tree of them."""
    return float(2 * np.sin(np.radians(min(angle, 180.0)) / 2) + 1e-12)

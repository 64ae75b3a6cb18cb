"""Cross-match of positions, by a k-d tree of unit vectors: nothing special happens at RA 0 or at a pole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.sky import geometry

NOTHING = -1


@dataclass(frozen=True)
class Match:
    """For each of N positions the ``index`` of its counterpart (-1: none) and its distance in degrees (inf: none)."""

    index: NDArray[np.int64]
    separation: NDArray[np.float64]

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Which positions have a counterpart."""
        return np.asarray(self.index != NOTHING)


class Places:
    """Positions to match others with, again and again: their tree is made once."""

    def __init__(self, ra: ArrayLike, dec: ArrayLike) -> None:
        from scipy.spatial import cKDTree

        self.ra, self.dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        # The tree refuses points that are not finite.
        self._usable = np.flatnonzero(np.isfinite(self.ra) & np.isfinite(self.dec))
        points = geometry.directions(self.ra[self._usable], self.dec[self._usable])
        self._tree = cKDTree(points) if len(points) else None

    def nearest(self, ra: ArrayLike, dec: ArrayLike, radius: float) -> Match:
        """Find the nearest of them within ``radius`` degrees of each position; one that is not finite has none."""
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        index, away = np.full(len(ra), NOTHING, np.int64), np.full(len(ra), np.inf)
        finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        if self._tree is not None and len(finite):
            length, neighbour = self._tree.query(
                geometry.directions(ra[finite], dec[finite]), distance_upper_bound=geometry.chord(radius)
            )
            # The tree gives chords of the unit sphere, infinite where nothing lies within the bound.
            hit = np.isfinite(length)
            here, there = finite[hit], self._usable[np.asarray(neighbour)[hit]]
            index[here] = there
            away[here] = geometry.separation(ra[here], dec[here], self.ra[there], self.dec[there])
        return Match(index, away)


def nearest(ra: ArrayLike, dec: ArrayLike, there_ra: ArrayLike, there_dec: ArrayLike, radius: float) -> Match:
    """Find the nearest of ``there`` within ``radius`` degrees of each position; one that is not finite has none."""
    return Places(there_ra, there_dec).nearest(ra, dec, radius)

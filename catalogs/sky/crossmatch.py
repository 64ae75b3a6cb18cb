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


def nearest(ra: ArrayLike, dec: ArrayLike, there_ra: ArrayLike, there_dec: ArrayLike, radius: float) -> Match:
    """Find the nearest of ``there`` within ``radius`` degrees of each position; one that is not finite has none."""
    from scipy.spatial import cKDTree

    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    there_ra, there_dec = np.atleast_1d(np.asarray(there_ra, float)), np.atleast_1d(np.asarray(there_dec, float))
    index, away = np.full(len(ra), NOTHING, np.int64), np.full(len(ra), np.inf)
    usable = np.flatnonzero(np.isfinite(there_ra) & np.isfinite(there_dec))
    finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if len(usable) and len(finite):
        tree = cKDTree(geometry.directions(there_ra[usable], there_dec[usable]))
        length, neighbour = tree.query(
            geometry.directions(ra[finite], dec[finite]), distance_upper_bound=geometry.chord(radius)
        )
        hit = np.isfinite(length)
        here, there = finite[hit], usable[np.asarray(neighbour)[hit]]
        index[here], away[here] = there, geometry.separation(ra[here], dec[here], there_ra[there], there_dec[there])
    return Match(index, away)

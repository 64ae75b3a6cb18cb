"""Overlaps: which of the copies in overlapping tiles counts, one for each place, whichever tiles are there.

A tile's file says which rows lie in the tile's own cell of the grid. That (``unions_grid.is_primary``) depends on the
position alone, so that a file never changes when its neighbours arrive, and counts every place once where all tiles are
there. Where a tile is missing (never imaged, failed, not scanned yet), 6 % of each tile beside it would be counted
nowhere: the rim of the survey. So, when rows are read, the nearest of the tiles that are there and whose images hold
the place stands in. When the missing tile arrives it takes its rows over; nothing is rewritten.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from catalogs.sky import unions_grid

Flags = NDArray[np.bool_]
Degrees = NDArray[np.float64]


class OverlapOwners:
    """The tiles that are there, by their names on the UNIONS grid; a tile off the grid owns what its file says."""

    def __init__(self, tiles: tuple[str, ...]) -> None:
        self.tiles = tiles
        self._there = frozenset(tiles)

    def primary(self, tile: str, ra: Degrees, dec: Degrees, own: Flags) -> Flags:
        """Tell which rows [N] of a tile count: those of its ``own`` cell, and those for which it stands in."""
        away = np.flatnonzero(~own)
        neighbours = self._neighbours(tile)
        if not len(away) or neighbours is None:
            return own
        ra, dec = ra[away], dec[away]
        mine = unions_grid.distance(tile, ra, dec)
        counted = unions_grid.contains(tile, ra, dec)
        for other in neighbours & self._there:
            theirs = unions_grid.distance(other, ra, dec)
            nearer = (theirs < mine) | ((theirs == mine) & (other < tile))
            owned = unions_grid.is_primary(other, ra, dec)
            counted &= ~(owned | (nearer & unions_grid.contains(other, ra, dec)))
        resolved = own.copy()
        resolved[away] = counted
        return resolved

    @staticmethod
    def _neighbours(tile: str) -> set[str] | None:
        try:
            return set(unions_grid.neighbours(tile))
        except ScannerError:
            return None

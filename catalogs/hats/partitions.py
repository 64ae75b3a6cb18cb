"""Partitions: HEALPix pixels with a bounded number of rows each, and the rows just outside them.

Pixels are nested: the pixel of a row at a lower order is its pixel at order 29, shifted by two bits an order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.store.schema import HEALPIX_ORDER

LEAF = 10
"""Order of the pixels that are counted, 3.4' wide: no partition is smaller."""
SINGLE = 7
"""Order down to which a partition shrinks to the part that has rows: 27' wide, about a tile."""
MAX_MARGIN = 60.0
"""Arcsec: above it a margin would be wider than the smallest partition."""

Pixels = NDArray[np.int64]


@dataclass(frozen=True, order=True)
class Partition:
    """A HEALPix pixel, and its number of rows."""

    order: int
    pixel: int
    rows: int

    @property
    def start(self) -> int:
        """Its first pixel at order 29."""
        return self.pixel << 2 * (HEALPIX_ORDER - self.order)

    @property
    def stop(self) -> int:
        """The pixel at order 29 after its last."""
        return (self.pixel + 1) << 2 * (HEALPIX_ORDER - self.order)


class Counts:
    """Rows counted by ``LEAF`` pixel and by tile: 50 MB, and 12 bytes for each pixel that a tile touches."""

    def __init__(self) -> None:
        self.rows = np.zeros(12 << 2 * LEAF, np.int32)
        self._pixels: list[Pixels] = []
        self._tiles: list[NDArray[np.int32]] = []

    def add(self, tile: int, healpix29: Pixels) -> None:
        """Count rows of tile number ``tile``."""
        pixels, rows = np.unique(healpix29 >> 2 * (HEALPIX_ORDER - LEAF), return_counts=True)
        # Each pixel occurs once, so no count is lost in the indexed addition.
        self.rows[pixels] += rows.astype(np.int32)
        self._pixels.append(pixels)
        self._tiles.append(np.full(len(pixels), tile, np.int32))

    @property
    def total(self) -> int:
        return int(self.rows.sum(dtype=np.int64))

    def tiles(self, partition: Partition) -> list[int]:
        """List the numbers of the tiles that have rows in a partition, in order."""
        # Sorted by pixel at the first call, so that each call is a bisection.
        if len(self._pixels) > 1:
            order = np.argsort(np.concatenate(self._pixels), kind="stable")
            self._pixels = [np.concatenate(self._pixels)[order]]
            self._tiles = [np.concatenate(self._tiles)[order]]
        shift = 2 * (HEALPIX_ORDER - LEAF)
        first, last = np.searchsorted(self._pixels[0], [partition.start >> shift, partition.stop >> shift])
        return sorted(set(self._tiles[0][first:last].tolist()))


def split(rows: NDArray[np.int32], limit: int) -> list[Partition]:
    """Find the largest pixels that hold at most ``limit`` rows, in the order of their ``start``.

    ``rows`` counts those of each ``LEAF`` pixel; one with more than ``limit`` is not divided. A pixel whose rows all
    lie in one of its four children is replaced by that child, so that a small catalogue does not fill a twelfth of the
    sky.
    """
    # From the whole sky down: pixels that hold few enough rows are done, the others are divided.
    left = np.flatnonzero(rows)
    partitions: list[Partition] = []
    for order in range(LEAF + 1):
        shift = 2 * (LEAF - order)
        pixels, inverse = np.unique(left >> shift, return_inverse=True)
        sums = np.bincount(inverse, rows[left], len(pixels)).astype(np.int64)
        done = (sums <= limit) & _has_several_children(left, inverse, len(pixels), order)
        done |= order == LEAF
        partitions += [Partition(order, int(p), int(n)) for p, n in zip(pixels[done], sums[done], strict=True)]
        left = left[~done[inverse]]
    return sorted(partitions, key=lambda partition: partition.start)


def _has_several_children(left: Pixels, inverse: Pixels, count: int, order: int) -> NDArray[np.bool_]:
    """Find which of the ``count`` pixels have rows in several children, or may not shrink further."""
    if order >= SINGLE:
        return np.ones(count, bool)
    # Two bits of the pixel number name the child, 0 to 3.
    child = (left >> 2 * (LEAF - order - 1)) & 3
    lowest, highest = np.full(count, 4), np.full(count, -1)
    np.minimum.at(lowest, inverse, child)
    np.maximum.at(highest, inverse, child)
    return np.asarray(lowest < highest)


def margin_order(margin: float) -> int:
    """Find the highest order whose pixels are nowhere narrower than ``margin`` arcsec."""
    # Width of a pixel of order 0, as the root of its area. The narrowest pixels are 0.6 of that across; 1 / 1.6 is the
    # estimate of the standard.
    width = np.degrees(np.sqrt(np.pi / 3)) * 3600
    return int(np.floor(np.log2(width / 1.6 / margin)))


class Margins:
    """The rows in margins of other partitions: those in an ``order`` pixel that touches one of them."""

    def __init__(self, partitions: Sequence[Partition], order: int) -> None:
        self._partitions = list(partitions)
        self._order = order
        self._starts = np.array([partition.start for partition in partitions])
        self._stops = np.array([partition.stop for partition in partitions])

    def beyond(self, own: int, healpix29: Pixels) -> Iterable[tuple[int, Pixels]]:
        """Yield the partitions in whose margins rows of partition number ``own`` lie, and these rows [n]."""
        shift = 2 * (HEALPIX_ORDER - self._order)
        pixels, inverse = np.unique(healpix29 >> shift, return_inverse=True)
        rim = np.flatnonzero(_on_rim(pixels, self._partitions[own], self._order))
        if not len(rim):
            return
        # Owners [8, R] of the neighbours of each rim pixel.
        owners = self._owners(find_neighbours(pixels[rim], self._order) << shift)
        for other in np.unique(owners[(owners >= 0) & (owners != own)]).tolist():
            touching = np.zeros(len(pixels), bool)
            touching[rim[(owners == other).any(axis=0)]] = True
            yield other, np.flatnonzero(touching[inverse])

    def _owners(self, healpix29: Pixels) -> Pixels:
        """Find the number of the partition that holds each pixel of order 29, -1 where none does."""
        number = np.searchsorted(self._starts, healpix29, side="right") - 1
        return np.where((number >= 0) & (healpix29 < self._stops[number]), number, -1)


def find_neighbours(pixels: Pixels, order: int) -> Pixels:
    """Find the eight pixels [8, N] around each; where one is missing, the pixel itself stands for it."""
    from astropy_healpix.core import neighbours

    with np.errstate(invalid="ignore"):
        around = np.asarray(neighbours(pixels, 2**order, order="nested"), np.int64)
    return np.where(around < 0, pixels, around)


def _on_rim(pixels: Pixels, partition: Partition, order: int) -> NDArray[np.bool_]:
    """Find which ``order`` pixels of a partition lie along its edge: even bits count east, odd bits north."""
    bits = order - partition.order
    inside = pixels - (partition.pixel << 2 * bits)
    every = np.int64((1 << 2 * bits) - 1)
    even = np.int64(0x5555555555555555) & every
    odd = even << 1
    # On an edge all bits of one direction are equal: 0 on one side, 1 on the other.
    return np.asarray(
        ((inside & even) == 0) | ((inside & even) == even) | ((inside & odd) == 0) | ((inside & odd) == odd)
    )

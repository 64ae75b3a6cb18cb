"""Mode and half width of pixels that were made 16-bit codes and sorted, cell by cell (Bertin & Arnouts 1996)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUT = 3.0
"""Half widths from the median beyond which pixels are cut off, until nothing changes."""

SIXTH = 0.1587
"""Of values with a normal distribution so many are less than the mean by more than their standard deviation."""

_CROWDED = 0.3
"""Standard deviations between mean and median beyond which the mode is not trusted."""

_ROUNDS = 10
_SHARED = 512
"""Codes that less than one pixel in so many has are taken as they are: the next ones are within 0.01 of the noise."""

Codes = NDArray[np.uint16]
Counts = NDArray[np.intp]
Floats = NDArray[np.float64]


def modes(cells: Codes, count: Counts) -> tuple[Floats, Floats, Floats]:
    """Level and noise, in codes, and the share of pixels that have the median's: of cells [N, pixels], each sorted, of
    which the first ``count`` hold data."""
    level, noise = np.full((2, len(cells)), np.nan)
    same = np.zeros(len(cells))
    there = np.flatnonzero(count)
    if not len(there):
        return level, noise, same
    usual = cells[there, count[there] // 2].astype(np.float64)
    below, through = (_place(cells, there, count[there], code) for code in (usual, usual + 1))
    same[there] = (through - below) / count[there]
    first, last = np.zeros_like(count), count.copy()
    moved = there
    for _ in range(_ROUNDS):
        median, sigma = _middle(cells, moved, first[moved], last[moved])
        low, high = (_place(cells, moved, count[moved], median + side * CUT * sigma) for side in (-1, 1))
        low = np.maximum(first[moved], low)
        high = np.maximum(np.minimum(last[moved], high), low + 1)
        still = (low == first[moved]) & (high == last[moved])
        first[moved], last[moved] = low, high
        moved = moved[~still]
        if not len(moved):
            break
    first, last = first[there], last[there]
    median, sigma = _middle(cells, there, first, last)
    mean = _sums(cells, there, first, last) / (last - first)
    crowded = np.abs(mean - median) > _CROWDED * sigma
    level[there], noise[there] = np.where(crowded, median, 2.5 * median - 1.5 * mean), sigma
    return level, noise, same


def _sums(cells: Codes, each: Counts, first: Counts, last: Counts) -> Floats:
    """The sum of some cells' pixels from ``first`` to ``last``."""
    begin = each * cells.shape[1]
    edges = np.stack([begin + first, begin + last], axis=1).ravel()
    if edges[-1] == cells.size:
        edges = edges[:-1]
    return np.add.reduceat(cells.reshape(-1), edges, dtype=np.int64)[::2].astype(np.float64)


def _middle(cells: Codes, each: Counts, first: Counts, last: Counts) -> tuple[Floats, Floats]:
    """Median and half width of some cells, of their pixels from ``first`` to ``last``."""
    median = _quantile(cells, each, first, last, 0.5)
    return median, median - _quantile(cells, each, first, last, SIXTH)


def _quantile(cells: Codes, each: Counts, first: Counts, last: Counts, share: float) -> Floats:
    """The code below which a share of a cell's pixels is; where many are the same, in the room up to the next ones."""
    place = first + share * (last - first)
    middle = np.minimum(place.astype(np.intp), last - 1)
    code = cells[each, middle].astype(np.float64)
    many = np.maximum((last - first) // _SHARED, 1)
    before, after = np.maximum(middle - many, first), np.minimum(middle + many, last - 1)
    same = np.flatnonzero((cells[each, before] == code) | (cells[each, after] == code))
    if len(same):
        some, low, high, this = each[same], first[same], last[same], code[same]
        left, right = np.maximum(_place(cells, some, high, this), low), _place(cells, some, high, this + 1)
        below, above = (cells[some, np.clip(at, low, high - 1)].astype(np.float64) for at in (left - 1, right))
        code[same] += (below - this) / 2 + (place[same] - left) / (right - left) * (above - below) / 2
    return code


def _place(cells: Codes, each: Counts, count: Counts, codes: Floats) -> Counts:
    """For each of some cells, how many of its first ``count`` pixels are less than its code: a binary search in all."""
    low, high = np.zeros_like(count), count
    while (low < high).any():
        middle = np.minimum((low + high) // 2, cells.shape[1] - 1)
        less = (cells[each, middle] < codes) & (low < high)
        low, high = np.where(less, middle + 1, low), np.where(less, high, np.maximum(low, middle))
    return low

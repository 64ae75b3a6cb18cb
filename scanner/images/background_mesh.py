"""Level and noise of the background in the cells of an image, by Source Extractor's mode estimator.

In each cell, pixels further than 3 sigma from the median are clipped until nothing changes. The level is the mode,
2.5 median - 1.5 mean, or the median where the two disagree; the noise is the half width below the median, to which
objects add nothing. A value that many pixels share, as in counts and rounded images, stands for all values that would
be rounded to it.

Pixels are sorted as 16-bit codes, in steps of a thousandth of the cell's noise. numpy sorts these in two passes on any
processor; its way to sort floats may take many times as long.

Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.images.sections import MESH

STEP = 2
"""Every second pixel of every second row is used, since noise of neighbours is correlated. ``MESH`` is a multiple."""

FILTER = tuple(np.array((0.25, 0.5, 0.25), np.float32))
"""Detection filter, along rows and along columns."""

CLIP = 3.0
"""Half widths from the median beyond which pixels are clipped."""

SIXTH = 0.1587
"""Share of a normal distribution that lies more than one standard deviation below its mean."""

_FILTERED_STEPS = 16, 2
"""Rows and columns of which one is used after the filter: half a thousand pixels of a cell."""

_MIN_SHARE = 0.5
"""A cell with data in a smaller share of its pixels does not count."""

_ROWS_AT_ONCE = 8
"""Rows of cells whose codes are held at once: 5 MB of an image of 10,000 columns."""

_CELLS_AT_ONCE = 32
"""Cells side by side that are coded at once: half a megabyte, which stays in a processor's cache."""

_MIDDLE, _LAST = 1 << 15, (1 << 16) - 1
_CODES = 1024.0
"""Codes a half width. The range is 32 half widths up and down; values beyond have the first code, or the last."""

_THIN, _FEW = 4, 16
"""Middle and width come from every fourth pixel of every fourth row, unless fewer than ``_FEW`` of them hold data."""

_LEAST_WIDTH = np.float32(1e-30)
"""nJy; no flux is known as well as that."""

_CROWDED = 0.3
"""Standard deviations between mean and median beyond which the mode is not trusted."""

_MAX_ROUNDS = 10
_FREQUENT = 512
"""A code is frequent where more than one pixel in ``_FREQUENT`` has it. Others are taken as they are: the next ones are
within 0.01 of the noise."""

Image = NDArray[np.float32]
Codes = NDArray[np.uint16]
Counts = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Level and noise of cells of ``MESH`` x ``MESH`` pixels, each [rows, columns]; NaN without data.

    ``share`` is that of the pixels with data, ``same`` the share of those that have one value, the median. The first
    pixel of an image is the first one of its first cell.
    """

    level: Floats
    noise: Floats
    share: Floats
    same: Floats

    @classmethod
    def of(cls, data: Image, variance: Image | None = None) -> Mesh:
        """Measure the cells of an image [H, W], NaN for no data.

        Pixels without a ``variance`` (NaN), where there is one, do not count.
        """
        side = MESH // STEP, MESH // STEP
        weights = None if variance is None else variance[::STEP, ::STEP]
        parts = _rows_of_cells(data[::STEP, ::STEP], weights, side[0])
        return cls.join([_measure(part, side) for part in parts])

    @classmethod
    def of_filtered(cls, data: Image, variance: Image | None = None) -> Mesh:
        """Measure the cells after the detection filter, on fewer pixels."""
        # Only the rows and columns that are used are filtered: first along the columns, then along the rows.
        down, across = _FILTERED_STEPS
        side = MESH // down, MESH // across
        meshes = []
        for part in _rows_of_cells(data, variance, MESH):
            # The filter gives nothing for the outermost pixels.
            height, width = (max(length - len(FILTER) + 1, 0) for length in part.shape)
            lines: Image = sum(weight * part[at : height + at : down] for at, weight in enumerate(FILTER))
            image: Image = sum(weight * lines[:, at : width + at : across] for at, weight in enumerate(FILTER))
            meshes.append(_measure(image, side))
        return cls.join(meshes)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Cells of which half holds data; where there are none, those that hold any."""
        enough = self.share >= _MIN_SHARE
        return enough if enough.any() else self.share > 0

    @property
    def typical(self) -> float:
        """The median noise of the cells, 0 where there is none."""
        noise = self.noise[self.usable & (self.noise > 0)]
        return float(np.median(noise)) if len(noise) else 0.0

    @classmethod
    def join(cls, parts: Sequence[Mesh]) -> Mesh:
        """The cells of an image of which ``parts`` are whole rows of cells, from the first to the last."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def _rows_of_cells(data: Image, variance: Image | None, height: int) -> Iterator[Image]:
    """Some rows of cells at a time, each of ``height`` pixels; pixels without a variance are NaN."""
    step = _ROWS_AT_ONCE * height
    for start in range(0, len(data), step):
        part = data[start : start + step]
        if variance is not None and (unknown := np.isnan(variance[start : start + step])).any():
            part = np.where(unknown, np.float32(np.nan), part)
        yield part


def _measure(image: Image, side: tuple[int, int]) -> Mesh:
    """Level and noise of some rows of cells of ``side`` (rows, columns) pixels."""
    (high, wide), size = side, math.prod(side)
    rows, columns = (-(-length // each) for length, each in zip(image.shape, side, strict=True))
    codes = np.empty((rows, columns, high, wide), np.uint16)
    count = np.full((rows, columns), size)
    middle, width = np.empty((2, rows, columns), np.float32)
    for row in range(rows):
        for left in range(0, columns, _CELLS_AT_ONCE):
            some = row, slice(left, min(left + _CELLS_AT_ONCE, columns))
            cells = image[row * high : (row + 1) * high, left * wide : (left + _CELLS_AT_ONCE) * wide]
            if cells.shape[0] < high or cells.shape[1] % wide:  # beyond the image there is no data
                whole = np.full((high, -(-cells.shape[1] // wide) * wide), np.nan, np.float32)
                whole[: cells.shape[0], : cells.shape[1]] = cells
                cells = whole
            cells = cells.reshape(high, -1, wide)  # [rows of a cell, N, columns of a cell]
            # Each cell has a scale of its own, so that 16 bits resolve its noise and reach its objects.
            middle[some], width[some] = _scales(cells)
            coded, without_data = _code(cells, middle[some], width[some])
            codes[some] = coded.swapaxes(0, 1)
            count[some] -= without_data
    # Stable means radix sort for 16-bit integers.
    flat = codes.reshape(rows * columns, size)
    flat.sort(axis=1, kind="stable")
    level, noise, same = (values.reshape(rows, columns) for values in modes(flat, count.ravel()))
    unit = width.astype(np.float64) / _CODES
    return Mesh(middle + (level - _MIDDLE) * unit, noise * unit, count / size, same)


def _scales(cells: Image) -> tuple[Image, Image]:
    """About the median and the half width of cells [side, N, side]; NaN and 1 where there is no data."""
    thin = cells[::_THIN, :, ::_THIN].swapaxes(0, 1).reshape(cells.shape[1], -1)
    thin.sort(axis=1)  # NaN goes to the end
    each, count = np.arange(len(thin)), np.count_nonzero(thin == thin, axis=1)
    middle = thin[each, np.minimum(count // 2, thin.shape[1] - 1)]
    width = middle - thin[each, (SIXTH * count).astype(np.intp)]
    for cell in np.flatnonzero((count < _FEW) | ~(width > 0)):
        middle[cell], width[cell] = _scale(cells[:, cell])
    return middle, np.maximum(width, _LEAST_WIDTH)


def _scale(cell: Image) -> tuple[float, float]:
    """The same for all pixels of one cell; where many are the same, how far the others are from the median."""
    pixels = cell[~np.isnan(cell)].astype(np.float64)
    if not len(pixels):
        return np.nan, 1.0
    sixth, middle = np.quantile(pixels, (SIXTH, 0.5))
    away = np.abs(pixels - middle)
    return middle, float(middle - sixth or (np.median(away[away > 0]) if away.any() else 1.0))


def _code(cells: Image, middle: Image, width: Image) -> tuple[Codes, Counts]:
    """Codes of cells [side, N, side], and the number of pixels without data in each; those have the last code."""
    with np.errstate(over="ignore", invalid="ignore"):
        steps = cells - middle[:, None]
        steps *= (np.float32(_CODES) / width)[:, None]
        steps += np.float32(_MIDDLE + 0.5)
        np.clip(steps, np.float32(0), np.float32(_LAST), out=steps)
        codes = steps.astype(np.uint16)
    missing = np.isnan(steps)
    if not missing.any():
        return codes, np.zeros(len(middle), np.intp)
    codes[missing] = _LAST
    return codes, missing.sum(axis=(0, 2))


def modes(cells: Codes, count: Counts) -> tuple[Floats, Floats, Floats]:
    """Level and noise of cells [N, pixels] in codes, and the share of pixels that have the median's code.

    The codes of a cell are sorted, and its first ``count`` hold data; level and noise are NaN where none does.
    """
    level, noise = np.full((2, len(cells)), np.nan)
    same = np.zeros(len(cells))
    filled = np.flatnonzero(count)
    if not len(filled):
        return level, noise, same
    # Pixels that have the median's code, as a share: 1 for a cell that was filled with one value.
    usual = cells[filled, count[filled] // 2].astype(np.float64)
    below, through = (_place(cells, filled, count[filled], code) for code in (usual, usual + 1))
    same[filled] = (through - below) / count[filled]

    # Clip both ends of each cell until no cell changes; first and last bound what is left of it.
    first, last = np.zeros_like(count), count.copy()
    moving = filled
    for _ in range(_MAX_ROUNDS):
        median, sigma = _median_and_width(cells, moving, first[moving], last[moving])
        low, high = (_place(cells, moving, count[moving], median + side * CLIP * sigma) for side in (-1, 1))
        low = np.maximum(first[moving], low)
        high = np.maximum(np.minimum(last[moving], high), low + 1)
        still = (low == first[moving]) & (high == last[moving])
        first[moving], last[moving] = low, high
        moving = moving[~still]
        if not len(moving):
            break

    first, last = first[filled], last[filled]
    median, sigma = _median_and_width(cells, filled, first, last)
    # Source Extractor's estimate of the mode; the median where objects crowd the cell and the two disagree.
    mean = _sums(cells, filled, first, last) / (last - first)
    crowded = np.abs(mean - median) > _CROWDED * sigma
    level[filled], noise[filled] = np.where(crowded, median, 2.5 * median - 1.5 * mean), sigma
    return level, noise, same


def _sums(cells: Codes, each: Counts, first: Counts, last: Counts) -> Floats:
    """The sum of some cells' pixels from ``first`` to ``last``."""
    # reduceat sums from each edge to the next: every second sum is of pixels between two cells, and is dropped.
    begin = each * cells.shape[1]
    edges = np.stack([begin + first, begin + last], axis=1).ravel()
    if edges[-1] == cells.size:
        edges = edges[:-1]
    return np.add.reduceat(cells.reshape(-1), edges, dtype=np.int64)[::2].astype(np.float64)


def _median_and_width(cells: Codes, each: Counts, first: Counts, last: Counts) -> tuple[Floats, Floats]:
    """Median and half width below it of some cells' pixels from ``first`` to ``last``."""
    median = _quantile(cells, each, first, last, 0.5)
    return median, median - _quantile(cells, each, first, last, SIXTH)


def _quantile(cells: Codes, each: Counts, first: Counts, last: Counts, share: float) -> Floats:
    """The code below which a share of a cell's pixels lies; a frequent code is spread up to its neighbours."""
    place = first + share * (last - first)
    middle = np.minimum(place.astype(np.intp), last - 1)
    code = cells[each, middle].astype(np.float64)
    many = np.maximum((last - first) // _FREQUENT, 1)
    before, after = np.maximum(middle - many, first), np.minimum(middle + many, last - 1)
    frequent = np.flatnonzero((cells[each, before] == code) | (cells[each, after] == code))
    if len(frequent):
        # Rounded values stand for all that were rounded to them: evenly from halfway below to halfway above.
        some, low, high, this = each[frequent], first[frequent], last[frequent], code[frequent]
        left, right = np.maximum(_place(cells, some, high, this), low), _place(cells, some, high, this + 1)
        below, above = (cells[some, np.clip(at, low, high - 1)].astype(np.float64) for at in (left - 1, right))
        code[frequent] += (below - this) / 2 + (place[frequent] - left) / (right - left) * (above - below) / 2
    return code


def _place(cells: Codes, each: Counts, count: Counts, codes: Floats) -> Counts:
    """For each of some cells, how many of its first ``count`` pixels are below its code: a binary search in all."""
    low, high = np.zeros_like(count), count
    while (low < high).any():
        middle = np.minimum((low + high) // 2, cells.shape[1] - 1)
        less = (cells[each, middle] < codes) & (low < high)
        low, high = np.where(less, middle + 1, low), np.where(less, high, np.maximum(low, middle))
    return low

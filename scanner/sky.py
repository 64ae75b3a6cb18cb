"""Level and noise of the sky, Source Extractor's way (Bertin & Arnouts 1996), with a sort of each cell's pixels.

In cells of an image, what is further than 3 sigma from the median is cut off until nothing changes. The level is the
mode, 2.5 medians less 1.5 means, or the median where the two disagree; the noise is the half width below the median, to
which objects add nothing. Of 3 x 3 cells the median is taken. Between cells the level goes along a cubic spline and the
noise along straight lines: beside gaps, and where the noise doubles, a spline of it (sep has one) swings below zero.
Values that many pixels share, as in counts and rounded images, stand for all that would be rounded to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, median_filter

from scanner.sections import MESH

STEP = 2
"""Every second pixel of every second row is looked at: neighbouring pixels hardly know more of the sky. It costs a
quarter and adds 3 % to the noise of an aperture, if pixels are independent; every fourth would add 10 %."""

CUT = 3.0
_SIXTH = 0.1587
"""Of values with a normal distribution so many are less than the mean by more than their standard deviation."""

_CROWDED = 0.3
"""Standard deviations between mean and median beyond which the mode is not trusted."""

_ENOUGH = 0.5
"""A cell with less of its pixels is filled from the nearest that has more."""

_WEAK = 0.1
"""A cell with less of the typical noise has been filled with a value; its noise is that of the nearest that has not."""

_ROUNDS = 10
_AT_ONCE = 10_000

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Counts = NDArray[np.intp]


@dataclass(frozen=True)
class Sky:
    """Level and noise a pixel in cells of ``MESH`` x ``MESH`` pixels, [rows, columns]; ``typical``: noise of the whole.

    Where the whole image is one value its noise is 0.
    """

    level: Floats
    noise: Floats
    typical: float

    @classmethod
    def of(cls, data: Image, step: int = STEP) -> Sky | None:
        """The sky of an image [H, W], NaN for no data; None where it holds none.

        Every ``step``-th pixel of every ``step``-th row is looked at; ``MESH`` is a multiple of it.
        """
        cells = _cells(data[::step, ::step], MESH // step)
        count = np.count_nonzero(cells == cells, axis=2)
        there = count >= _ENOUGH * cells.shape[2]
        if not there.any():
            there = count > 0
        if not there.any():
            return None
        sound = cells[there]
        sound.sort(axis=1)  # NaN goes to the end
        level, noise = np.zeros((2, *count.shape))
        level[there], noise[there] = _modes(sound, count[there])
        typical = float(np.median(noise[noise > 0])) if noise.any() else 0.0
        level, noise = _filled(level, there), _filled(noise, there & (noise >= _WEAK * typical))
        return cls(median_filter(level, 3, mode="nearest"), median_filter(noise, 3, mode="nearest"), typical)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Level and noise at positions (0-based pixels of the image [N])."""
        level, noise = np.empty((2, len(x)))
        for some in (slice(start, start + _AT_ONCE) for start in range(0, len(x), _AT_ONCE)):
            down, across = (
                _Between.cells(place[some], length) for place, length in zip((y, x), self.level.shape, strict=True)
            )
            level[some] = ((down.spline @ self.level) * across.spline).sum(axis=1)
            noise[some] = ((down.line @ self.noise) * across.line).sum(axis=1)
        return level, noise

    def rows(self, shape: tuple[int, int], step: int = STEP) -> Iterator[tuple[slice, Image, Image]]:
        """Slices of an image's rows, from the first to the last, with level and noise of their pixels [1, columns].

        ``step`` x ``step`` pixels have those of their middle.
        """
        down, across = (
            _Between.cells(np.arange(0.0, side, step) + (step - 1) / 2, length)
            for side, length in zip(shape, self.level.shape, strict=True)
        )
        levels = (down.spline @ self.level @ across.spline.T).astype(np.float32)
        noises = (down.line @ self.noise @ across.line.T).astype(np.float32)
        for row, pair in enumerate(zip(levels, noises, strict=True)):
            level, noise = np.repeat(pair, step, axis=1)[:, None, : shape[1]]
            yield slice(row * step, min((row + 1) * step, shape[0])), level, noise


@dataclass(frozen=True)
class _Between:
    """What share each of some cells in line has in the values at places between them, [N, cells]."""

    spline: Floats
    line: Floats

    @classmethod
    def cells(cls, place: Floats, count: int) -> _Between:
        """For ``place`` [N], in pixels from the first one; beyond the last cell's middle it counts alone."""
        place = np.clip((place - (MESH - 1) / 2) / MESH, 0, count - 1)
        line = np.maximum(1 - np.abs(place[:, None] - np.arange(count)), 0)
        return cls(CubicSpline(np.arange(count), np.eye(count), bc_type="natural")(place) if count > 1 else line, line)


def _cells(image: Image, side: int) -> Image:
    """The pixels of each cell of ``side`` x ``side`` of an image, [rows, columns, side^2]; NaN beyond its edges."""
    height, width = image.shape
    rows, columns = -(-height // side), -(-width // side)
    wide = np.full((rows * side, columns * side), np.nan, np.float32)
    wide[:height, :width] = image
    return wide.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows, columns, side * side)


def _filled(mesh: Floats, sound: NDArray[np.bool_]) -> Floats:
    """The cells of a mesh, those that are not ``sound`` as the nearest that is."""
    filled: Floats = mesh[tuple(distance_transform_edt(~sound, return_distances=False, return_indices=True))]
    return filled


def _modes(cells: Image, count: Counts) -> tuple[Floats, Floats]:
    """Level and noise of cells [N, pixels], each sorted, of which the first ``count`` hold data."""
    first, last = np.zeros_like(count), count
    for _ in range(_ROUNDS):
        median, sigma = _middle(cells, first, last)
        before = first, last
        first = np.maximum(first, _place(cells, count, median - CUT * sigma))
        last = np.maximum(np.minimum(last, _place(cells, count, median + CUT * sigma)), first + 1)
        if np.array_equal(before, (first, last)):
            break
    else:
        median, sigma = _middle(cells, first, last)
    kept = (cell[start:stop] for cell, start, stop in zip(cells, first, last, strict=True))
    mean = np.array([values.mean(dtype=np.float64) for values in kept])
    crowded = np.abs(mean - median) > _CROWDED * sigma
    return np.where(crowded, median, 2.5 * median - 1.5 * mean), sigma


def _middle(cells: Image, first: Counts, last: Counts) -> tuple[Floats, Floats]:
    """Median and half width of each cell, of its pixels from ``first`` to ``last``."""
    median = _quantile(cells, first, last, 0.5)
    return median, median - _quantile(cells, first, last, _SIXTH)


def _quantile(cells: Image, first: Counts, last: Counts, share: float) -> Floats:
    """The value below which a share of a cell's pixels is; where many are the same, in the room up to the next ones."""
    each, place = np.arange(len(cells)), first + share * (last - first)
    middle = np.minimum(place.astype(np.intp), last - 1)
    value = cells[each, middle].astype(np.float64)
    before, after = np.maximum(middle - 1, 0), np.minimum(middle + 1, last - 1)
    like_before = (middle > first) & (cells[each, before] == value)
    same = np.flatnonzero(like_before | (middle < after) & (cells[each, after] == value))
    if len(same):
        rows, some, low, high = np.arange(len(same)), cells[same], first[same], last[same]
        this = some[rows, middle[same]]
        left = np.maximum(_place(some, high, this), low)
        right = _place(some, high, np.nextafter(this, np.float32(np.inf)))
        below, above = (some[rows, np.clip(at, low, high - 1)].astype(np.float64) for at in (left - 1, right))
        value[same] += (below - value[same]) / 2 + (place[same] - left) / (right - left) * (above - below) / 2
    return value


def _place(cells: Image, count: Counts, values: NDArray[np.floating[Any]]) -> Counts:
    """For each cell, how many of its ``count`` pixels are less than its value: a binary search in all at once."""
    each, low, high = np.arange(len(cells)), np.zeros_like(count), count
    while (low < high).any():
        middle = np.minimum((low + high) // 2, cells.shape[1] - 1)
        less = (cells[each, middle] < values) & (low < high)
        low, high = np.where(less, middle + 1, low), np.where(less, high, np.maximum(low, middle))
    return low

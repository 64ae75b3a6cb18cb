"""Level and noise of the sky in the cells of an image, Source Extractor's way (Bertin & Arnouts 1996).

In each cell, what is further than 3 sigma from the median is cut off until nothing changes. The level is the mode, 2.5
medians less 1.5 means, or the median where the two disagree; the noise is the half width below the median, to which
objects add nothing. Values that many pixels share, as in counts and rounded images, stand for all that would be rounded
to them.

Pixels are sorted as 16-bit codes, in steps of a thousandth of the cell's noise: numpy sorts those in two passes on any
processor, where its way with floats may take many times as long, as the processor is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanner.images.modes import SIXTH, Codes, Counts, Floats, modes
from scanner.images.sections import MESH

STEP = 2
"""Every second pixel of every second row is looked at: neighbouring pixels hardly know more of the sky. It costs a
quarter and adds 3 % to the noise of an aperture, if pixels are independent; every fourth would add 10 %."""

FILTER = tuple(np.array((0.25, 0.5, 0.25), np.float32))
"""Of the detection, along rows and along columns."""

_FILTERED_STEPS = 16, 2
"""Rows and columns of which one is looked at after the filter: half a thousand pixels of a cell."""

_ENOUGH = 0.5
"""A cell with less of its pixels does not count."""

_AT_ONCE = 8
"""Rows of cells of which the codes are held at once: 5 MB of an image of 10,000 columns."""

_ABREAST = 32
"""Cells side by side that are made codes at once: half a megabyte, which stays in a processor's cache."""

_MIDDLE, _LAST = 1 << 15, (1 << 16) - 1
_CODES = 1024.0
"""Codes a half width. The range is 32 half widths up and down; what is beyond has the first code, or the last."""

_THIN, _FEW = 4, 16
"""Middle and width come from every fourth pixel of every fourth row, unless fewer than so many of them hold data."""

_NARROW = np.float32(1e-30)
"""No flux is known so well, in nJy."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """Level and noise of cells of ``MESH`` x ``MESH`` pixels, each [rows, columns]; NaN without data.

    ``share`` is that of the pixels with data, ``same`` how many of those have one value, the median. The first pixel of
    an image is the first one of its first cell.
    """

    level: Floats
    noise: Floats
    share: Floats
    same: Floats

    @classmethod
    def of(cls, data: Image, variance: Image | None = None, step: int = STEP) -> Mesh:
        """The cells of an image [H, W], NaN for no data: of every ``step``-th pixel of every ``step``-th row.

        Pixels without a ``variance`` (NaN), where there is one, do not count. ``MESH`` is a multiple of ``step``.
        """
        side = MESH // step, MESH // step
        thin = None if variance is None else variance[::step, ::step]
        return cls.joined([_of_some(_known(*part), side) for part in _parts(data[::step, ::step], thin, side[0])])

    @classmethod
    def of_filtered(cls, data: Image, variance: Image | None = None) -> Mesh:
        """The same after the detection filter, of fewer pixels."""
        side = MESH // _FILTERED_STEPS[0], MESH // _FILTERED_STEPS[1]
        return cls.joined([_of_some(_filtered(_known(*part)), side) for part in _parts(data, variance, MESH)])

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Cells of which half holds data; where there are none, those that hold any."""
        enough = self.share >= _ENOUGH
        return enough if enough.any() else self.share > 0

    @property
    def typical(self) -> float:
        """The median noise of the cells, 0 where there is none."""
        noise = self.noise[self.sound & (self.noise > 0)]
        return float(np.median(noise)) if len(noise) else 0.0

    @classmethod
    def joined(cls, parts: Sequence[Mesh]) -> Mesh:
        """The cells of an image of which ``parts`` are whole rows, from the first to the last."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def _parts(data: Image, variance: Image | None, high: int) -> Iterator[tuple[Image, Image | None]]:
    """Some rows of cells, of ``high`` pixels each, at a time."""
    for rows in (slice(start, start + _AT_ONCE * high) for start in range(0, len(data), _AT_ONCE * high)):
        yield data[rows], None if variance is None else variance[rows]


def _known(data: Image, variance: Image | None) -> Image:
    """Pixels, NaN where there is no variance."""
    if variance is None:
        return data
    unknown = np.isnan(variance)
    return np.where(unknown, np.float32(np.nan), data) if unknown.any() else data


def _filtered(data: Image) -> Image:
    """Some pixels after the detection filter, but for the outermost."""
    height, width = (max(length - 2, 0) for length in data.shape)
    down, across = _FILTERED_STEPS
    lines: Image = sum(weight * data[at : height + at : down] for at, weight in enumerate(FILTER))
    image: Image = sum(weight * lines[:, at : width + at : across] for at, weight in enumerate(FILTER))
    return image


def _of_some(image: Image, side: tuple[int, int]) -> Mesh:
    """Some rows of cells."""
    (high, wide), size = side, math.prod(side)
    rows, columns = (-(-length // each) for length, each in zip(image.shape, side, strict=True))
    codes = np.empty((rows, columns, high, wide), np.uint16)
    count = np.full((rows, columns), size)
    middle, width = np.empty((2, rows, columns), np.float32)
    for row in range(rows):
        for left in range(0, columns, _ABREAST):
            some = row, slice(left, min(left + _ABREAST, columns))
            here = image[row * high : (row + 1) * high, left * wide : (left + _ABREAST) * wide]
            cells = _cells(here, side)
            middle[some], width[some] = _scales(cells)
            found, lost = _coded(cells, middle[some], width[some])
            codes[some] = found.swapaxes(0, 1)
            count[some] -= lost
    flat = codes.reshape(rows * columns, size)
    flat.sort(axis=1, kind="stable")
    level, noise, same = (found.reshape(rows, columns) for found in modes(flat, count.ravel()))
    unit = width.astype(np.float64) / _CODES
    return Mesh(middle + (level - _MIDDLE) * unit, noise * unit, count / size, same)


def _cells(image: Image, side: tuple[int, int]) -> Image:
    """A row of cells, [rows of a cell, N, columns of a cell]; NaN beyond the image."""
    (high, wide), (rows, columns) = side, image.shape
    if rows < high or columns % wide:
        whole = np.full((high, -(-columns // wide) * wide), np.nan, np.float32)
        whole[:rows, :columns] = image
        image = whole
    return image.reshape(high, -1, wide)


def _scales(cells: Image) -> tuple[Image, Image]:
    """About the median and the half width of cells [side, N, side]; NaN and 1 where there is no data."""
    thin = cells[::_THIN, :, ::_THIN].swapaxes(0, 1).reshape(cells.shape[1], -1)
    thin.sort(axis=1)  # NaN goes to the end
    each, count = np.arange(len(thin)), np.count_nonzero(thin == thin, axis=1)
    middle = thin[each, np.minimum(count // 2, thin.shape[1] - 1)]
    width = middle - thin[each, (SIXTH * count).astype(np.intp)]
    for cell in np.flatnonzero((count < _FEW) | ~(width > 0)):
        middle[cell], width[cell] = _scale(cells[:, cell])
    return middle, np.maximum(width, _NARROW)


def _scale(cell: Image) -> tuple[float, float]:
    """The same of one cell, of all its pixels: where many are the same, how far from the median the others are."""
    pixels = cell[~np.isnan(cell)].astype(np.float64)
    if not len(pixels):
        return np.nan, 1.0
    sixth, middle = np.quantile(pixels, (SIXTH, 0.5))
    away = np.abs(pixels - middle)
    return middle, float(middle - sixth or (np.median(away[away > 0]) if away.any() else 1.0))


def _coded(cells: Image, middle: Image, width: Image) -> tuple[Codes, Counts]:
    """The pixels of cells [side, N, side] as codes, and how many of each cell are without data; those have the last."""
    with np.errstate(over="ignore", invalid="ignore"):
        steps = cells - middle[:, None]
        steps *= (np.float32(_CODES) / width)[:, None]
        steps += np.float32(_MIDDLE + 0.5)
        np.clip(steps, np.float32(0), np.float32(_LAST), out=steps)
        codes = steps.astype(np.uint16)
    lost = np.isnan(steps)
    if not lost.any():
        return codes, np.zeros(len(middle), np.intp)
    codes[lost] = _LAST
    return codes, lost.sum(axis=(0, 2))

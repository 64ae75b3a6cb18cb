"""How a tile is divided: sections, in which objects are detected, and strips, which can be read one by one.

A strip is a row of sections; the whole tile is one strip. Every step sees the same pixels of a section whether the
whole tile is in memory or the strip alone, so the rows of a catalogue do not depend on the number of strips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MESH = 128
"""Pixels a side of the cells in which the background is measured. Strips begin and end with a cell, so that the cells
of all strips are those of the whole tile."""

SECTION = (1250, 5000)
"""Rows and columns, about: small enough for a strip of five bands to be 300 MB of a tile of 10,000 x 10,000."""

OVERLAP = MESH
"""Pixels around a section that are searched with it; the section whose core holds the centroid owns the object."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """Rows and columns of a tile: the ``core``, and the ``view`` with what is around it."""

    core: tuple[slice, slice]
    view: tuple[slice, slice]


@dataclass(frozen=True)
class Strip:
    """Rows of a tile of ``height`` rows: those in memory (``view``), and those whose objects it owns (``core``)."""

    core: slice
    view: slice
    height: int

    @classmethod
    def whole(cls, height: int) -> Strip:
        return cls(slice(0, height), slice(0, height), height)

    @property
    def is_first(self) -> bool:
        return bool(self.core.start == 0)

    @property
    def is_last(self) -> bool:
        return bool(self.core.stop == self.height)

    def owns(self, y: Floats) -> NDArray[np.bool_]:
        """Which positions (0-based pixels of the tile) are the strip's own."""
        row = nearest(y)
        return np.asarray((row >= self.core.start) & (row < self.core.stop))

    def local(self, view: tuple[slice, slice]) -> tuple[slice, slice]:
        """Rows and columns of the tile as indices into the strip's arrays."""
        rows, columns = view
        top = self.view.start
        return slice(max(rows.start, top) - top, min(rows.stop, self.view.stop) - top), columns


def nearest(position: Floats) -> Floats:
    """The pixel that a position is in; halves go up, so that order is kept."""
    return np.asarray(np.floor(position + 0.5))


def inside(shape: tuple[int, ...], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Which positions [N] fall on a pixel of an image [..., H, W]; NaN does not."""
    # Centres of pixels are whole numbers, so a pixel reaches half a pixel to each side.
    rows, columns = shape[-2:]
    return np.asarray((x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5))


def cut_sections(shape: tuple[int, int]) -> Iterator[Section]:
    """The sections of a tile [H, W], row by row."""
    rows, columns = (edges(length, size) for length, size in zip(shape, SECTION, strict=True))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            core = slice(top, bottom), slice(left, right)
            yield Section(core, wider(core, OVERLAP, shape))


def cut_strips(shape: tuple[int, int], margin: int) -> list[Strip]:
    """The strips of a tile [H, W], from the first row to the last, with ``margin`` rows of their neighbours."""
    rows, height = edges(shape[0], SECTION[0]), shape[0]
    # The same edges as the sections have, so that every section lies in one strip.
    cores = [slice(top, bottom) for top, bottom in pairwise(rows)]
    return [Strip(core, wider((core, core), margin, (height, height))[0], height) for core in cores]


def wider(core: tuple[slice, slice], margin: int, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns with ``margin`` pixels more on each side, as far as the image [H, W] goes."""
    rows, columns = (
        slice(max(part.start - margin, 0), min(part.stop + margin, length))
        for part, length in zip(core, shape, strict=True)
    )
    return rows, columns


def edges(length: int, size: int) -> list[int]:
    """Edges of parts of about ``size`` pixels, at whole cells of the background."""
    # Equal parts, each edge moved to the nearest cell.
    count = max(1, round(length / size))
    inner = (MESH * round(length * step / count / MESH) for step in range(1, count))
    return sorted({0, *inner, length})

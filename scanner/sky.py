"""Level and noise of the sky at every place of an image, from those in its cells.

Of 3 x 3 cells the median is taken. Between cells the level goes along a cubic spline and the noise along straight
lines: beside gaps, and where the noise doubles, a spline of it (sep has one) swings below zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, median_filter

from scanner.mesh import FILTER, STEP, Floats, Image, Mesh
from scanner.sections import MESH

WHITE = float(sum(weight**2 for weight in FILTER))
"""What the detection filter leaves of the noise, if pixels are independent."""

BLOCK = 4
"""Pixels a side for which level and noise are worked out once: a thirtieth of a cell."""

_WEAK = 0.1
"""A cell with less of the typical noise has been filled with a value; its noise is that of the nearest that has not."""

_AT_ONCE = 10_000


@dataclass(frozen=True)
class Sky:
    """Level and noise a pixel in cells of ``MESH`` x ``MESH`` pixels, [rows, columns].

    ``typical`` is the noise of the whole image, 0 where that is one value. ``filtered`` is the noise after the
    detection filter for one before it: 0.375 if pixels are independent, more if they are correlated.
    """

    level: Floats
    noise: Floats
    typical: float
    filtered: float

    @classmethod
    def of(cls, data: Image, step: int = STEP, filtered: bool = True) -> Sky | None:
        """The sky of an image [H, W], NaN for no data; None where it holds none. ``step`` is that of ``Mesh.of``.

        ``filtered``: False where nothing will be detected, and 0.375 will do.
        """
        return cls.over(Mesh.of(data, step), Mesh.of_filtered(data) if filtered else None)

    @classmethod
    def over(cls, mesh: Mesh, filtered: Mesh | None = None) -> Sky | None:
        """The sky of an image whose cells were looked at, and again after the detection filter."""
        there = mesh.sound
        if not there.any():
            return None
        typical = mesh.typical
        smooth = filtered.typical / typical if filtered and typical > 0 else WHITE
        parts = (mesh.level, there), (mesh.noise, there & (mesh.noise >= _WEAK * typical))
        level, noise = (median_filter(_filled(*part), 3, mode="nearest") for part in parts)
        return cls(level, noise, typical, smooth or WHITE)

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

    def rows(self, region: tuple[slice, slice], step: int = BLOCK) -> Iterator[tuple[slice, Image, Image]]:
        """Rows of a region of the image, from its first to its last, with level and noise of their pixels [1, columns].

        Rows count from the first of the region. ``step`` x ``step`` pixels of it have those of their middle.
        """
        down, across = (
            _Between.cells(np.arange(part.start, part.stop, step) + (step - 1) / 2, length)
            for part, length in zip(region, self.level.shape, strict=True)
        )
        height, width = (part.stop - part.start for part in region)
        levels = (down.spline @ self.level @ across.spline.T).astype(np.float32)
        noises = (down.line @ self.noise @ across.line.T).astype(np.float32)
        for row, pair in enumerate(zip(levels, noises, strict=True)):
            level, noise = np.repeat(pair, step, axis=1)[:, None, :width]
            yield slice(row * step, min((row + 1) * step, height)), level, noise


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


def _filled(mesh: Floats, sound: NDArray[np.bool_]) -> Floats:
    """The cells of a mesh, those that are not ``sound`` as the nearest that is."""
    filled: Floats = mesh[tuple(distance_transform_edt(~sound, return_distances=False, return_indices=True))]
    return filled

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

from scanner.images.background_mesh import FILTER, STEP, Image, Mesh
from scanner.images.modes import Floats
from scanner.images.sections import MESH

WHITE = float(sum(weight**2 for weight in FILTER))
"""What the detection filter leaves of the noise, if pixels are independent."""

BLOCK = 4
"""Pixels a side for which level and noise are worked out once: a thirtieth of a cell."""

_WEAK, _SAME = 0.1, 0.25
"""A cell with less of the typical noise, and with more of its pixels of one value, has been filled with that; its noise
is that of the nearest that has not."""

_AT_ONCE = 10_000


@dataclass(frozen=True)
class Background:
    """Level and noise a pixel in cells of ``MESH`` x ``MESH`` pixels, [rows, columns].

    ``typical`` is the noise of the whole image, 0 where that is one value. ``filtered`` is the noise after the
    detection filter for one before it: 0.375 if pixels are independent, more if they are correlated.
    """

    level: Floats
    noise: Floats
    typical: float
    filtered: float

    @classmethod
    def of(
        cls, data: Image, variance: Image | None = None, step: int = STEP, filtered: bool = True
    ) -> Background | None:
        """The sky of an image [H, W], NaN for no data; None where it holds none.

        ``variance`` and ``step`` are those of ``Mesh.of``. ``filtered``: False where nothing will be detected.
        """
        return cls.over(Mesh.of(data, variance, step), Mesh.of_filtered(data, variance) if filtered else None)

    @classmethod
    def over(cls, mesh: Mesh, filtered: Mesh | None = None) -> Background | None:
        """The sky of an image whose cells were looked at, and again after the detection filter."""
        there = mesh.sound
        if not there.any():
            return None
        typical = mesh.typical
        smooth = filtered.typical / typical if filtered and typical > 0 else WHITE
        spoilt = (mesh.noise < _WEAK * typical) & (mesh.same > _SAME)
        parts = (mesh.level, there), (mesh.noise, there & ~spoilt)
        level, noise = (median_filter(_filled(*part), 3, mode="nearest") for part in parts)
        return cls(level, noise, typical, smooth or WHITE)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Level and noise at positions (0-based pixels of the image [N]), each as if alone to the last bit."""
        level, noise = np.empty((2, len(x)))
        for some in (slice(start, start + _AT_ONCE) for start in range(0, len(x), _AT_ONCE)):
            down, across = (_place(at[some], length) for at, length in zip((y, x), self.level.shape, strict=True))
            level[some] = (_spline(self.level, down) * _spline(np.eye(self.level.shape[1]), across)).sum(axis=1)
            top, left = down.astype(np.intp), across.astype(np.intp)
            lower, right = (np.minimum(cell + 1, n - 1) for cell, n in zip((top, left), self.noise.shape, strict=True))
            down, across = down - top, across - left
            above, below = (
                (1 - across) * self.noise[row, left] + across * self.noise[row, right] for row in (top, lower)
            )
            noise[some] = (1 - down) * above + down * below
        return level, noise

    def rows(self, region: tuple[slice, slice], step: int = BLOCK) -> Iterator[tuple[slice, Image, Image]]:
        """Rows of a region of the image, from its first to its last, with level and noise of their pixels [1, columns].

        Rows count from the first of the region. ``step`` x ``step`` pixels of it have those of their middle.
        """
        down, across = (
            _place(np.arange(part.start, part.stop, step) + (step - 1) / 2, length)
            for part, length in zip(region, self.level.shape, strict=True)
        )
        (high, wide), (height, width) = self.level.shape, (part.stop - part.start for part in region)
        levels = _spline(self.level, down) @ _spline(np.eye(wide), across).T
        noises = _line(down, high) @ self.noise @ _line(across, wide).T
        for row, pair in enumerate(zip(levels.astype(np.float32), noises.astype(np.float32), strict=True)):
            level, noise = np.repeat(pair, step, axis=1)[:, None, :width]
            yield slice(row * step, min((row + 1) * step, height)), level, noise


def _place(pixels: Floats, count: int) -> Floats:
    """Places [N] in a line of ``count`` cells, 0 in the middle of the first; beyond an outermost middle it counts."""
    return np.clip((pixels - (MESH - 1) / 2) / MESH, 0, count - 1)


def _spline(cells: Floats, place: Floats) -> Floats:
    """Values [N, columns] of cells [rows, columns] at places along their rows, on a natural cubic spline."""
    if len(cells) == 1:
        return np.repeat(cells, len(place), axis=0)
    spline: Floats = CubicSpline(np.arange(len(cells)), cells, bc_type="natural")(place)
    return spline


def _line(place: Floats, count: int) -> Floats:
    """The share [N, cells] of each cell in the value at a place, on straight lines."""
    share: Floats = np.maximum(1 - np.abs(place[:, None] - np.arange(count)), 0)
    return share


def _filled(mesh: Floats, sound: NDArray[np.bool_]) -> Floats:
    """The cells of a mesh, those that are not ``sound`` as the nearest that is."""
    filled: Floats = mesh[tuple(distance_transform_edt(~sound, return_distances=False, return_indices=True))]
    return filled

"""Level and noise of the background at every place of an image, from those in the cells of its mesh.

The median of 3 x 3 cells is taken first. Between cells the level follows a cubic spline and the noise straight lines:
beside gaps, and where the noise doubles, a spline of it (sep has one) swings below zero.

Source: Bertin & Arnouts 1996, A&AS 117, 393, section 3, but for the straight lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, median_filter

from catalogs.parallel import one_core
from scanner.images.background_mesh import FILTER, Floats, Image, Mesh
from scanner.images.sections import MESH

WHITE = float(sum(weight**2 for weight in FILTER))
"""Share of the noise that the detection filter leaves where pixels are independent."""

BLOCK = 4
"""Pixels a side for which level and noise are computed once: a thirtieth of a cell."""

_WEAK, _SAME = 0.1, 0.25
"""A cell with a smaller share of the typical noise, and a larger share of pixels of one value, was filled with that
value; its noise is then that of the nearest cell that was not."""

_POSITIONS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Background:
    """Level and noise a pixel (nJy) in cells of ``MESH`` x ``MESH`` pixels, [rows, columns].

    ``typical`` is the noise of the whole image, 0 where that is one value. ``filtered`` is the noise after the
    detection filter for one before it: 0.375 if pixels are independent, more if they are correlated. It is None where
    it was not measured, since only detection needs it.
    """

    level: Floats
    noise: Floats
    typical: float
    filtered: float | None

    @classmethod
    def of(cls, data: Image, variance: Image | None = None, filtered: bool = True) -> Background | None:
        """Measure the background of an image [H, W], NaN for no data; None where it holds none.

        Pixels without a ``variance`` (NaN), where there is one, do not count. ``filtered``: False where nothing will be
        detected.
        """
        return cls.over(Mesh.of(data, variance), Mesh.of_filtered(data, variance) if filtered else None)

    @classmethod
    def over(cls, mesh: Mesh, filtered: Mesh | None = None) -> Background | None:
        """The background of an image from its cells, and from those after the detection filter."""
        usable = mesh.usable
        if not usable.any():
            return None
        typical = mesh.typical
        # Cells filled with one value have a level, but their noise says nothing.
        uniform = (mesh.noise < _WEAK * typical) & (mesh.same > _SAME)
        parts = (mesh.level, usable), (mesh.noise, usable & ~uniform)
        level, noise = (median_filter(_fill(*part), 3, mode="nearest") for part in parts)
        return cls(level, noise, typical, None if filtered is None else _filtered_noise(filtered, typical))

    def measure_filtered(self, data: Image, variance: Image | None) -> float:
        """Measure ``filtered`` on the image that the background is of."""
        return _filtered_noise(Mesh.of_filtered(data, variance), self.typical)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Level and noise at positions (0-based pixels of the image [N]).

        Each is the same to the last bit whatever positions are asked for with it.
        """
        level, noise = np.empty((2, len(x)))
        for some in (slice(start, start + _POSITIONS_AT_ONCE) for start in range(0, len(x), _POSITIONS_AT_ONCE)):
            down, across = (_place(at[some], length) for at, length in zip((y, x), self.level.shape, strict=True))
            # The spline is separable: its values down the columns [N, columns] times its weights across them.
            level[some] = (_spline(self.level, down) * _spline(np.eye(self.level.shape[1]), across)).sum(axis=1)
            # Noise: bilinear between the four nearest cells.
            top, left = down.astype(np.intp), across.astype(np.intp)
            lower, right = (np.minimum(cell + 1, n - 1) for cell, n in zip((top, left), self.noise.shape, strict=True))
            down, across = down - top, across - left
            above, below = (
                (1 - across) * self.noise[row, left] + across * self.noise[row, right] for row in (top, lower)
            )
            noise[some] = (1 - down) * above + down * below
        return level, noise

    def rows(self, region: tuple[slice, slice]) -> Iterator[tuple[slice, Image, Image]]:
        """Rows of a region of the image, from its first to its last, with level and noise of their pixels [1, columns].

        Rows count from the first of the region. ``BLOCK`` x ``BLOCK`` pixels have the values of their middle.
        """
        down, across = (
            _place(np.arange(part.start, part.stop, BLOCK) + (BLOCK - 1) / 2, length)
            for part, length in zip(region, self.level.shape, strict=True)
        )
        (high, wide), (height, width) = self.level.shape, (part.stop - part.start for part in region)
        # Both are separable, so the values of all blocks are products of small matrices: [blocks down, blocks across].
        with one_core():
            levels = _spline(self.level, down) @ _spline(np.eye(wide), across).T
            noises = _line(down, high) @ self.noise @ _line(across, wide).T
        for row, pair in enumerate(zip(levels.astype(np.float32), noises.astype(np.float32), strict=True)):
            level, noise = np.repeat(pair, BLOCK, axis=1)[:, None, :width]
            yield slice(row * BLOCK, min((row + 1) * BLOCK, height)), level, noise


def _filtered_noise(filtered: Mesh, typical: float) -> float:
    """Noise after the detection filter, for one before it; ``WHITE`` where it cannot be told."""
    return filtered.typical / typical if filtered.typical > 0 and typical > 0 else WHITE


def _place(pixels: Floats, count: int) -> Floats:
    """Pixels [N] in units of cells, 0 in the middle of the first of ``count``; the outermost middles are the limits."""
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


def _fill(mesh: Floats, usable: NDArray[np.bool_]) -> Floats:
    """The cells of a mesh, those that are not ``usable`` as the nearest that is."""
    filled: Floats = mesh[tuple(distance_transform_edt(~usable, return_distances=False, return_indices=True))]
    return filled

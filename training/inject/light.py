"""Light that is added to an image: stamps, each at its own place, which may lie between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import fourier_shift

Array = NDArray[np.float64]

PAD = 4
"""Pixels around a stamp that is shifted: the transform is periodic, so light must not reach its edges."""


@dataclass(frozen=True)
class Stamp:
    """``light`` float32 [N, N] in nJy, whose first pixel lies at ``row`` and ``column`` of an image."""

    row: int
    column: int
    light: NDArray[np.float32]

    @classmethod
    def at(cls, x: float, y: float, light: Array, drawn_at: tuple[float, float]) -> Stamp:
        """Place ``light`` [N, N] at pixel (x, y) of a band; its middle pixel is the nearest to ``drawn_at``."""
        column, row = round(x), round(y)
        over, up = (x - column) - (drawn_at[0] - round(drawn_at[0])), (y - row) - (drawn_at[1] - round(drawn_at[1]))
        moved = shifted(light, over, up)
        half = len(moved) // 2
        return cls(row - half, column - half, moved.astype(np.float32))


def shifted(light: Array, dx: float, dy: float) -> Array:
    """Shift a stamp of odd side [N, N] by parts of a pixel, into [N + 2 PAD, N + 2 PAD].

    The shift theorem keeps the flux, and white noise stays white with its variance; an interpolation would smooth it.
    """
    padded = np.pad(light, PAD)
    if dx == 0 and dy == 0:
        return padded
    return np.asarray(fft.ifft2(fourier_shift(fft.fft2(padded), (dy, dx))).real)


class Light:
    """The sum of stamps on a band; ``flux`` [H, W] in nJy is NaN where the band has no data, which no light reaches."""

    def __init__(self, stamps: Sequence[Stamp], flux: NDArray[np.float32]) -> None:
        self._stamps, self._flux = stamps, flux

    def rows(self, first: int, last: int) -> NDArray[np.float32] | None:
        """Sum the light on the rows [first, last) of the band, [last - first, W]; None where there is none."""
        width = self._flux.shape[1]
        total: NDArray[np.float32] | None = None
        for stamp in self._stamps:
            top, bottom = max(stamp.row, first), min(stamp.row + len(stamp.light), last)
            left, right = max(stamp.column, 0), min(stamp.column + len(stamp.light), width)
            if top >= bottom or left >= right:
                continue
            if total is None:
                total = np.zeros((last - first, width), np.float32)
            here = stamp.light[top - stamp.row : bottom - stamp.row, left - stamp.column : right - stamp.column]
            total[top - first : bottom - first, left:right] += here
        if total is not None:
            total[~np.isfinite(self._flux[first:last])] = 0
        return total

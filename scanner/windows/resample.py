"""Windows at another pixel scale: cubic-spline interpolation as two small matrix products a band.

Interpolation on a regular grid is linear and separable, so the spline of scipy, evaluated once for the unit vectors,
is a matrix that serves every window with the same sub-pixel phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import distance_transform_edt

PHASES = 64
"""Sub-pixel positions told apart: windows are centred to 1/128 of an input pixel."""

MARGIN = 8
"""Input pixels around the window: the spline's boundary is felt by less than 1e-4 of a pixel that far inside."""

Image = NDArray[np.float32]
Operators = tuple[Image, Image]


@dataclass(frozen=True)
class Resampler:
    """Brings patches of an image to ``size`` x ``size`` pixels that are ``ratio`` input pixels wide.

    Where output pixels are the larger ones, the spline is averaged over a width that makes the response to light that
    of an output pixel; so nothing is aliased. Surface brightness times area is kept: values are flux per output pixel.
    """

    size: int
    ratio: float
    _cache: dict[int, Operators] = field(default_factory=dict, repr=False)

    @property
    def patch(self) -> int:
        """Side of the patch of input pixels that a window needs."""
        return math.ceil((self.size - 1) * self.ratio) + 2 + 2 * MARGIN

    def place(self, centre: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First input pixel of the patch and phase (0 to PHASES - 1) for windows centred at ``centre`` [N], one axis.

        ``centre`` must be finite.
        """
        first = np.rint((centre - (self.size - 1) / 2 * self.ratio) * PHASES).astype(np.int64)
        return first // PHASES - MARGIN, first % PHASES

    def apply(self, patch: Image, phase_y: int, phase_x: int) -> Image:
        """Windows [..., S, S] of patches [..., P, P] (NaN for no data).

        An output pixel is NaN where more than half of its interpolation weight lies on input without data.
        """
        rows, row_weights = self._operators(phase_y)
        columns, column_weights = self._operators(phase_x)
        lost = np.isnan(patch)
        if not lost.any():
            return np.asarray(rows @ patch @ columns.T)
        out = rows @ _filled(patch, lost) @ columns.T
        missing = row_weights @ lost.astype(np.float32) @ column_weights.T
        return np.where(missing > 0.5, np.float32(np.nan), out)

    def _operators(self, phase: int) -> Operators:
        """[S, P] matrices of cubic interpolation (times the ratio) and of linear interpolation, for one phase."""
        if phase not in self._cache:
            where = MARGIN + phase / PHASES + self.ratio * np.arange(self.size, dtype=np.float64)
            cubic = self._matrix(where, degree=3) * self.ratio
            self._cache[phase] = cubic.astype(np.float32), self._matrix(where, degree=1).astype(np.float32)
        return self._cache[phase]

    def _matrix(self, where: NDArray[np.floating], degree: int) -> NDArray[np.floating]:
        spline = make_interp_spline(np.arange(self.patch), np.eye(self.patch), k=degree)
        width = math.sqrt(max(self.ratio**2 - 1, 0.0))
        if width < 0.1:
            return np.asarray(spline(where))
        integral = spline.antiderivative()
        return np.asarray((integral(where + width / 2) - integral(where - width / 2)) / width)


def _filled(patch: Image, lost: NDArray[np.bool_]) -> Image:
    """Pixels without data take the value of the nearest one with data in their plane, zero where there is none."""
    planes, holes = patch.reshape(-1, *patch.shape[-2:]), lost.reshape(-1, *patch.shape[-2:])
    filled = np.zeros_like(planes)
    for plane, hole, out in zip(planes, holes, filled, strict=True):
        if not hole.any():
            out[:] = plane
        elif not hole.all():
            row, column = distance_transform_edt(hole, return_distances=False, return_indices=True)
            out[:] = plane[row, column]
    return filled.reshape(patch.shape)

"""Cutouts at another pixel scale: cubic-spline interpolation as two small matrix products a band.

Interpolation on a regular grid is linear and separable. So the spline of scipy, evaluated once for the unit vectors, is
a matrix that serves every cutout with the same sub-pixel phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import distance_transform_edt

PHASES = 64
"""Number of sub-pixel positions: cutouts are centred to 1/128 of an input pixel."""

MARGIN = 8
"""Input pixels around the cutout: this far inside, the spline's boundary changes a value by less than 1e-4 of it."""

Image = NDArray[np.float32]
Operators = tuple[Image, Image]


@dataclass(frozen=True)
class Resampler:
    """Resamples a patch of input pixels to ``size`` x ``size`` pixels that are ``ratio`` input pixels wide.

    Where output pixels are larger, the spline is averaged over a width that gives the response of an output pixel, so
    that nothing is aliased. Values are flux per output pixel.
    """

    size: int
    ratio: float
    _cache: dict[int, Operators] = field(default_factory=dict, repr=False)

    @property
    def patch(self) -> int:
        """Side of the patch of input pixels that a cutout needs."""
        return math.ceil((self.size - 1) * self.ratio) + 2 + 2 * MARGIN

    def place(self, centre: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First input pixel of the patch and phase (0 to PHASES - 1) of cutouts centred at ``centre`` [N], finite.

        Both axes are alike, so this is for one of them.
        """
        first = np.rint((centre - (self.size - 1) / 2 * self.ratio) * PHASES).astype(np.int64)
        return first // PHASES - MARGIN, first % PHASES

    def apply(self, patch: Image, phase_y: int, phase_x: int) -> Image:
        """Resample patches [..., P, P] (NaN for no data) to [..., S, S].

        An output pixel is NaN where more than half of its interpolation weight lies on input without data.
        """
        rows, row_weights = self._operators(phase_y)
        columns, column_weights = self._operators(phase_x)
        hole = np.isnan(patch)
        # A patch with data everywhere needs neither the filling nor the second product.
        if not hole.any():
            return np.asarray(rows @ patch @ columns.T)
        out = rows @ _fill(patch, hole) @ columns.T
        missing = row_weights @ hole.astype(np.float32) @ column_weights.T
        return np.where(missing > 0.5, np.float32(np.nan), out)

    def _operators(self, phase: int) -> Operators:
        """Matrices [S, P] of cubic interpolation (times the ratio) and of linear interpolation, for one phase."""
        if phase not in self._cache:
            # Centres [S] of the output pixels, in input pixels from the patch's first one.
            place = MARGIN + phase / PHASES + self.ratio * np.arange(self.size, dtype=np.float64)
            # The ratio of each axis turns brightness into flux per output pixel.
            cubic = self._matrix(place, degree=3) * self.ratio
            self._cache[phase] = cubic.astype(np.float32), self._matrix(place, degree=1).astype(np.float32)
        return self._cache[phase]

    def _matrix(self, place: NDArray[np.floating], degree: int) -> NDArray[np.floating]:
        """Weights [S, P] of the input pixels in the spline at ``place`` [S]."""
        spline = make_interp_spline(np.arange(self.patch), np.eye(self.patch), k=degree)
        # The squares of this width and of an input pixel add up to the square of an output pixel.
        width = math.sqrt(max(self.ratio**2 - 1, 0.0))
        if width < 0.1:
            return np.asarray(spline(place))
        # The mean over the width, as a difference of the integral.
        integral = spline.antiderivative()
        return np.asarray((integral(place + width / 2) - integral(place - width / 2)) / width)


def _fill(patch: Image, hole: NDArray[np.bool_]) -> Image:
    """Give pixels without data the value of the nearest one with data in their plane, zero where there is none."""
    planes, holes = patch.reshape(-1, *patch.shape[-2:]), hole.reshape(-1, *patch.shape[-2:])
    filled = np.zeros_like(planes)
    for plane, empty, out in zip(planes, holes, filled, strict=True):
        if not empty.any():
            out[:] = plane
        elif not empty.all():
            row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
            out[:] = plane[row, column]
    return filled.reshape(patch.shape)

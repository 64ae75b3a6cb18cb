"""Correlation of the noise of neighbouring pixels, which images have that were resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correlation:
    """Covariance of the noise of two pixels over the variance of one, by their distance along rows and columns.

    ``values`` [2 L + 1, 2 L + 1] are those of distances from -L to L; beyond them there is none. White noise has 1 in
    the middle and 0 elsewhere.
    """

    values: Array

    def excess(self, weights: Array) -> float:
        """Compute how much more variance the weighted sum of pixels has than for white noise: w (C - 1) w.

        ``weights`` [N, N] are those of the pixels; the result is in units of the variance of one.
        """
        reach = len(self.values) // 2
        side = fft.next_fast_len(len(weights) + reach, real=True)
        # Products of weights by their distance, by the theorem of Wiener and Khinchin; the padding keeps them apart.
        products = fft.irfft2(np.abs(fft.rfft2(weights, (side, side))) ** 2, (side, side))
        steps = np.arange(-reach, reach + 1)
        near = products[np.ix_(steps, steps)]
        return float((self.values * near).sum() - near[reach, reach])

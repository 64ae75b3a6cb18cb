"""Level and noise of the sky, by sep, on a thinned image: neighbouring pixels hardly know more of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from scanner.sections import MESH

STEP = 2
"""Every second pixel of every second row is looked at. It costs a quarter and adds 3 % to the noise of an aperture, if
pixels are independent; every fourth would add 10 %."""

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sky:
    """``level`` and ``noise`` a pixel of an image [H, W] of which every ``step``-th pixel and row was looked at.

    ``typical`` is the noise of the whole. Cells have ``MESH`` pixels of the image a side, whatever the step.
    """

    level: Image  # [ceil(H / step), ceil(W / step)]
    noise: Image
    typical: float
    step: int

    @classmethod
    def of(cls, data: Image, lost: NDArray[np.bool_], step: int = STEP) -> Sky | None:
        """The sky of ``data`` without the pixels that are ``lost``, NaN or not; None where there are no others."""
        every = slice(None, None, step)
        thin, thin_lost = (np.array(image[every, every], order="C") for image in (data, lost))
        if thin_lost.all():
            return None
        thin[thin_lost] = 0
        background = sep.Background(thin, mask=thin_lost, bw=MESH // step, bh=MESH // step)
        return cls(background.back(), background.rms(), background.globalrms, step)

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Level and noise at positions (0-based pixels of the image [N])."""
        row, column = (
            np.clip(place // self.step, 0, length - 1).astype(np.intp)
            for place, length in zip((y, x), self.level.shape, strict=True)
        )
        return self.level[row, column].astype(float), self.noise[row, column].astype(float)

    def rows(self, columns: int) -> Iterator[tuple[slice, Image, Image]]:
        """Slices of the image's rows, from the first to the last, with level and noise of their pixels [1, columns]."""
        for row, (level, noise) in enumerate(zip(self.level, self.noise, strict=True)):
            wide = np.repeat([level, noise], self.step, axis=1)[:, None, :columns]
            yield slice(row * self.step, (row + 1) * self.step), wide[0], wide[1]

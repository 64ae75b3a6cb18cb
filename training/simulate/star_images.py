"""Images of stars: a Moffat profile, and for bright ones diffraction spikes and a ghost of the pupil."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.simulate.canvas import Canvas

Array = NDArray[np.float64]

BRIGHT = 18.0
"""r magnitude of the faintest stars with spikes and a disc."""
SPIKES, DISC = 0.012, 0.006
"""Shares of the flux of a star in its four spikes and in its disc."""
CORE = 9.0  # px, where a spike begins to fall as 1 / distance^2
REACH = 220  # px
DISC_RADIUS = {"u": 48.0, "g": 56.0, "r": 40.0, "i": 36.0, "z": 44.0}  # px
VARIANTS = 4.0  # the spikes of a star are weaker by up to this factor


def draw_star(rng: np.random.Generator, canvas: Canvas, x: float, y: float, flux: Array, bright: bool) -> None:
    """Draw a star of ``flux`` [B] in nJy at pixel (x, y)."""
    canvas.star(x, y, flux)
    if bright:
        weaker = VARIANTS ** -rng.random()
        for band, conditions in enumerate(canvas.conditions):
            if conditions.present:
                stamp = flux[band] * (
                    weaker * SPIKES * _spikes(conditions.offset) + DISC * _disc(DISC_RADIUS[conditions.band])
                )
                canvas.add_one(band, x, y, stamp)


def _spikes(offset: float) -> Array:
    """Draw a cross along rows and columns, of unit sum, [2 REACH + 1] squared."""
    d = np.arange(-REACH, REACH + 1)
    along = 1 / (1 + (d / CORE) ** 2) * (1 - (d / (REACH + 1)) ** 2)
    cross = np.zeros((len(d), len(d)))
    for width in (-1, 0, 1):
        cross[REACH + width] += along * (0.5 if width else 1.0)
        cross[:, REACH + width] += along * (0.5 if width else 1.0)
    return np.roll(cross, round(offset), axis=1) / cross.sum()


def _disc(radius: float) -> Array:
    """Draw a ghost of the pupil: a flat disc with the hole of the secondary mirror, of unit sum."""
    d = np.arange(-REACH, REACH + 1)
    r = np.hypot(d[None, :], d[:, None])
    disc = np.clip(radius - r, 0, 2) / 2 * (0.6 + 0.4 * np.clip(r - 0.4 * radius, 0, 2) / 2)
    return np.asarray(disc / disc.sum())

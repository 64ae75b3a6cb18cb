"""Made-up cutouts, to compare runtimes on: they are as hard for low precisions as those of a survey tile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.encoder.contract import Contract

CUTOUTS = 512
NOISE = 8.0
"""Noise in nJy where the contract does not tell it."""


def make(contract: Contract, count: int = CUTOUTS, seed: int = 0) -> NDArray[np.float32]:
    """Make cutouts [``count``, B, S, S] in nJy: elliptical galaxies on noise, a quarter with bands or pixels missing.

    Most galaxies are small and faint, as in a survey. The embeddings then lie close together, and an error of a
    precision weighs most.
    """
    random, bands, window = np.random.default_rng(seed), len(contract.bands), contract.window
    # Offsets from the centre in pixels, [S, S] each.
    y, x = np.mgrid[:window, :window] - window / 2
    angle, ratio = random.uniform(0, np.pi, (count, 1, 1, 1)), random.uniform(0.3, 1, (count, 1, 1, 1))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    # Elliptical radius [N, 1, S, S] in scale lengths, which are 1 px to a tenth of the cutout.
    radius = np.hypot(along, across / ratio) / random.uniform(1, max(2.0, window / 10), (count, 1, 1, 1))
    # Light [N, B, S, S] in units of the noise, of similar brightness in all bands.
    brightness = random.lognormal(2.5, 1.25, (count, 1, 1, 1)) * random.lognormal(0, 0.3, (count, bands, 1, 1))
    light = brightness * np.exp(-(radius**0.7))
    flux: NDArray[np.float32] = ((light + random.normal(size=light.shape)) * _noise(contract)).astype(np.float32)
    # Every eighth cutout lacks a band, unless it has no other; every eighth has a gap at its edge.
    for row in range(0, count if bands > 1 else 0, 8):
        flux[row, random.integers(bands)] = np.nan
    for row in range(4, count, 8):
        flux[row, :, : random.integers(1, window // 2)] = np.nan
    return flux


def _noise(contract: Contract) -> NDArray[np.float64]:
    """Noise of the bands, [B, 1, 1] in nJy: the softening of the stretch, which training measured on pixels."""
    softening = contract.stretch.get("softening")
    if isinstance(softening, list | tuple) and len(softening) == len(contract.bands):
        values = [float(value) if isinstance(value, int | float) and value > 0 else NOISE for value in softening]
    else:
        values = [NOISE] * len(contract.bands)
    return np.array(values)[:, None, None]

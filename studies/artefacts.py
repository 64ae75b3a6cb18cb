"""Artefacts of images, added to cutouts [B, S, S] in nJy: an outlier search should find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Flux = NDArray[np.float32]
Generator = np.random.Generator
SHIFT = 10
"""Pixels by which a band is shifted."""


def trail(flux: Flux, rng: Generator) -> Flux:
    """Add a bright line, three pixels wide, through the middle in one band."""
    band, angle = rng.choice(_present(flux)), rng.uniform(0, np.pi)
    y, x = _from_the_middle(flux)
    away = np.abs(x * np.sin(angle) - y * np.cos(angle) + rng.uniform(-SHIFT, SHIFT))
    return _with(flux, band, flux[band] + 30 * _noise(flux[band]) * (away < 1.5))


def bleeding(flux: Flux, rng: Generator) -> Flux:
    """Saturate three columns, from edge to edge, in all bands."""
    _, x = _from_the_middle(flux)
    column = np.abs(x - rng.uniform(-SHIFT, SHIFT)) < 1.5
    return np.stack([band + 200 * _noise(band) * column for band in flux]).astype(np.float32)


def hot(flux: Flux, rng: Generator) -> Flux:
    """Add twenty bright pixels in one band."""
    band = rng.choice(_present(flux))
    pixels = np.zeros(flux.shape[1:], bool)
    pixels.flat[rng.choice(pixels.size, 20, replace=False)] = True
    return _with(flux, band, flux[band] + 50 * _noise(flux[band]) * pixels)


def shifted(flux: Flux, rng: Generator) -> Flux:
    """Shift one band."""
    band = rng.choice(_present(flux))
    return _with(flux, band, np.roll(flux[band], SHIFT, axis=1))


def half(flux: Flux, rng: Generator) -> Flux:
    """Remove the data on one side of the middle, in all bands."""
    _, x = _from_the_middle(flux)
    return np.where(x * rng.choice([-1, 1]) > 0, np.float32(np.nan), flux)


def gradient(flux: Flux, rng: Generator) -> Flux:
    """Add a plane of light to all bands, from 0 to twenty times the noise."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = _from_the_middle(flux)
    slope = x * np.cos(angle) + y * np.sin(angle)
    # The slope runs from 0 to 1 across the cutout, whatever the angle.
    slope = (slope - slope.min()) / np.ptp(slope)
    return np.stack([band + 20 * _noise(band) * slope for band in flux]).astype(np.float32)


def negative(flux: Flux, rng: Generator) -> Flux:
    """Change the sign of all pixels."""
    return -flux


KINDS: Mapping[str, Callable[[Flux, Generator], Flux]] = {
    "trail": trail,
    "bleeding column": bleeding,
    "hot pixels": hot,
    "a band shifted by 10 px": shifted,
    "half missing": half,
    "gradient": gradient,
    "negative": negative,
}


def _present(flux: Flux) -> NDArray[np.int64]:
    return np.flatnonzero(np.isfinite(flux).any(axis=(1, 2)))


def _noise(band: Flux) -> float:
    """Measure the scatter of the pixels by the median absolute deviation; 0 for a missing band."""
    finite = band[np.isfinite(band)]
    # 1.4826 turns the median absolute deviation of Gaussian noise into its standard deviation.
    return float(1.4826 * np.median(np.abs(finite - np.median(finite)))) if len(finite) else 0.0


def _from_the_middle(flux: Flux) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side = np.arange(flux.shape[-1]) - (flux.shape[-1] - 1) / 2
    # The zero terms stretch both to [S, S].
    return side[:, None] + 0 * side, side + 0 * side[:, None]


def _with(flux: Flux, band: int, other: NDArray[np.floating]) -> Flux:
    changed = flux.copy()
    changed[band] = other
    return changed

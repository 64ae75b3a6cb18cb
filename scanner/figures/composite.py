"""Colour composites of cutouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scanner.survey.bands import BLUE_TO_RED, TRIPLES, WEIGHTS

Flux = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NO_DATA = np.array([52, 52, 60], dtype=np.uint8)
Q = 6.0


def choose_triple(bands: Sequence[str], present: Sequence[bool]) -> tuple[int, int, int]:
    """Choose the red, green and blue bands of a composite: indices, repeated where fewer than three are present."""
    there = [band for band, here in zip(bands, present, strict=True) if here]
    for names in TRIPLES:
        if set(names) <= set(there):
            return tuple(bands.index(name) for name in names)  # type: ignore[return-value]
    # Without a triple: the reddest band, a middle one and the bluest.
    ordered = sorted(there, key=BLUE_TO_RED.find) or list(bands[:1])
    middle = ordered[len(ordered) // 2]
    return bands.index(ordered[-1]), bands.index(middle), bands.index(ordered[0])


def compose_rgb(flux: Flux, bands: Sequence[str]) -> Pixels:
    """Compose a colour image of a cutout: ``flux`` [B, S, S] in nJy, NaN for no data, to uint8 [S, S, 3], north up.

    The scale follows the noise of the cutout. Pixels without data in all three bands are grey; where one band has no
    data, the mean of the others stands for it.

    Source: Lupton et al. (2004), PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    present = [bool(np.isfinite(plane).any()) for plane in flux]
    channels = np.stack([flux[index] * WEIGHTS.get(bands[index], 1.0) for index in choose_triple(bands, present)])
    valid = np.isfinite(channels)
    mean = np.where(valid, channels, 0).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    filled = np.where(valid, channels, mean)
    noise = max(_noise(filled), 1e-6)
    image: Pixels = make_lupton_rgb(*filled, minimum=-noise, stretch=9 * noise, Q=Q)
    image[~valid.any(axis=0)] = NO_DATA
    # The first row of FITS pixels is the lowest, that of an image the highest.
    return image[::-1]


def _noise(channels: Flux) -> float:
    """Estimate the noise by the differences of neighbouring pixels, which a smooth galaxy hardly affects."""
    steps = np.diff(channels, axis=-1)
    # 1.4826 turns the median into a standard deviation; a difference of two pixels has sqrt(2) times their noise.
    return float(np.median(np.abs(steps)) * 1.4826 / np.sqrt(2))

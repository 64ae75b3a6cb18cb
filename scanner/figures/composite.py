"""Colour composites of cutouts: the one way from fluxes to pixels of a picture, here and in a browser."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.survey.bands import BLUE_TO_RED, TRIPLES, WEIGHTS

Flux = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

NO_DATA = np.array([52, 52, 60], dtype=np.uint8)

CURVES: Mapping[str, Callable[[npt.NDArray[Any], float], npt.NDArray[Any]]] = {
    "asinh": lambda light, softness: np.arcsinh(softness * light) / np.arcsinh(softness),
    "sqrt": lambda light, softness: np.sqrt(light),
    "log": lambda light, softness: np.log1p(softness * light) / np.log1p(softness),
    "linear": lambda light, softness: light,
}
"""Shades of light from 0 (black) to 1 (white), by name; ``softness`` is how far faint light is raised."""

SOFTNESS = 150.0
BLACK, WHITE = -1.0, 220.0
"""Levels in units of the noise of a pixel: arcs of a few times the noise are seen, and cores keep their colours."""
FAINTEST = 0.001
"""Light below which the factor of a pixel's fluxes does not change, so that noise about black has no black specks."""
BRIGHTEST = 30.0
"""The level of white is no less than this part of the brightest pixels', for images with little noise or none."""


@dataclass(frozen=True)
class Stretch:
    """The numbers by which fluxes become a picture; one stretch may serve many cutouts.

    ``bands`` are those of red, green and blue (three times the same for a grey picture), ``gains`` the factors of their
    fluxes in nJy, and ``black`` and ``white`` levels of flux times gain. ``curve`` is a key of ``CURVES``.

    A pixel of fluxes F becomes, for c in red, green and blue::

        v[c]   = gains[c] * F[bands[c]]; where that is NaN, the mean of the others; NO_DATA where all are
        v[c]   = (v[c] - black) / (white - black)
        light  = max((v[0] + v[1] + v[2]) / 3, FAINTEST)
        out[c] = max(v[c], 0) * curve(light) / light
        out[c] = out[c] / max(out) where max(out) > 1, which keeps the colour of what is brighter than white
        byte   = floor(255 * out[c] + 0.5)

    Source: Lupton et al. (2004), PASP 116, 133.
    """

    bands: tuple[str, str, str]
    gains: tuple[float, float, float]
    black: float
    white: float
    curve: str = "asinh"
    softness: float = SOFTNESS


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


def choose_stretch(flux: Flux, bands: Sequence[str], channels: Sequence[str] | None = None) -> Stretch:
    """Choose the stretch of a cutout [B, S, S], or of many [N, B, S, S], in nJy, NaN for no data, by their noise.

    ``channels`` are the bands of red, green and blue; by default they are chosen among the bands with data.
    """
    if channels is None:
        present = [bool(np.isfinite(flux[..., index, :, :]).any()) for index in range(len(bands))]
        channels = [bands[index] for index in choose_triple(bands, present)]
    gains = [WEIGHTS.get(band, 1.0) for band in channels]
    # Planes [3][..., S, S] of flux times gain.
    planes = [flux[..., bands.index(band), :, :] * np.float32(gain) for band, gain in zip(channels, gains, strict=True)]
    noise = float(np.mean([_noise(plane) for plane in planes]))
    white = max(WHITE * noise, max(_brightest(plane) for plane in planes) / BRIGHTEST)
    red, green, blue = channels
    return Stretch((red, green, blue), (gains[0], gains[1], gains[2]), BLACK * noise, white or 1.0)


def compose_rgb(flux: Flux, bands: Sequence[str], stretch: Stretch | None = None) -> Pixels:
    """Compose a colour image of a cutout: ``flux`` [B, S, S] in nJy, NaN for no data, to uint8 [S, S, 3].

    The stretch is that of ``choose_stretch``, unless one is given. Pixels without data in all three bands are grey
    (``NO_DATA``); where some have no data, the mean of the others stands for them. The first row of the image is the
    last one of the cutout, since rows of FITS images go up.
    """
    stretch = stretch or choose_stretch(flux, bands)
    values = np.stack(
        [flux[bands.index(band)] * gain for band, gain in zip(stretch.bands, stretch.gains, strict=True)]
    ).astype(np.float64)
    valid = np.isfinite(values)
    mean = np.where(valid, values, 0).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    values = (np.where(valid, values, mean) - stretch.black) / (stretch.white - stretch.black)
    light = np.maximum(values.mean(axis=0), FAINTEST)
    # One factor for all channels: the ratios of a pixel's fluxes, its colour, do not change.
    out = np.maximum(values, 0) * (CURVES[stretch.curve](light, stretch.softness) / light)
    out /= np.maximum(out.max(axis=0), 1)
    image: Pixels = np.floor(255 * out + 0.5).astype(np.uint8).transpose(1, 2, 0)
    image[~valid.any(axis=0)] = NO_DATA
    return image[::-1]


def encode_png(image: Pixels) -> bytes:
    """Encode an image [H, W, 3] as PNG: the same pixels give the same bytes, without date or name."""
    from PIL import Image

    buffer = io.BytesIO()
    # The lowest level: noise hardly compresses, and a page of a hundred thumbnails should not wait for it.
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _noise(plane: Flux) -> float:
    """Estimate the noise by the differences of neighbouring pixels, which a smooth galaxy hardly affects."""
    steps = np.diff(plane, axis=-1)
    steps = np.abs(steps[np.isfinite(steps)])
    # 1.4826 turns the median into a standard deviation; a difference of two pixels has sqrt(2) times their noise.
    return float(np.median(steps)) * 1.4826 / np.sqrt(2) if steps.size else 0.0


def _brightest(plane: Flux) -> float:
    valid = plane[np.isfinite(plane)]
    return float(np.percentile(valid, 99.5)) if valid.size else 0.0

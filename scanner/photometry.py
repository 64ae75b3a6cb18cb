"""Fluxes in one round aperture, band by band: each band at its own pixels, above its own local sky."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from scanner import positions
from scanner.images import TileImages
from scanner.survey import AB_NANOJANSKY

DIAMETER = 3.0
"""Of the aperture, in arcsec."""

SKY_STEP = 2
"""The sky is measured on every second pixel of every second row: a quarter of the cost, no loss that counts."""

SKY_MESH = 64
"""In such pixels: 128 of the image's."""

SECTION = 2048

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Aperture:
    """Flux and its error (nJy, float32 [N]) of positions in one band; NaN where the band has no data."""

    flux: NDArray[np.float32]
    error: NDArray[np.float32]


def magnitude(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """AB magnitude of a flux in nJy, NaN where it is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, AB_NANOJANSKY - 2.5 * np.log10(flux), np.nan).astype(np.float32)


def measure(images: TileImages, ra: Floats, dec: Floats) -> list[Aperture]:
    """Aperture fluxes of sky positions (degrees, [N]) in every band of a tile."""
    return [
        measure_band(images, band, *positions.to_pixels(images, band, ra, dec)) for band in range(len(images.bands))
    ]


def measure_band(images: TileImages, band: int, x: Floats, y: Floats) -> Aperture:
    """Aperture fluxes of pixels [N] of one band, section by section."""
    flux, error = np.full((2, len(x)), np.nan, np.float32)
    if images.present[band]:
        image, variance = images.flux[band], images.variance[band]
        radius = DIAMETER / 2 / images.pixel_scale
        for view, which in _sections(image.shape, x, y, margin=int(radius) + 2):
            left, top = view[1].start, view[0].start
            part = None if variance is None else variance[view]
            flux[which], error[which] = _sum(image[view], part, x[which] - left, y[which] - top, radius)
    return Aperture(flux, error)


def _sections(
    shape: tuple[int, ...], x: Floats, y: Floats, margin: int
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.intp]]]:
    """Parts of an image, wide enough for the apertures in them, and which of the positions lie in each."""
    within = positions.inside(shape, x, y)
    row = np.where(within, np.nan_to_num(y) // SECTION, -1).clip(-1)
    column = np.where(within, np.nan_to_num(x) // SECTION, -1).clip(-1)
    row[within & (row < 0)] = 0
    column[within & (column < 0)] = 0
    for top in range(0, shape[0], SECTION):
        for left in range(0, shape[1], SECTION):
            which = np.flatnonzero((row == top // SECTION) & (column == left // SECTION))
            if len(which):
                yield (
                    (
                        slice(max(top - margin, 0), top + SECTION + margin),
                        slice(max(left - margin, 0), left + SECTION + margin),
                    ),
                    which,
                )


def _sum(
    image: Image, variance: Image | None, x: Floats, y: Floats, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums in circles, minus the local sky; masked pixels count as the mean of the others in the circle."""
    lost = np.isnan(image)
    data = np.where(lost, np.float32(0), image)
    sky, noise = _sky(data, lost, x, y)
    options = {"mask": lost, "subpix": 5}
    if variance is None:
        flux, _, flags = sep.sum_circle(data, x, y, radius, **options)
        error = noise * np.sqrt(np.pi) * radius
    else:
        safe = np.where(np.isnan(variance), np.float32(np.median(noise) ** 2), variance)
        flux, error, flags = sep.sum_circle(data, x, y, radius, var=safe, **options)
    flux = flux - sky * np.pi * radius**2
    empty = (flags & sep.APER_ALLMASKED) != 0
    return np.where(empty, np.nan, flux), np.where(empty, np.nan, error)


def _sky(data: Image, lost: NDArray[np.bool_], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Sky level and noise per pixel at positions."""
    step = slice(None, None, SKY_STEP)
    thin, thin_lost = np.ascontiguousarray(data[step, step]), np.ascontiguousarray(lost[step, step])
    if thin_lost.all():
        return np.zeros(len(x)), np.full(len(x), np.nan)
    background = sep.Background(thin, mask=thin_lost, bw=SKY_MESH, bh=SKY_MESH)
    row = np.clip(y // SKY_STEP, 0, thin.shape[0] - 1).astype(np.intp)
    column = np.clip(x // SKY_STEP, 0, thin.shape[1] - 1).astype(np.intp)
    return background.back()[row, column].astype(float), background.rms()[row, column].astype(float)

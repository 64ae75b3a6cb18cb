"""Fluxes in one round aperture, band by band: each band at its own pixels, above its own local sky."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from scanner.images import positions, sections
from scanner.images.tile_images import TileImages
from scanner.survey.survey import AB_NANOJANSKY

DIAMETER = 3.0
"""Of the aperture, in arcsec."""

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Aperture:
    """Flux and its error (nJy, float32 [N]) of positions in one band; NaN where the band has no data.

    The error is NaN as well where nothing tells of noise: no variance, and a sky of one value.
    """

    flux: NDArray[np.float32]
    error: NDArray[np.float32]


def magnitude(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """AB magnitude of a flux in nJy, NaN where it is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, AB_NANOJANSKY - 2.5 * np.log10(flux), np.nan).astype(np.float32)


def measure(images: TileImages, ra: Floats, dec: Floats) -> list[Aperture]:
    """Aperture fluxes of positions (degrees [N]) in every band."""
    return [
        measure_band(images, band, *positions.to_pixels(images, band, ra, dec)) for band in range(len(images.bands))
    ]


def measure_band(images: TileImages, band: int, x: Floats, y: Floats) -> Aperture:
    """Aperture fluxes of pixels [N] of one band, some rows at a time."""
    flux, error = np.full((2, len(x)), np.nan, np.float32)
    if len(x) and (sky := images.sky[band]) is not None:
        radius = DIAMETER / 2 / images.pixel_scale
        for rows, which in _rows(images, x, y, margin=int(radius) + 2):
            held = images.rows.held((rows, slice(0, images.shape[1])))
            image, variance = images.flux[band][held], images.variance[band]
            part = None if variance is None else variance[held]
            level, noise = sky.at(x[which], y[which])
            top = held[0].start + images.rows.view.start
            if part is not None and sky.typical > 0 and np.isnan(part).any():  # what it does not know, the sky tells
                part = np.where(np.isnan(part), np.float32(sky.typical**2), part)
            flux[which], error[which] = _sum(image, part, x[which], y[which] - top, radius, level, noise)
    return Aperture(flux, error)


def _rows(images: TileImages, x: Floats, y: Floats, margin: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Rows of a tile, with some more around them, and which of the positions lie in each."""
    inside = positions.inside(images.shape, x, y)
    for strip in sections.strips(images.shape, margin):
        which = np.flatnonzero(inside & strip.owns(y))
        if len(which):
            yield strip.view, which


def _sum(
    image: Image, variance: Image | None, x: Floats, y: Floats, radius: float, level: Floats, noise: Floats
) -> tuple[Floats, Floats]:
    """Sums in circles, minus the local sky; masked pixels count as the mean of the others in the circle."""
    lost = np.isnan(image)
    noise = np.where(noise > 0, noise, np.nan)
    options = {"mask": lost if lost.any() else None, "subpix": 0}  # exact, and quicker than 25 parts of a pixel
    if variance is None:
        flux, _, flags = sep.sum_circle(image, x, y, radius, **options)
        error = noise * np.sqrt(np.pi) * radius
    else:
        flux, error, flags = sep.sum_circle(image, x, y, radius, var=variance, **options)
    flux = flux - level * np.pi * radius**2
    empty = (flags & sep.APER_ALLMASKED) != 0
    return np.where(empty, np.nan, flux), np.where(empty, np.nan, error)

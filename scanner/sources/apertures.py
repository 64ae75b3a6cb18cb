"""Fluxes in one round aperture, band by band: each band at its own pixels, above its own local background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from scanner.images.sections import cut_strips, inside
from scanner.images.tile_images import TileImages
from scanner.survey.survey import ab_magnitude

DIAMETER = 3.0
"""Diameter of the aperture in arcsec."""

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Aperture:
    """Flux and its error (nJy, float32 [N]) of positions in one band; NaN where the band has no data.

    The error is also NaN where the noise is unknown: no variance, and a background of one value.
    """

    flux: NDArray[np.float32]
    error: NDArray[np.float32]


def magnitude(flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """AB magnitude of a flux in nJy, NaN where it is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flux > 0, ab_magnitude(flux), np.nan).astype(np.float32)


def measure_band(images: TileImages, band: int, x: Floats, y: Floats) -> Aperture:
    """Measure aperture fluxes at pixels [N] of one band; masked pixels count as the mean of the others."""
    flux, error = np.full((2, len(x)), np.nan, np.float32)
    # A table of the whole survey may have no row here: then no background is measured.
    if not len(x) or (background := images.background[band]) is None:
        return Aperture(flux, error)
    plane = images.variance[band]
    radius = DIAMETER / 2 / images.pixel_scale  # pixels
    on_tile = inside(images.shape, x, y)
    # Some rows at a time: masks and filled variances stay small, and a strip does what the whole tile does.
    for strip in cut_strips(images.shape, margin=int(radius) + 2):
        which = np.flatnonzero(on_tile & strip.owns(y))
        if not len(which):
            continue
        local = images.strip.local((strip.view, slice(0, images.shape[1])))
        image, right, up = images.flux[band][local], x[which], y[which] - (local[0].start + images.strip.view.start)
        level, noise = background.at(x[which], y[which])
        masked = np.isnan(image)
        # subpix 0: exact overlap of circle and pixel, faster than 25 parts of a pixel.
        options = {"mask": masked if masked.any() else None, "subpix": 0}
        if plane is None:
            total, _, flags = sep.sum_circle(image, right, up, radius, **options)
            scatter = np.where(noise > 0, noise, np.nan) * np.sqrt(np.pi) * radius
        else:
            variance = plane[local]
            if background.typical > 0 and np.isnan(variance).any():  # the background's noise fills the gaps
                variance = np.where(np.isnan(variance), np.float32(background.typical**2), variance)
            total, scatter, flags = sep.sum_circle(image, right, up, radius, var=variance, **options)
        empty = (flags & sep.APER_ALLMASKED) != 0
        flux[which] = np.where(empty, np.nan, total - level * np.pi * radius**2)
        error[which] = np.where(empty, np.nan, scatter)
    return Aperture(flux, error)

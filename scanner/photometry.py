"""Fluxes in one round aperture, band by band: each band at its own pixels, above its own local sky."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from scanner import positions, sections
from scanner.images import TileImages
from scanner.sky import Sky
from scanner.survey import AB_NANOJANSKY

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


def measure(images: TileImages, x: Floats, y: Floats, ra: Floats, dec: Floats) -> list[Aperture]:
    """Aperture fluxes of positions [N] in every band: at pixels of the detection band, and there on the sky (degrees).

    A position belongs to the same section in all bands: that of its pixel in the detection band.
    """
    home = np.stack([x, y])
    return [
        measure_band(images, band, *positions.to_pixels(images, band, ra, dec), home)
        for band in range(len(images.bands))
    ]


def measure_band(
    images: TileImages, band: int, x: Floats, y: Floats, home: NDArray[np.float64] | None = None
) -> Aperture:
    """Aperture fluxes of pixels [N] of one band, section by section; ``home`` [2, N]: pixels that say which section."""
    flux, error = np.full((2, len(x)), np.nan, np.float32)
    if images.present[band]:
        image, variance = images.flux[band], images.variance[band]
        radius = DIAMETER / 2 / images.pixel_scale
        pixels = np.stack([x, y])
        for view, which in _sections(images.shape, pixels, pixels if home is None else home, margin=int(radius) + 2):
            held = images.rows.held(view)
            left, top = held[1].start, held[0].start + images.rows.view.start
            part = None if variance is None else variance[held]
            flux[which], error[which] = _sum(image[held], part, x[which] - left, y[which] - top, radius)
    return Aperture(flux, error)


def _sections(
    shape: tuple[int, int], pixels: NDArray[np.float64], home: NDArray[np.float64], margin: int
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.intp]]]:
    """Parts of an image, wide enough for the apertures in them, and which of the positions lie in each."""
    within = positions.inside(shape, *pixels)
    column, row = sections.nearest(home)
    for section in sections.sections(shape, (sections.SECTION[0], shape[1])):  # as wide as the image: no copies
        rows, columns = section.core
        here = (row >= rows.start) & (row < rows.stop) & (column >= columns.start) & (column < columns.stop)
        which = np.flatnonzero(within & here)
        if len(which):
            away = math.ceil(np.abs(pixels - home)[:, which].max())
            yield sections.wider(section.core, margin + away, shape), which


def _sum(
    image: Image, variance: Image | None, x: Floats, y: Floats, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums in circles, minus the local sky; masked pixels count as the mean of the others in the circle."""
    data, lost = np.ascontiguousarray(image), np.isnan(image)
    sky = Sky.of(data)
    level, noise = sky.at(x, y) if sky else (np.zeros(len(x)), np.full(len(x), np.nan))
    noise[noise <= 0] = np.nan
    options = {"mask": lost, "subpix": 0}  # exact, and quicker than 25 parts of a pixel
    if variance is None:
        flux, _, flags = sep.sum_circle(data, x, y, radius, **options)
        error = noise * np.sqrt(np.pi) * radius
    else:
        unknown = np.isnan(variance) & ~lost
        if unknown.any() and np.isfinite(noise).any():
            variance = np.where(unknown, np.float32(np.nanmedian(noise) ** 2), variance)
        flux, error, flags = sep.sum_circle(data, x, y, radius, var=variance, **options)
    flux = flux - level * np.pi * radius**2
    empty = (flags & sep.APER_ALLMASKED) != 0
    return np.where(empty, np.nan, flux), np.where(empty, np.nan, error)

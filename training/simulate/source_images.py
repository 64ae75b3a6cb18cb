"""Images of real galaxies as lensed sources: HST images without their noise, of unit flux and half-light radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

FILES = (
    "sim/cosmos_real_galaxies_btk/real_galaxy_images_extension.fits.gz",
    "sim/paltas_cosmos_and_hst_psf/real_galaxy_images_23.5_n1.fits.gz",
)
"""Images of HST galaxies below the folder of development data, one galaxy in each HDU."""
ABOVE = 2.0
"""A pixel belongs to a galaxy where the smoothed image exceeds its noise so many times."""
SMALLEST = 3.0
"""px. A galaxy of a smaller half-light radius shows no shape."""


@dataclass(frozen=True)
class SourceImage:
    """``pixels`` [H, W] of unit sum about the centroid (``x``, ``y``), ``radius`` its half-light radius in pixels."""

    pixels: Array
    x: float
    y: float
    radius: float

    def brightness(self, dx: Array, dy: Array, size: float) -> Array:
        """Interpolate the brightness per square arcsec at offsets in arcsec; ``size`` is the half-light radius."""
        scale = self.radius / size  # pixels per arcsec
        at = np.stack([self.y + dy * scale, self.x + dx * scale])
        return np.asarray(ndimage.map_coordinates(self.pixels, at, order=1, cval=0.0) * scale**2)


def find_galaxies(data: Path) -> tuple[Path, ...]:
    """Find the files of ``FILES`` that exist below ``data``."""
    return tuple(data / name for name in FILES if (data / name).is_file())


def read_source_images(files: Sequence[Path]) -> tuple[SourceImage, ...]:
    """Read the galaxies that show a shape, one in each HDU of the files."""
    images = []
    for path in files:
        with fits.open(path) as hdus:
            images += [_isolate(np.asarray(hdu.data, float)) for hdu in hdus if hdu.data is not None]
    return tuple(image for image in images if image is not None)


def _isolate(pixels: Array) -> SourceImage | None:
    """Keep the galaxy in the middle of an image, without the noise around it."""
    edge = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()])
    noise = 1.4826 * np.median(np.abs(edge - np.median(edge)))
    smooth = ndimage.gaussian_filter(pixels - np.median(edge), 1.0)
    # Noise falls by the sum of the squared kernel, 1 / (2 sqrt(pi)) for a width of one pixel.
    labels, _ = ndimage.label(smooth > ABOVE * noise / (2 * np.sqrt(np.pi)))
    middle = labels[len(labels) // 2, labels.shape[1] // 2]
    if middle == 0:
        return None
    galaxy = np.where(ndimage.binary_dilation(labels == middle, iterations=1), np.maximum(smooth, 0), 0)
    galaxy /= galaxy.sum()
    y, x = ndimage.center_of_mass(galaxy)
    rows, columns = np.indices(galaxy.shape)
    order = np.argsort(r := np.hypot(rows - y, columns - x).ravel())
    radius = float(r[order][np.searchsorted(np.cumsum(galaxy.ravel()[order]), 0.5)])
    return SourceImage(galaxy, float(x), float(y), radius) if radius >= SMALLEST else None

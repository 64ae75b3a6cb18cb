"""Small tiles in UNIONS names: round sources on noise, five bands, written as the survey writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from catalogs.sky import unions_grid

ZERO_POINTS = {"u": 30.0, "g": 27.0, "r": 30.0, "i": 30.0, "z": 27.0}
NOISE = 15.0  # nJy a pixel
SHIFT_OF_I = 0.672  # px, as in the survey


def names(count: int, row: int = 292) -> list[str]:
    """Names of neighbouring tiles."""
    return [f"{200 + number:03d}.{row:03d}" for number in range(count)]


def write(
    folder: Path, name: str, *, size: int = 360, bands: str = "ugriz", objects: int = 40, seed: int | None = None
) -> Path:
    """Write the band files of tile ``name`` to ``folder``; the same name gives the same pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(name.replace(".", "")) if seed is None else seed)
    x, y = rng.uniform(20, size - 20, (2, objects))
    flux = 10 ** rng.uniform(3.0, 4.5, objects)
    width = rng.uniform(1.8, 4.0, objects)
    for band in "ugriz":
        shift = SHIFT_OF_I if band == "i" else 0.0
        colour = rng.uniform(0.3, 2.0, objects)
        image = rng.normal(0, NOISE, (size, size)) + scene(size, x + shift, y, flux * colour, width)
        if band in bands:
            if band in "ur":
                image[: size // 20, : size // 20] = 0  # a gap, as the survey marks it
            _write_band(folder, name, band, image.astype(np.float32), shift)
    return folder


def scene(
    size: int, x: NDArray[np.float64], y: NDArray[np.float64], flux: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum of round Gaussians of total ``flux`` at 0-based ``x``, ``y`` and of ``width`` (sigma) pixels."""
    axis = np.arange(size)
    image = np.zeros((size, size))
    for at_x, at_y, total, sigma in zip(x, y, flux, width, strict=True):
        across = np.exp(-0.5 * ((axis - at_x) / sigma) ** 2)
        up = np.exp(-0.5 * ((axis - at_y) / sigma) ** 2)
        image += total / (2 * np.pi * sigma**2) * up[:, None] * across
    return image


def wcs(name: str, size: int, shift: float = 0.0) -> WCS:
    """Tangent projection about the tile's centre, as if the tile were ``size`` pixels a side."""
    projection = WCS(naxis=2)
    projection.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    projection.wcs.crval = list(unions_grid.centre(name))
    projection.wcs.crpix = [(size + 1) / 2 + shift, (size + 1) / 2]
    projection.wcs.cdelt = [-unions_grid.PIXEL_SCALE / 3600, unions_grid.PIXEL_SCALE / 3600]
    return projection


def band_file(folder: Path, name: str, band: str) -> Path:
    x, y = (int(part) for part in name.split("."))
    file = {
        "u": f"CFIS.{x:03d}.{y:03d}.u.fits",
        "g": f"calexp-CFIS_{x}_{y}.fits",
        "r": f"CFIS.{x:03d}.{y:03d}.r.fits",
        "i": f"PSS.DR4.{x:03d}.{y:03d}.i.fits",
        "z": f"WISHES.{x}.{y}.z.fits",
    }[band]
    return folder / file


def _write_band(folder: Path, name: str, band: str, image: NDArray[np.float32], shift: float) -> None:
    to_counts = np.float32(10 ** (0.4 * (ZERO_POINTS[band] - 31.4)))
    header = wcs(name, len(image), shift).to_header()
    counts = image * to_counts
    if band in "gz":
        planes = [
            fits.PrimaryHDU(),
            fits.ImageHDU(counts, header, name="IMAGE"),
            fits.ImageHDU(np.zeros(image.shape, np.int32), header, name="MASK"),
            fits.ImageHDU(np.full(image.shape, (NOISE * to_counts) ** 2, np.float32), header, name="VARIANCE"),
        ]
    else:
        planes = [fits.PrimaryHDU(counts, header)]
    fits.HDUList(planes).writeto(band_file(folder, name, band), overwrite=True)

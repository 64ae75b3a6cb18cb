"""Small tiles of three surveys: stars, and galaxies that could be lenses by brightness, size and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from catalogs.sky import unions_grid
from scanner.survey.survey import load
from tests.support.small_tiles import SHIFT_OF_I, scene

ARCSEC, NOISE, FWHM = 78, 12.0, 0.75  # side of a tile, nJy a pixel, seeing
TILES = {"unions": "200.292", "hsc": "9813-4,5", "legacysurvey": "2100p300"}
COLOURS = {"u": 2.6, "g": 1.45, "r": 0.0, "i": -0.65, "z": -1.0}
"""Of a massive galaxy at redshift 0.4, less its r."""


def write(folder: Path, survey: str, name: str = "") -> Path:
    """Write a tile of a survey in its form: UNIONS plain, with sums and an int16 band, HSC gzipped, Legacy by fpack."""
    folder.mkdir(parents=True, exist_ok=True)
    name, described = name or TILES[survey], load(survey)
    rng, scale = np.random.default_rng(5), described.pixel_scale
    side = round(ARCSEC / scale)
    # Galaxies on a grid with room between them, and stars between those.
    grid = np.stack(np.meshgrid(np.arange(0.2, 1, 0.3), np.arange(0.2, 1, 0.3)), -1).reshape(-1, 2) * side
    stars = (grid[:, None] + np.array([[0.12, 0.03], [0.04, 0.13]]) * side).reshape(-1, 2) % side
    place = np.concatenate([grid + rng.uniform(-1, 1, grid.shape), stars])
    is_star = np.arange(len(place)) >= len(grid)
    sigma = np.where(is_star, FWHM / 2.355, 0.75) / scale
    mag = np.where(is_star, rng.uniform(18.5, 20.5, len(place)), rng.uniform(19.3, 20.3, len(place)))
    for band in "ugriz":
        if band not in described.band_names or (survey == "legacysurvey" and band == "i"):
            continue
        shift = SHIFT_OF_I if survey == "unions" and band == "i" else 0.0
        flux = 10 ** (-0.4 * (mag + np.where(is_star, 0.0, COLOURS[band]) - 31.4))
        image = scene(side, place[:, 0] + shift, place[:, 1], flux, sigma) + rng.normal(0, NOISE, (side, side))
        image[:20, :30] = np.nan
        counts = (image / described.band(band).to_nanojansky).astype(np.float32)
        _write(folder, survey, name, band, counts, _wcs(survey, name, side, scale, shift))
    return folder


def _wcs(survey: str, name: str, side: int, scale: float, shift: float) -> fits.Header:
    projection = WCS(naxis=2)
    projection.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    projection.wcs.crval = list(unions_grid.centre(name)) if survey == "unions" else [210.05, 30.0]
    projection.wcs.crpix = [(side + 1) / 2 + shift, (side + 1) / 2]
    projection.wcs.cdelt = [-scale / 3600, scale / 3600]
    return projection.to_header()


def _write(folder: Path, survey: str, name: str, band: str, counts: NDArray[np.float32], header: fits.Header) -> None:
    per_count = load(survey).band(band).to_nanojansky
    gap, variance = np.isnan(counts), np.full_like(counts, (NOISE / per_count) ** 2)
    header["COMMENT"] = "kept as it is"
    if survey == "legacysurvey":
        # The gap is 0, without inverse variance.
        for kind, data in (("image", np.where(gap, 0, counts)), ("invvar", np.where(gap, 0, 1 / variance))):
            packed = fits.CompImageHDU(
                data.astype(np.float32), header, compression_type="RICE_1", quantize_level=4, quantize_method=1,
                dither_seed=7,
            )  # fmt: skip
            path = folder / f"legacysurvey-{name}-{kind}-{band}.fits.fz"
            fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path, checksum=True, overwrite=True)
        return
    planes = [
        fits.ImageHDU(counts, header, name="IMAGE"),
        fits.ImageHDU(np.where(gap, 1 << 8, 0).astype(np.int32), header, name="MASK"),
        fits.ImageHDU(variance, header, name="VARIANCE"),
    ]
    if survey == "hsc":
        path = folder / f"calexp-HSC-{band.upper()}-{name}.fits.gz"
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(path, overwrite=True)
        return
    x, y = (int(part) for part in name.split("."))
    files = {
        "u": f"CFIS.{x:03d}.{y:03d}.u.fits",
        "g": f"calexp-CFIS_{x}_{y}.fits",
        "r": f"CFIS.{x:03d}.{y:03d}.r.fits",
        "i": f"PSS.DR4.{x:03d}.{y:03d}.i.fits",
        "z": f"WISHES.{x}.{y}.z.fits",
    }
    if band in "gz":
        hdus = [fits.PrimaryHDU(), *planes]
    elif band == "i":
        # Whole numbers of 16 bits in steps of 0.1 counts.
        whole = np.where(gap, -32768, np.rint(np.nan_to_num(counts) / 0.1)).astype(np.int16)
        hdu = fits.PrimaryHDU(whole, header)
        hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.1, 0.0, -32768
        hdus = [hdu]
    else:
        hdus = [fits.PrimaryHDU(np.where(gap, 0, counts), header)]
    fits.HDUList(hdus).writeto(folder / files[band], checksum=True, overwrite=True, output_verify="ignore")

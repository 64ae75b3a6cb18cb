"""Files of a scene: those of a UNIONS tile, with the survey's names, HDUs and zero points, and the truth table."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.atomic import make_folder
from scanner.images.sky.wcs import CelestialWCS
from scanner.survey import survey, templates
from scanner.survey.bands import BANDS
from scanner.survey.survey import AB_NANOJANSKY
from training.simulate.conditions import BandConditions
from training.simulate.scene import Scene

ZERO_POINT = {"u": 30.0, "g": 27.0, "r": 30.0, "i": 30.0, "z": 27.0}
WITH_PLANES = ("g", "z")  # with HDUs IMAGE, MASK and VARIANCE, as of the LSST pipeline
ZERO_IS_MISSING = ("u", "r")
NO_DATA_BIT = 8
SOFTER = 0.25
"""RICE quantisation step in units of the noise."""


def file_name(tile: str, band: str) -> str:
    """Name the file of a band, as the survey file does."""
    x, y = map(int, tile.split("."))
    return templates.fill(survey.load("unions").band(band).files[0], {"x": x, "y": y})


def write_tile(scene: Scene, folder: Path, compress: bool = False) -> list[Path]:
    """Write the present bands and ``truth-<tile>.csv``, with ``compress`` as RICE ``.fits.fz``; returns the paths."""
    make_folder(folder)
    written = []
    for index, band in enumerate(BANDS):
        if not scene.conditions[index].present:
            continue
        path = folder / (file_name(scene.name, band) + (".fz" if compress else ""))
        hdus = _hdus(scene.flux[index], scene.conditions[index], scene.wcs[index], compress)
        hdus.writeto(path, overwrite=True, checksum=False)
        written.append(path)
    truth = folder / f"truth-{scene.name}.csv"
    write_truth(scene, truth)
    return [*written, truth]


def write_truth(scene: Scene, path: Path) -> None:
    """Write the truth table as CSV: positions to a milliarcsecond, other numbers to four decimals."""
    table = scene.truth.copy()
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".7f" if name in ("ra", "dec") else ".4f"
    table.write(path, format="ascii.csv", overwrite=True)


def _hdus(flux: NDArray[np.float32], conditions: BandConditions, wcs: CelestialWCS, compress: bool) -> fits.HDUList:
    scale = 10 ** (0.4 * (ZERO_POINT[conditions.band] - AB_NANOJANSKY))
    missing = ~np.isfinite(flux)
    pixels = np.where(missing, 0 if conditions.band in ZERO_IS_MISSING else np.nan, flux * scale).astype(np.float32)
    header = wcs.to_header()
    header["FILTER"], header["MAGZERO"], header["SIMULATE"] = conditions.band, ZERO_POINT[conditions.band], True
    header["GALSIM"] = (galsim.__version__, "version that drew the objects")
    header["SEEING"] = (conditions.fwhm, "FWHM of the simulated PSF, arcsec")
    if conditions.band not in WITH_PLANES:
        return fits.HDUList(
            [fits.PrimaryHDU(), _packed(pixels, header)] if compress else [fits.PrimaryHDU(pixels, header)]
        )
    mask = np.where(missing, 1 << NO_DATA_BIT, 0).astype(np.int32)
    variance = np.full(flux.shape, (conditions.rms * scale) ** 2, np.float32)
    planes = [("IMAGE", pixels, header), ("MASK", mask, _mask_header(wcs)), ("VARIANCE", variance, wcs.to_header())]
    hdus = [
        _packed(data, head, name) if compress else fits.ImageHDU(data, head, name=name) for name, data, head in planes
    ]
    return fits.HDUList([fits.PrimaryHDU(), *hdus])


def _mask_header(wcs: CelestialWCS) -> fits.Header:
    header = wcs.to_header()
    header["HIERARCH MP_NO_DATA"] = NO_DATA_BIT
    return header


def _packed(data: NDArray[np.generic], header: fits.Header, name: str | None = None) -> fits.CompImageHDU:
    """Compress by RICE; images are quantised at a quarter of the noise with a fixed dither that keeps zeros and NaN."""
    if data.dtype.kind == "i":
        return fits.CompImageHDU(data, header, name=name, compression_type="RICE_1")
    if name == "VARIANCE":  # an absolute step (negative), no dither: a smooth plane in a few bytes a row, and no gzip
        step = 1e-3 * float(np.median(data))  # stream, whose header would tell the time
        return fits.CompImageHDU(
            data, header, name=name, compression_type="RICE_1", quantize_level=-step, quantize_method=-1
        )
    return fits.CompImageHDU(
        data,
        header,
        name=name,
        compression_type="RICE_1",
        quantize_level=1 / SOFTER,
        quantize_method=2,
        dither_seed=1,
    )


def tile_names(number: int) -> list[str]:
    """List tiles of rows 240 to 260 of the UNIONS grid (declination 30 to 40), in a fixed order."""
    return [f"{100 + k % 400:03d}.{240 + k // 400:03d}" for k in range(number)]

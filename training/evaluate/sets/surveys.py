"""One galaxy in three surveys, among other galaxies of one of them that are scaled to its brightness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.calibration import calibrate
from scanner.images.flux_units import choose_zero_point, read_cards
from scanner.images.sky.wcs import flat_wcs
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from scanner.survey.bands import BANDS
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.cutouts import real_fields
from training.evaluate.sets.lenses import magnitudes

FOLDER = Path("fields") / "sn2006bh_griz_des_ps1_sdss"
OTHERS = "des_stamps"
SURVEYS = {"DES": 0.263, "PS1": 0.25, "SDSS": 0.396}
"""Pixel scale in arcsec. Headers give the zero points."""
SEARCHED = 15  # px about the middle, where the nucleus of the galaxy is searched

Flux = NDArray[np.float32]


@dataclass(frozen=True)
class ThreeSurveys:
    """``flux`` [3 + M, 5, S, S]: the galaxy in DES, PS1 and SDSS, then M others in DES; u is NaN.

    The others are scaled to the flux of the galaxy in r within 1 arcsec, so that brightness does not identify it.
    """

    flux: Flux
    name: str = "three surveys"
    galaxy: int = len(SURVEYS)


def load(data: Path, side: int) -> ThreeSurveys:
    """Cut the galaxy of each survey and the others around their brightest pixel in r.

    The WCS of the SDSS cutout is that of its whole frame and of no use. Cutouts keep the orientation of their survey's
    pixels: SDSS differs from the others by a quarter turn and a flip.
    """
    frame = WindowFrame(BANDS, side, PIXEL_SCALE)
    images = [*(_survey(data / FOLDER, name) for name in SURVEYS), *_others(data)]
    flux = np.concatenate([_window(image, frame) for image in images])
    magnitude = magnitudes(flux[:, BANDS.index("r")])
    # All objects get the mean brightness of the galaxy in the three surveys.
    brighter = 10 ** (0.4 * (magnitude - magnitude[: len(SURVEYS)].mean()))
    brighter[: len(SURVEYS)] = 1
    return ThreeSurveys(flux * brighter.astype(np.float32)[:, None, None, None])


def _window(images: TileImages, frame: WindowFrame) -> Flux:
    r = np.nan_to_num(images.flux[BANDS.index("r")])
    # The nucleus is the brightest pixel near the middle.
    middle = np.array(r.shape) // 2
    part = r[middle[0] - SEARCHED : middle[0] + SEARCHED + 1, middle[1] - SEARCHED : middle[1] + SEARCHED + 1]
    y, x = (np.array(np.unravel_index(part.argmax(), part.shape)) + middle - SEARCHED).astype(np.float64)
    return Windows(images, Sources.at(images, np.array([x]), np.array([y])), frame).gather(0, 1)


def _survey(folder: Path, survey: str) -> TileImages:
    scale = SURVEYS[survey]
    planes = {}
    for band in "griz":
        path = folder / f"{survey}_{band}.fits.gz"
        if not path.is_file():
            hint = "Give --data the folder of development data, or --tasks without surveys."
            raise ScannerError(ErrorCode.EVALUATE_NO_DATA, f"There is no file {path}.", hint)
        with fits.open(path) as hdus:
            zero_point = choose_zero_point(read_cards(hdus[0], hdus, path), path, scale, default=np.nan)
            planes[band] = calibrate(np.asarray(hdus[0].data, np.float32), zero_point, zero_is_missing=False)
    shape = planes["r"].shape
    flux = np.full((len(BANDS), *shape), np.nan, np.float32)
    for band, plane in planes.items():
        flux[BANDS.index(band)] = plane
    # The WCS is invented: objects are found by their pixels, so no position on the sky is needed.
    wcs = flat_wcs(shape, scale)
    return TileImages.of(survey, BANDS, flux, (wcs,) * len(BANDS), scale, detection_band="r")


def _others(data: Path) -> Iterator[TileImages]:
    for frame in real_fields.frames(data):
        if frame.source == OTHERS:
            yield real_fields.read(frame)

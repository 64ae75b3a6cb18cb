"""Hand-off to lens modelling: for each candidate and band its pixels, their noise, the PSF and a mask.

A candidate gets a folder with a FITS file for each band (HDUs ``FLUX``, ``RMS``, ``PSF`` and ``MASK``), and
``lens.json``, the same as the keyword arguments of lenstronomy's classes (Birrer & Amara 2018, arXiv:1803.09746).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.atomic import replacing, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.provenance import software
from scanner.candidates.contributions import file_name
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources, detect
from scanner.survey.survey import AB_NANOJANSKY
from scanner.windows.by_position import WindowReader
from scanner.windows.native import NativeCutout, crop, cut_native, read_around
from scanner.windows.stars import FEWEST, cut_stars, draw_moffat, estimate_seeing, find_stars, fit_moffat

Image = NDArray[np.float32]

FIELD = 120.0
"""Arcsec: stars are sought as far as this from a candidate, since the PSF changes over a tile."""
REACH = 2.4
"""Arcsec, half the side of a PSF."""
MANY = 5
"""Stars whose median is a PSF; of fewer, a Moffat profile is fitted."""
NO_DATA, OTHER_SOURCE = 1, 2
"""Bits of a mask."""
INNER = 4.0
"""Arcsec: a source as near as this to a candidate may be a part of it, such as an arc, and is not masked."""
ELLIPSE = 3.0
"""Half-axes of another source, in units of its second moments, within which pixels are masked."""
_MIN_SNR = 10.0


@dataclass(frozen=True)
class Target:
    """A candidate: its name, its tile, and its position in degrees ICRS."""

    name: str
    tile: str
    ra: float
    dec: float


@dataclass(frozen=True)
class BandData:
    """One band of a candidate: ``flux`` and ``rms`` [S, S] in nJy, ``psf`` [P, P] of sum 1, and ``mask`` bits [S, S].

    ``has_variance``: the noise is that of the survey's variance plane, else that of the background. ``stars`` is the
    number of stars of the PSF, ``is_fitted`` whether it is a Moffat profile. ``level`` is that of the background, in
    nJy, which is not subtracted.
    """

    cutout: NativeCutout
    rms: Image
    psf: NDArray[np.float64]
    mask: NDArray[np.uint8]
    has_variance: bool
    stars: int
    is_fitted: bool
    level: float


def hand_off(
    targets: Iterable[Target], reader: WindowReader, out: Path, size: float, report: Callable[[str], None]
) -> tuple[int, int]:
    """Write a folder for each candidate below ``out``; returns how many were written, and how many lack a band or all.

    ``size`` is the side of a cutout in arcsec. ``report`` takes a sentence on each band that is left out, and why.

    Raises:
        ScannerError: ``output.*``.
    """
    written = incomplete = 0
    for target in targets:
        try:
            bands, missing = measure(target, reader, size)
        except ScannerError as error:
            report(f"{target.name}: {error.message} [{error.code}]")
            incomplete += 1
            continue
        for band, why in missing.items():
            report(f"{target.name}, band {band}: {why}")
        incomplete += bool(missing) or not bands
        if not bands:
            continue
        folder = out / file_name(target.name)
        for band, data in bands.items():
            _write_band(folder / f"{band}.fits", target, data)
        # The last file: a folder with it is complete.
        write_json(folder / "lens.json", describe(target, bands))
        written += 1
    return written, incomplete


def measure(target: Target, reader: WindowReader, size: float) -> tuple[dict[str, BandData], dict[str, str]]:
    """Measure the bands of a candidate; beside them, why a band with data is left out.

    Raises:
        ScannerError: ``query.outside_coverage``, ``handoff.no_stars``, or a code that starts with ``tile.``.
    """
    opened = reader.open_tile(target.tile, with_variance=True)
    try:
        images = read_around(opened, target.tile, target.ra, target.dec, FIELD)
    finally:
        opened.close()
    sources = detect(images, _MIN_SNR)
    seeing = estimate_seeing(sources)
    if seeing is None:
        message = f"Within {FIELD:g} arcsec of {target.ra:.5f} {target.dec:+.5f} too few stars show the PSF."
        raise ScannerError(ErrorCode.HANDOFF_NO_STARS, message, "Leave the candidate out, or give its PSF yourself.")
    stars = find_stars(sources, seeing)
    bands: dict[str, BandData] = {}
    missing: dict[str, str] = {}
    for band, name in enumerate(images.bands):
        cutout = cut_native(images, band, target.ra, target.dec, size) if images.present[band] else None
        background = images.background[band]
        if cutout is None or background is None:
            continue
        psf = measure_psf(images, sources, stars, band)
        if psf is None:
            missing[name] = f"fewer than {FEWEST} of {len(stars)} stars show the PSF"
            continue
        x, y = (np.array([float(axis[0])]) for axis in images.to_pixels(band, *_sky(target)))
        level, noise = background.at(x, y)
        variance = images.variance[band]
        rms = np.full(cutout.flux.shape, noise[0], np.float32)
        if variance is not None:
            rms = np.sqrt(crop(variance, cutout.slices))
        mask = make_mask(images, sources, target, band, cutout)
        mask[~(rms > 0)] |= NO_DATA
        kernel, count, fitted = psf
        bands[name] = BandData(cutout, rms, kernel, mask, variance is not None, count, fitted, float(level[0]))
    return bands, missing


def measure_psf(
    images: TileImages, sources: Sources, stars: NDArray[np.intp], band: int
) -> tuple[NDArray[np.float64], int, bool] | None:
    """Measure the PSF of a band: its image, the number of its stars, and whether it is a fit; None without enough."""
    stamps = cut_stars(images, sources, stars, band, REACH)
    if len(stamps) < FEWEST:
        return None
    median = np.median(stamps, axis=0)
    if len(stamps) >= MANY:
        return median / median.sum(), len(stamps), False
    profile = fit_moffat(median, images.pixel_scale)
    if profile is None:
        return None
    return draw_moffat(profile, len(median) // 2, images.pixel_scale), len(stamps), True


def make_mask(
    images: TileImages, sources: Sources, target: Target, band: int, cutout: NativeCutout
) -> NDArray[np.uint8]:
    """Mark the pixels without data, and those of other sources, in a cutout.

    A pixel that is nearer to the candidate than to the other source stays, so that no neighbour takes an arc away.
    """
    mask = np.where(np.isfinite(cutout.flux), 0, NO_DATA).astype(np.uint8)
    rows, columns = cutout.slices
    y, x = np.mgrid[rows.start : rows.stop, columns.start : columns.stop]
    centre_x, centre_y = columns.start + cutout.x, rows.start + cutout.y
    scale, shape = images.pixel_scale, sources.columns
    at_x, at_y = sources.pixels[band]
    away = np.hypot(at_x - centre_x, at_y - centre_y) * scale
    for one in np.flatnonzero(away > INNER).tolist():
        a, b = (max(ELLIPSE * float(shape[axis][one]) / scale, 1.0) for axis in ("a", "b"))
        angle = np.radians(float(shape["theta"][one]))
        u, v = x - at_x[one], y - at_y[one]
        along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
        is_nearer = np.hypot(u, v) < np.hypot(x - centre_x, y - centre_y)
        mask[((along / a) ** 2 + (across / b) ** 2 <= 1) & is_nearer] |= OTHER_SOURCE
    return mask


def describe(target: Target, bands: dict[str, BandData]) -> dict[str, Any]:
    """Make the content of ``lens.json``: keyword arguments of lenstronomy, for each band and for the model.

    Angles are offsets from the position in arcsec, to the east and to the north. In the lists of images, rows come
    first. The model is a singular isothermal ellipsoid with shear, a Sersic lens galaxy and a Sersic source; its
    parameters are places to start from, not measurements.
    """
    return {
        "name": target.name, "tile": target.tile, "ra": target.ra, "dec": target.dec, "software": software(),
        "flux_unit": "nJy", "zero_point_ab": AB_NANOJANSKY,
        "bands": {name: _lenstronomy(target, data) for name, data in bands.items()},
        "kwargs_model": {
            "lens_model_list": ["SIE", "SHEAR"],
            "source_light_model_list": ["SERSIC_ELLIPSE"],
            "lens_light_model_list": ["SERSIC_ELLIPSE"],
        },
        "kwargs_params": _start(),
    }  # fmt: skip


def _lenstronomy(target: Target, data: BandData) -> dict[str, Any]:
    header = data.cutout.wcs
    # Degrees a pixel to arcsec a pixel; rows are east and north.
    matrix = 3600 * np.array([[header["CD1_1"], header["CD1_2"]], [header["CD2_1"], header["CD2_2"]]])
    # The position is at x, y of the cutout, and the origin of the angles.
    corner = matrix @ -np.array([data.cutout.x, data.cutout.y])
    usable = data.mask == 0
    known = np.isfinite(data.cutout.flux) & np.isfinite(data.rms) & (data.rms > 0)
    return {
        "kwargs_data": {
            # A masked pixel has no weight, and JSON no NaN.
            "image_data": np.where(known, data.cutout.flux, 0.0).astype(float).tolist(),
            "noise_map": np.where(known, data.rms, 1.0).astype(float).tolist(),
            "ra_at_xy_0": float(corner[0]),
            "dec_at_xy_0": float(corner[1]),
            "transform_pix2angle": matrix.tolist(),
        },
        "kwargs_psf": {"psf_type": "PIXEL", "kernel_point_source": data.psf.tolist()},
        "kwargs_numerics": {"supersampling_factor": 1, "supersampling_convolution": False},
        "likelihood_mask": usable.astype(int).tolist(),
        "background_level": data.level,
        "noise": "variance plane" if data.has_variance else "background alone",
        "psf_stars": data.stars,
    }


def _start() -> dict[str, list[list[dict[str, float]]]]:
    """The ``kwargs_params`` of lenstronomy: start, scatter, fixed, lower and upper limits of each part of the model."""
    ellipse = {"e1": (0.0, 0.1, -0.5, 0.5), "e2": (0.0, 0.1, -0.5, 0.5)}
    centre = {"center_x": (0.0, 0.1, -0.6, 0.6), "center_y": (0.0, 0.1, -0.6, 0.6)}
    shear = {"gamma1": (0.0, 0.05, -0.3, 0.3), "gamma2": (0.0, 0.05, -0.3, 0.3)}
    parts: dict[str, list[dict[str, tuple[float, float, float, float]]]] = {
        "lens_model": [{"theta_E": (1.2, 0.4, 0.3, 5.0), **ellipse, **centre}, shear],
        "source_model": [
            {"R_sersic": (0.3, 0.1, 0.03, 2.0), "n_sersic": (1.0, 0.5, 0.5, 6.0), **ellipse,
             "center_x": (0.0, 0.2, -2.0, 2.0), "center_y": (0.0, 0.2, -2.0, 2.0)}
        ],
        "lens_light_model": [{"R_sersic": (1.0, 0.5, 0.1, 8.0), "n_sersic": (4.0, 1.0, 0.5, 8.0), **ellipse, **centre}],
    }  # fmt: skip
    fixed: dict[str, list[dict[str, float]]] = {
        "lens_model": [{}, {"ra_0": 0.0, "dec_0": 0.0}],
        "source_model": [{}],
        "lens_light_model": [{}],
    }
    return {
        name: [[{key: value[0] for key, value in one.items()} for one in part],
               [{key: value[1] for key, value in one.items()} for one in part],
               fixed[name],
               [{key: value[2] for key, value in one.items()} for one in part],
               [{key: value[3] for key, value in one.items()} for one in part]]
        for name, part in parts.items()
    }  # fmt: skip


def _write_band(path: Path, target: Target, data: BandData) -> None:
    flux = fits.PrimaryHDU(data.cutout.flux, data.cutout.wcs)
    flux.header["EXTNAME"] = "FLUX"
    flux.header["OBJECT"], flux.header["TILE"], flux.header["FILTER"] = target.name, target.tile, data.cutout.band
    flux.header["RA_OBJ"], flux.header["DEC_OBJ"] = (target.ra, "degrees ICRS"), (target.dec, "degrees ICRS")
    flux.header["BUNIT"] = ("nJy", "flux of a pixel; NaN for no data")
    flux.header["MAGZERO"] = (AB_NANOJANSKY, "AB magnitude of 1 nJy")
    flux.header["BKGLEVEL"] = (data.level, "nJy a pixel, not subtracted")
    flux.header["CREATOR"] = software()
    rms = fits.ImageHDU(data.rms.astype(np.float32), data.cutout.wcs, name="RMS")
    rms.header["BUNIT"] = "nJy"
    rms.header["RMSKIND"] = ("variance" if data.has_variance else "background", "background: without photon noise")
    psf = fits.ImageHDU(data.psf.astype(np.float32), name="PSF")
    psf.header["PSFSTARS"] = (data.stars, "number of stars")
    psf.header["PSFKIND"] = ("moffat" if data.is_fitted else "median", "fit to, or median of, the stars")
    mask = fits.ImageHDU(data.mask, data.cutout.wcs, name="MASK")
    mask.header["MASK0"] = ("no data", "meaning of bit 0")
    mask.header["MASK1"] = ("other source", "meaning of bit 1")
    with io.BytesIO() as file:
        fits.HDUList([flux, rms, psf, mask]).writeto(file, checksum=True)
        with replacing(path) as temporary:
            temporary.write_bytes(file.getvalue())


def _sky(target: Target) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([target.ra]), np.array([target.dec])

"""One band of a tile: its file's HDUs found and checked, its pixels read in nanojansky, NaN where there is no data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images import fits as fits_planes
from scanner.images import wcs as astrometry
from scanner.images.calibration import calibrate
from scanner.images.fits import Region
from scanner.survey.survey import Band, Plane

Image = NDArray[np.float32]

WIDEST = 64
"""Bits of the widest integer: a bit beyond them is never set, whatever a header says."""


@dataclass(frozen=True)
class BandFile:
    """A band's open file: the HDUs of its image, mask and variance, checked; ``region`` of them will be read."""

    band: Band
    path: Path
    image: Any
    mask: Any | None
    variance: Any | None
    wcs: WCS
    pixel_scale: float
    region: Region | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """[H, W] of what will be read."""
        rows, columns = self.region or (slice(0, self.image.shape[0]), slice(0, self.image.shape[1]))
        return int(rows.stop - rows.start), int(columns.stop - columns.start)

    def cut(self, region: Region) -> BandFile:
        """The same, of which only a region will be read."""
        return replace(self, region=region, wcs=self.wcs.slice(region))


def open_band(stack: ExitStack, band: Band, path: Path, with_variance: bool) -> BandFile:
    """A band's file, open until the stack closes; errors as ``open_tile`` says."""
    hdus = stack.enter_context(fits_planes.opened(path))
    with fits_planes.reading(path):
        image = fits_planes.find(hdus, band.hdu, _others(band.mask, band.variance))
        there = ", ".join(f"{index} {fits_planes.label(hdu)}".strip() for index, hdu in enumerate(hdus))
    if image is None:
        raise ScannerError(
            ErrorCode.TILE_NO_IMAGE_HDU,
            f"{path} has no two-dimensional image in HDU {' or '.join(map(str, band.hdu))}.",
            f"Its HDUs are: {there}. The survey file says where band {band.name} keeps its image.",
        )
    fits_planes.check_whole(image, path)
    wcs = astrometry.read(image, path)
    mask = _plane(stack, band.mask, _others(band, band.variance), hdus, path, image.shape)
    weighs = band.variance is not None and band.variance.inverse  # a weight of 0 says that there is no data
    variance = None
    if with_variance or weighs:
        variance = _plane(stack, band.variance, _others(band, band.mask), hdus, path, image.shape)
    return BandFile(band, path, image, mask, variance, wcs, astrometry.pixel_scale(wcs, path))


def files(band: Band, path: Path) -> list[Path]:
    """Every file that a band is read from: its own, and those beside it that hold its mask or its variance."""
    beside = [plane.beside for plane in (band.mask, band.variance) if plane is not None and plane.beside is not None]
    return [path, *(_beside(path, names) for names in beside)]


def _beside(path: Path, names: tuple[str, str]) -> Path:
    return path.with_name(path.name.replace(*names))


def _others(*planes: Band | Plane | None) -> set[int | str]:
    """Names of planes in the same file, which an HDU that is found by its place must not bear."""
    return {where for plane in planes if plane is not None for where in plane.hdu if isinstance(where, str)}


def _plane(
    stack: ExitStack, plane: Plane | None, others: set[int | str], hdus: Any, path: Path, shape: tuple[int, int]
) -> Any | None:
    """The HDU of a mask or variance plane; None where the file has none."""
    if plane is None:
        return None
    if plane.beside is not None:
        path = _beside(path, plane.beside)
        if not path.is_file():
            return None
        hdus, others = stack.enter_context(fits_planes.opened(path)), set()
    with fits_planes.reading(path):
        hdu = fits_planes.find(hdus, plane.hdu, others)
        damaged = hdu is None and fits_planes.is_named(hdus, plane.hdu)
    if damaged:
        raise mismatch(f"{path} has an HDU {' or '.join(map(str, plane.hdu))} that is no two-dimensional image.")
    if hdu is not None:
        fits_planes.check_whole(hdu, path)
        if hdu.shape != shape:
            raise mismatch(f"{path}: a plane of {size(hdu.shape)} goes with an image of {size(shape)} px.")
    return hdu


def mismatch(message: str) -> ScannerError:
    """Planes that should lie on one grid of pixels do not."""
    hint = "The bands of a tile must be on one pixel grid: resample them, or leave a band out with --bands."
    return ScannerError(ErrorCode.TILE_SHAPE_MISMATCH, message, hint)


def size(shape: tuple[int, int]) -> str:
    """Columns x rows, as people say it."""
    return f"{shape[1]} x {shape[0]}"


def read_band(source: BandFile | None, flux: Image) -> tuple[float, Image | None]:
    """Fill one band's ``flux`` [H, W]; its share of pixels with data, and its variance."""
    if source is None:
        flux[:] = np.nan
        return 0.0, None
    band, quantised = source.band, fits_planes.is_quantised(source.image)
    with fits_planes.reading(source.path), np.errstate(over="ignore", invalid="ignore"):
        for rows, counts in fits_planes.strips(source.image, source.region):
            calibrate(counts, band.zero_point, band.zero_is_missing and not quantised, out=flux[rows])
        if band.zero_is_missing and quantised:
            _drop_zero_blocks(flux)
        for rows, masked in _masked(source):
            np.copyto(flux[rows], np.nan, where=masked)
        variance = _variance(source)
        if variance is not None and band.variance is not None and band.variance.inverse:
            np.copyto(flux, np.nan, where=np.isnan(variance))
        valid = sum(np.count_nonzero(np.isfinite(flux[rows])) for rows in fits_planes.row_slices(len(flux)))
        return valid / flux.size, variance


def _drop_zero_blocks(flux: Image) -> None:
    """Zeros of a lossily compressed image are missing only in blocks of 3 x 3 or more: rounding makes single ones."""
    for rows in fits_planes.row_slices(len(flux)):
        around = flux[max(rows.start - 2, 0) : rows.stop + 2]
        zero = around == 0
        if zero.any():
            np.copyto(around, np.nan, where=zero & _opened(zero | np.isnan(around)))


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Binary opening by 3 x 3 (scipy's takes twenty times as long)."""
    core = mask[:-2] & mask[1:-1] & mask[2:]
    core = core[:, :-2] & core[:, 1:-1] & core[:, 2:]
    core = np.pad(core, 2)
    wide = core[:, :-2] | core[:, 1:-1] | core[:, 2:]
    return np.asarray(wide[:-2] | wide[1:-1] | wide[2:])


def _masked(source: BandFile) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Strips of bool: True where a bit of the mask says "no data". The header's own bit numbers win."""
    plane, hdu = source.band.mask, source.mask
    if plane is None or hdu is None:
        return
    numbers = {int(hdu.header.get(f"MP_{name}", number)) for name, number in plane.bits.items()}
    bits = np.uint64(sum(1 << number for number in numbers if 0 <= number < WIDEST))
    for rows, values in fits_planes.strips(hdu, source.region):
        if values.dtype.kind in "iu":
            yield rows, _any_bit(values, bits)
        else:  # scaled, or a plane with a BLANK, which astropy turns into NaN
            lost = ~np.isfinite(values)
            yield rows, lost | _any_bit(np.where(lost, 0, values).astype(np.int64), bits)


def _any_bit(values: NDArray[Any], bits: np.uint64) -> NDArray[np.bool_]:
    """Whether integers have any of the ``bits``, compared in their own width."""
    return np.asarray((values & bits.astype(values.dtype)) != 0)


def _variance(source: BandFile) -> Image | None:
    """Variance [H, W] in nJy^2, NaN where it is not positive and finite."""
    plane, hdu = source.band.variance, source.variance
    if plane is None or hdu is None:
        return None
    factor = source.band.to_nanojansky**2
    out = np.empty(source.shape, np.float32)
    for rows, values in fits_planes.strips(hdu, source.region):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            np.multiply(1 / values if plane.inverse else values, factor, out=out[rows], casting="unsafe")
            np.copyto(out[rows], np.nan, where=~(np.isfinite(out[rows]) & (out[rows] > 0)))
    return out

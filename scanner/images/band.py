"""One band of a tile: the HDUs of its file, checked, and its pixels in nanojansky, NaN where there is no data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.calibration import Asinh, calibrate, scale
from scanner.images.checksums import check_sums
from scanner.images.fits import (
    Region,
    check_size,
    errors_of,
    find_image,
    hdu_label,
    is_named,
    is_rounded,
    open_fits,
    read_rows,
    row_slices,
)
from scanner.images.flux_units import check_variance, check_zero_point, read_asinh, read_cards
from scanner.images.sky.wcs import CelestialWCS, measure_pixel_scale, read_wcs
from scanner.survey.survey import Band, Plane

Image = NDArray[np.float32]

MASK_BITS = 64
"""Bits of the widest integer: a bit beyond them is never set, whatever a header says."""


@dataclass(frozen=True)
class BandFile:
    """A band's open file: the HDUs of its image, mask and variance, checked; ``region`` of them will be read.

    ``asinh`` is None where the image holds linear counts. ``notes`` are sentences on what was read by a convention,
    because the file left it open.
    """

    band: Band
    path: Path
    image: Any
    mask: Any | None
    variance: Any | None
    wcs: CelestialWCS
    pixel_scale: float
    asinh: Asinh | None
    region: Region | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """[H, W] of what will be read."""
        rows, columns = self.region or (slice(0, self.image.shape[0]), slice(0, self.image.shape[1]))
        return int(rows.stop - rows.start), int(columns.stop - columns.start)

    def cut(self, region: Region) -> BandFile:
        """The same file, of which only a region will be read."""
        return replace(self, region=region, wcs=self.wcs.slice(region))


def open_band(stack: ExitStack, band: Band, path: Path, with_variance: bool, checksums: bool = False) -> BandFile:
    """Open a band's file until the stack closes; with ``checksums`` its planes are read once to verify their sums.

    Raises:
        ScannerError: ``tile.no_image_hdu``, ``tile.no_wcs``, ``tile.shape_mismatch``, ``tile.zero_point``,
            ``tile.unknown_unit``, ``tile.checksum``, or as ``open_fits`` does.
    """
    hdus = stack.enter_context(open_fits(path))
    with errors_of(path):
        image = find_image(hdus, band.hdu, _names(band.mask, band.variance))
        labels = ", ".join(f"{index} {hdu_label(hdu)}".strip() for index, hdu in enumerate(hdus))
    if image is None:
        raise ScannerError(
            ErrorCode.TILE_NO_IMAGE_HDU,
            f"{path} has no two-dimensional image in HDU {' or '.join(map(str, band.hdu))}.",
            f"Its HDUs are: {labels}. The survey file says where band {band.name} keeps its image.",
        )
    check_size(image, path)
    if checksums:
        check_sums(hdus, image, path)
    wcs = read_wcs(image.header, image.shape, path)
    pixel_scale = measure_pixel_scale(wcs, image.shape, path)
    with errors_of(path):
        cards = read_cards(image, hdus, path)
        check_zero_point(cards, path, pixel_scale, band)
        asinh = read_asinh(cards, path)
    # Mask and variance must be on the image's pixels.
    others = _names(band, band.variance)
    mask = _open_plane(stack, band.mask, others, hdus, path, image.shape, checksums)
    # An inverse variance is read in any case: where it is 0 there is no data.
    is_weight = band.variance is not None and band.variance.inverse
    variance = None
    if with_variance or is_weight:
        others = _names(band, band.mask)
        variance = _open_plane(stack, band.variance, others, hdus, path, image.shape, checksums)
    if variance is not None:
        check_variance(variance, path, pixel_scale, cards, band)
    notes = () if asinh is None else (f"{path.name}: its pixels are asinh (BSOFTEN, BOFFSET), expanded to counts.",)
    return BandFile(band, path, image, mask, variance, wcs, pixel_scale, asinh, notes=(*wcs.notes, *notes))


def files(band: Band, path: Path) -> list[Path]:
    """Every file that a band is read from: its own, and those beside it that hold its mask or its variance."""
    names = [plane.name_beside(path.name) for plane in (band.mask, band.variance) if plane is not None]
    return [path, *(path.with_name(name) for name in names if name is not None)]


def _names(*planes: Band | Plane | None) -> set[int | str]:
    """Names of other planes in the same file; an HDU that is found by its place must not have one of them."""
    return {name for plane in planes if plane is not None for name in plane.hdu if isinstance(name, str)}


def _open_plane(
    stack: ExitStack,
    plane: Plane | None,
    other_names: set[int | str],
    hdus: Any,
    path: Path,
    shape: tuple[int, int],
    checksums: bool,
) -> Any | None:
    """The HDU of a mask or variance plane; None where the file has none."""
    if plane is None:
        return None
    if (name := plane.name_beside(path.name)) is not None:
        path = path.with_name(name)
        if not path.exists() and not path.is_symlink():  # anything else of that name is opened, or refused
            return None
        hdus, other_names = stack.enter_context(open_fits(path)), set()
    with errors_of(path):
        hdu = find_image(hdus, plane.hdu, other_names)
        is_damaged = hdu is None and is_named(hdus, plane.hdu)
    if is_damaged:
        raise mismatch(f"{path} has an HDU {' or '.join(map(str, plane.hdu))} that is not a two-dimensional image.")
    if hdu is not None:
        check_size(hdu, path)
        if hdu.shape != shape:
            raise mismatch(f"{path}: a plane of {size(hdu.shape)} goes with an image of {size(shape)} px.")
        if checksums:
            check_sums(hdus, hdu, path)
    return hdu


def mismatch(message: str) -> ScannerError:
    """The error for planes that should lie on one grid of pixels and do not."""
    hint = "Resample the bands of the tile to one pixel grid, or leave a band out with --bands."
    return ScannerError(ErrorCode.TILE_SHAPE_MISMATCH, message, hint)


def size(shape: tuple[int, int]) -> str:
    """The shape [H, W] as text: columns x rows."""
    return f"{shape[1]} x {shape[0]}"


def read_band(source: BandFile | None, flux: Image) -> tuple[float, Image | None]:
    """Fill one band's ``flux`` [H, W] in nJy, NaN without a file; its share of pixels with data, and its variance.

    Raises:
        ScannerError: As ``errors_of`` does.
    """
    if source is None:
        flux[:] = np.nan
        return 0.0, None
    band, asinh = source.band, source.asinh
    with errors_of(source.path), np.errstate(over="ignore", invalid="ignore"):
        # Rounded pixels may be 0 without being gaps; a gap is a block of zeros.
        by_blocks = is_rounded(source.image) or asinh is not None
        # Some rows at a time, so that they stay in the processor's cache.
        for rows, values in read_rows(source.image, source.region, native=False):
            counts = values if asinh is None else asinh.expand(values, band.zero_is_missing)
            calibrate(counts, band.zero_point, band.zero_is_missing and not by_blocks, out=flux[rows])
        if band.zero_is_missing and by_blocks:
            drop_zero_blocks(flux)
        for rows, masked in _read_mask(source):
            np.copyto(flux[rows], np.nan, where=masked)
        variance = _read_variance(source)
        if variance is not None and band.variance is not None and band.variance.inverse:
            np.copyto(flux, np.nan, where=np.isnan(variance))
        valid = sum(np.count_nonzero(np.isfinite(flux[rows])) for rows in row_slices(len(flux)))
        return valid / flux.size, variance


def drop_zero_blocks(flux: Image) -> None:
    """Make zeros NaN in blocks of 3 x 3 or more: rounding in lossy compression makes single ones, which stay."""
    for rows in row_slices(len(flux)):
        # A block of 3 x 3 may reach two rows beyond these.
        around = flux[max(rows.start - 2, 0) : rows.stop + 2]
        zero = around == 0
        if zero.any():
            np.copyto(around, np.nan, where=zero & _binary_opening(zero | np.isnan(around)))


def _binary_opening(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Binary opening by 3 x 3; scipy's is far slower."""
    core = mask[:-2] & mask[1:-1] & mask[2:]
    core = core[:, :-2] & core[:, 1:-1] & core[:, 2:]
    # Erosion has left [H - 2, W - 2]; padded by 2, the dilation ends at [H, W].
    core = np.pad(core, 2)
    wide = core[:, :-2] | core[:, 1:-1] | core[:, 2:]
    return np.asarray(wide[:-2] | wide[1:-1] | wide[2:])


def _read_mask(source: BandFile) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Some rows of bool at a time: True where a bit of the mask says "no data". The header's own bit numbers win."""
    plane, hdu = source.band.mask, source.mask
    if plane is None or hdu is None:
        return
    # MP_NAME cards number the bits of a mask plane in LSST and HSC files.
    numbers = {int(hdu.header.get(f"MP_{name}", number)) for name, number in plane.bits.items()}
    bits = np.uint64(sum(1 << number for number in numbers if 0 <= number < MASK_BITS))
    for rows, values in read_rows(hdu, source.region):
        if values.dtype.kind in "iu":
            yield rows, _any_bit(values, bits)
        else:  # scaled, or a plane with a BLANK, which astropy turns into NaN
            invalid = ~np.isfinite(values)
            yield rows, invalid | _any_bit(np.where(invalid, 0, values).astype(np.int64), bits)


def _any_bit(values: NDArray[Any], bits: np.uint64) -> NDArray[np.bool_]:
    """Whether integers have any of the ``bits``, compared in their own width."""
    return np.asarray((values & bits.astype(values.dtype)) != 0)


def _read_variance(source: BandFile) -> Image | None:
    """Variance [H, W] in nJy^2, NaN where it is not positive and finite."""
    plane, hdu = source.band.variance, source.variance
    if plane is None or hdu is None:
        return None
    factor = source.band.to_nanojansky**2
    out = np.empty(source.shape, np.float32)
    for rows, values in read_rows(hdu, source.region, native=False):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale(1 / values if plane.inverse else values, factor, (0, np.inf), False, out[rows])
    return out

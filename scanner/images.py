"""The bands of a tile as one array in nanojansky, NaN where there is no data, each with its own WCS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner import fits_planes
from scanner.survey import Band, Plane, Survey
from scanner.tiles import Tile

SCALE_TOLERANCE = 0.01
"""Pixel scales that differ by less are taken as equal."""

ENOUGH = 0.8
"""A band finds the objects if it covers this much of what the best-covered band does."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class TileImages:
    """One tile in memory.

    ``flux`` is float32 [B, H, W] in nJy, NaN for no data (a missing band is all NaN); ``variance`` holds for each band
    float32 [H, W] in nJy^2 (NaN where unknown) or None; ``valid`` is each band's share of pixels with data.
    ``detection_band`` is the one whose pixels positions refer to; ``pixel_scale`` is in arcsec.
    """

    name: str
    bands: tuple[str, ...]
    flux: Image
    variance: tuple[Image | None, ...]
    wcs: tuple[WCS | None, ...]
    valid: tuple[float, ...]
    detection_band: str
    pixel_scale: float

    @property
    def present(self) -> tuple[bool, ...]:
        """Whether each band has data at all."""
        return tuple(share > 0 for share in self.valid)

    @property
    def bands_present(self) -> str:
        return "".join(band for band, there in zip(self.bands, self.present, strict=True) if there)

    @property
    def detection(self) -> int:
        """Index of the detection band."""
        return self.bands.index(self.detection_band)


@dataclass(frozen=True)
class _Source:
    """A band's open file: the HDUs of its image, mask and variance, checked and ready to be read."""

    band: Band
    path: Path
    image: Any
    mask: Any | None
    variance: Any | None
    wcs: WCS
    pixel_scale: float


def tile_shape(survey: Survey, tile: Tile, bands: Sequence[str] | None = None) -> tuple[int, int, int]:
    """[B, H, W] of a tile from its headers alone; raises as ``open_tile`` does."""
    wanted = _wanted(survey, bands)
    with ExitStack() as stack:
        sources = _sources(stack, tile, wanted, with_variance=False)
        return (len(wanted), *_common_shape(sources))


def open_tile(
    survey: Survey,
    tile: Tile,
    bands: Sequence[str] | None = None,
    out: Image | None = None,
    with_variance: bool = True,
) -> TileImages:
    """Read, calibrate and check the bands of a tile (default: all of the survey, in its order).

    ``out`` is a float32 array [B, H, W] to read into (``tile_shape`` tells its shape); it becomes ``flux``. Raises
    ``ScannerError`` with a code that starts with ``tile.``, or ``survey.unknown_band``.
    """
    wanted = _wanted(survey, bands)
    with ExitStack() as stack:
        sources = _sources(stack, tile, wanted, with_variance)
        flux = _buffer((len(wanted), *_common_shape(sources)), out)
        read = [_read(sources.get(band.name), flux[index]) for index, band in enumerate(wanted)]
    valid = tuple(share for share, _ in read)
    if not any(valid):
        hint = "Its images hold only NaN, zeros or masked pixels: leave this tile out."
        raise ScannerError("tile.all_nan", f"Tile {tile.name} has no pixel with data in any band.", hint)
    detection = _detection(survey, [band.name for band in wanted], valid)
    return TileImages(
        name=tile.name,
        bands=tuple(band.name for band in wanted),
        flux=flux,
        variance=tuple(variance for _, variance in read),
        wcs=tuple(sources[band.name].wcs if band.name in sources else None for band in wanted),
        valid=valid,
        detection_band=detection,
        pixel_scale=sources[detection].pixel_scale,
    )


def _wanted(survey: Survey, bands: Sequence[str] | None) -> list[Band]:
    return [survey.band(name) for name in (survey.band_names if bands is None else bands)]


def _sources(stack: ExitStack, tile: Tile, wanted: Sequence[Band], with_variance: bool) -> dict[str, _Source]:
    """Open the wanted bands that the tile has."""
    if tile.problem is not None:
        raise tile.problem
    sources = {
        band.name: _source(stack, band, tile.files[band.name], with_variance)
        for band in wanted
        if band.name in tile.files
    }
    if not sources:
        has = ", ".join(tile.files) or "none"
        raise ScannerError(
            "tile.missing_file",
            f"Tile {tile.name} has no file in the bands {', '.join(band.name for band in wanted)}.",
            f"The bands found are: {has}.",
        )
    return sources


def _source(stack: ExitStack, band: Band, path: Path, with_variance: bool) -> _Source:
    hdus = stack.enter_context(fits_planes.opened(path))
    with fits_planes.reading(path):
        image = fits_planes.find(hdus, band.hdu)
    if image is None:
        there = ", ".join(
            f"{index} {hdu.name or hdu.header.get('EXTTYPE', '')}".strip() for index, hdu in enumerate(hdus)
        )
        raise ScannerError(
            "tile.no_image_hdu",
            f"{path} has no two-dimensional image in HDU {' or '.join(map(str, band.hdu))}.",
            f"Its HDUs are: {there}. The survey file says where band {band.name} keeps its image.",
        )
    fits_planes.check_whole(image, path)
    wcs = _wcs(image, path)
    mask = _plane(stack, band.mask, hdus, path, image.shape)
    variance = _plane(stack, band.variance, hdus, path, image.shape) if with_variance else None
    return _Source(band, path, image, mask, variance, wcs, _pixel_scale(wcs, path))


def _plane(stack: ExitStack, plane: Plane | None, hdus: Any, path: Path, shape: tuple[int, int]) -> Any | None:
    """The HDU of a mask or variance plane; None where the file has none."""
    if plane is None:
        return None
    if plane.beside is not None:
        path = path.with_name(path.name.replace(*plane.beside))
        if not path.is_file():
            return None
        hdus = stack.enter_context(fits_planes.opened(path))
    with fits_planes.reading(path):
        hdu = fits_planes.find(hdus, plane.hdu)
    if hdu is not None:
        fits_planes.check_whole(hdu, path)
        if hdu.shape != shape:
            raise _mismatch(f"{path}: a plane of {_size(hdu.shape)} goes with an image of {_size(shape)} px.")
    return hdu


def _wcs(hdu: Any, path: Path) -> WCS:
    with catch_warnings():
        simplefilter("ignore")
        try:
            wcs = WCS(hdu.header, naxis=2)
            centre = wcs.all_pix2world([[hdu.shape[1] / 2, hdu.shape[0] / 2]], 0)
        except Exception as error:  # wcslib knows many ways to refuse a header
            raise _no_wcs(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if not wcs.has_celestial or not np.isfinite(centre).all():
        raise _no_wcs(path, "it has no celestial axes")
    return wcs


def _pixel_scale(wcs: WCS, path: Path) -> float:
    """Side of a pixel in arcsec, from its area at the reference point."""
    scale = float(np.sqrt(proj_plane_pixel_area(wcs))) * 3600
    if not 0 < scale < 3600:
        raise _no_wcs(path, f'its pixels would be {scale}" wide')
    return scale


def _no_wcs(path: Path, why: str) -> ScannerError:
    hint = "Objects need positions on the sky: solve the image's astrometry first."
    return ScannerError("tile.no_wcs", f"{path} has no usable world coordinates: {why}.", hint)


def _common_shape(sources: dict[str, _Source]) -> tuple[int, int]:
    first, *others = sources.values()
    for other in others:
        if other.image.shape != first.image.shape:
            raise _mismatch(
                f"{other.path} is {_size(other.image.shape)} px, {first.path} is {_size(first.image.shape)} px."
            )
        if abs(other.pixel_scale / first.pixel_scale - 1) > SCALE_TOLERANCE:
            raise _mismatch(
                f'{other.path} has {other.pixel_scale:.4f}" pixels, {first.path} has {first.pixel_scale:.4f}" pixels.'
            )
    rows, columns = first.image.shape
    return int(rows), int(columns)


def _mismatch(message: str) -> ScannerError:
    hint = "The bands of a tile must be on one pixel grid: resample them, or leave a band out with --bands."
    return ScannerError("tile.shape_mismatch", message, hint)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _buffer(shape: tuple[int, int, int], out: Image | None) -> Image:
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"out is {out.dtype} {out.shape}, the tile needs float32 {shape}")
    return out


def _read(source: _Source | None, flux: Image) -> tuple[float, Image | None]:
    """Fill one band's ``flux`` [H, W]; its share of pixels with data, and its variance."""
    if source is None:
        flux[:] = np.nan
        return 0.0, None
    band = source.band
    with fits_planes.reading(source.path), np.errstate(over="ignore", invalid="ignore"):
        for rows, counts in fits_planes.strips(source.image):
            part = flux[rows]
            np.multiply(counts, band.to_nanojansky, out=part, casting="unsafe")
            good = np.isfinite(part)
            if band.zero_is_missing and not fits_planes.is_quantised(source.image):
                good &= part != 0
            np.copyto(part, np.nan, where=~good)
        if band.zero_is_missing and fits_planes.is_quantised(source.image):
            _drop_zero_blocks(flux)
        for rows, masked in _masked(band.mask, source.mask):
            np.copyto(flux[rows], np.nan, where=masked)
        valid = sum(int(np.isfinite(flux[rows]).sum()) for rows in fits_planes.row_slices(len(flux)))
        return valid / flux.size, _variance(source)


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


def _masked(plane: Plane | None, hdu: Any | None) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Strips of bool: True where a bit of the mask says "no data". The header's own bit numbers win."""
    if plane is None or hdu is None:
        return
    numbers = {int(hdu.header.get(f"MP_{name}", number)) for name, number in plane.bits.items()}
    bits = np.int64(sum(1 << number for number in numbers))
    for rows, values in fits_planes.strips(hdu):
        lost = ~np.isfinite(values)  # a BLANK of the plane, which astropy turns into NaN
        yield rows, lost | ((np.where(lost, 0, values).astype(np.int64) & bits) != 0)


def _variance(source: _Source) -> Image | None:
    """Variance [H, W] in nJy^2, NaN where it is not positive and finite."""
    plane, hdu = source.band.variance, source.variance
    if plane is None or hdu is None:
        return None
    factor = source.band.to_nanojansky**2
    out = np.empty(hdu.shape, np.float32)
    for rows, values in fits_planes.strips(hdu):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            np.multiply(1 / values if plane.inverse else values, factor, out=out[rows], casting="unsafe")
            np.copyto(out[rows], np.nan, where=~(np.isfinite(out[rows]) & (out[rows] > 0)))
    return out


def _detection(survey: Survey, bands: Sequence[str], valid: Sequence[float]) -> str:
    """The first band of the survey's preference that covers nearly as much as the best one."""
    share = dict(zip(bands, valid, strict=True))
    order = [*(band for band in survey.detection if band in share), *bands]
    return next(band for band in order if share[band] >= ENOUGH * max(valid))

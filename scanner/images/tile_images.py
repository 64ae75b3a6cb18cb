"""The bands of a tile as one array in nanojansky, NaN where there is no data, each with its own WCS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from astropy.wcs import WCS

from catalogs.errors import ErrorCode, ScannerError
from scanner.images import wcs as astrometry
from scanner.images.band import BandFile, Image, mismatch, open_band, read_band, size
from scanner.images.fits import Region
from scanner.images.sections import Strip
from scanner.survey.survey import Band, Survey
from scanner.survey.tile import Tile

if TYPE_CHECKING:
    from scanner.images.background import Sky

Room = Callable[[tuple[int, ...]], Image]
"""Gives memory of a shape."""

SCALE_TOLERANCE = 0.01
"""Pixel scales that differ by less are taken as equal."""

ENOUGH = 0.8
"""A band finds the objects if it covers this much of what the best-covered band does."""


@dataclass(frozen=True)
class TileImages:
    """One tile in memory, or a ``strip`` of it.

    ``flux`` is float32 [B, H, W] in nJy, NaN for no data (a missing band is all NaN); ``variance`` holds for each band
    float32 [H, W] in nJy^2 (NaN where unknown) or None; ``valid`` is each band's share of pixels with data.
    ``detection_band`` is the one whose pixels positions refer to; ``pixel_scale`` is in arcsec.
    Of a strip, the arrays hold its rows; ``wcs``, ``valid``, ``skies`` and all positions are those of the whole tile.
    """

    name: str
    bands: tuple[str, ...]
    flux: Image
    variance: tuple[Image | None, ...]
    wcs: tuple[WCS | None, ...]
    valid: tuple[float, ...]
    detection_band: str
    pixel_scale: float
    strip: Strip | None = None
    skies: tuple[Sky | None, ...] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        bands: Sequence[str],
        flux: Image,
        wcs: Sequence[WCS | None],
        pixel_scale: float,
        *,
        variance: Sequence[Image | None] | None = None,
        valid: Sequence[float] | None = None,
        detection_band: str | None = None,
    ) -> TileImages:
        """Images of pixels that are calibrated already.

        The shares ``valid`` are counted unless they are known. The detection band is the one with most data unless it
        is given.
        """
        shares = tuple(float(np.isfinite(band).mean()) for band in flux) if valid is None else tuple(valid)
        return cls(
            name=name,
            bands=tuple(bands),
            flux=flux,
            variance=(None,) * len(flux) if variance is None else tuple(variance),
            wcs=tuple(wcs),
            valid=shares,
            detection_band=detection_band or bands[int(np.argmax(shares))],
            pixel_scale=pixel_scale,
        )

    @cached_property
    def sky(self) -> tuple[Sky | None, ...]:
        """Each band's, in the whole tile; None where the band has no data. Measured once: pixels are not to change."""
        from scanner.images.background import Sky

        if self.skies is not None:
            return self.skies
        return tuple(
            Sky.of(flux, variance if _tells(variance) else None, filtered=band == self.detection_band)
            if there
            else None
            for band, flux, variance, there in zip(self.bands, self.flux, self.variance, self.present, strict=True)
        )

    @property
    def rows(self) -> Strip:
        """Which rows of the tile these are."""
        return self.strip or Strip.whole(self.flux.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """[H, W] of the whole tile."""
        return self.rows.height, self.flux.shape[2]

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


def region_around(survey: Survey, tile: Tile, ra: float, dec: float, radius: float) -> Region | None:
    """Rows and columns within ``radius`` arcsec of a position (degrees), and two pixels more; None if off the tile."""
    with ExitStack() as stack:
        sources = band_files(stack, tile, wanted_bands(survey, None), with_variance=False)
        rows, columns = common_shape(sources)
        first = next(iter(sources.values()))
        x, y = (float(p[0]) for p in astrometry.sky_to_pixels(first.wcs, np.array([ra]), np.array([dec])))
    if not (-0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5):
        return None
    half = math.ceil(radius / first.pixel_scale) + 2
    return (
        slice(max(round(y) - half, 0), min(round(y) + half + 1, rows)),
        slice(max(round(x) - half, 0), min(round(x) + half + 1, columns)),
    )


def open_tile(
    survey: Survey,
    tile: Tile,
    bands: Sequence[str] | None = None,
    room: Room | None = None,
    with_variance: bool = True,
    region: Region | None = None,
) -> TileImages:
    """Read, calibrate and check the bands of a tile (default: all of the survey, in its order).

    ``room`` gives the memory that becomes ``flux``, float32 [B, H, W]. ``region``: read only these rows and columns.
    Raises ``ScannerError`` with a code that starts with ``tile.``, or ``survey.unknown_band``.
    """
    wanted = wanted_bands(survey, bands)
    with ExitStack() as stack:
        sources = band_files(stack, tile, wanted, with_variance)
        common_shape(sources)
        if region is not None:
            sources = {band: source.cut(region) for band, source in sources.items()}
        flux = _buffer((len(wanted), *common_shape(sources)), room)
        read = [read_band(sources.get(band.name), flux[index]) for index, band in enumerate(wanted)]
    valid = tuple(share for share, _ in read)
    detection = detection_band(survey, tile, [band.name for band in wanted], valid)
    return TileImages.of(
        tile.name,
        [band.name for band in wanted],
        flux,
        [sources[band.name].wcs if band.name in sources else None for band in wanted],
        sources[detection].pixel_scale,
        variance=[variance if with_variance and _tells(variance) else None for _, variance in read],
        valid=valid,
        detection_band=detection,
    )


def _tells(variance: Image | None) -> bool:
    """Whether a variance is known anywhere, in some of the rows or in all: one that is not must not hide the image."""
    return variance is not None and bool((variance[::100] > 0).any() or (variance > 0).any())


def wanted_bands(survey: Survey, bands: Sequence[str] | None) -> list[Band]:
    """The bands of these names; all of the survey, in its order, for None."""
    return [survey.band(name) for name in (survey.band_names if bands is None else bands)]


def band_files(stack: ExitStack, tile: Tile, wanted: Sequence[Band], with_variance: bool) -> dict[str, BandFile]:
    """The wanted bands that the tile has, open until the stack closes."""
    if tile.problem is not None:
        raise tile.problem
    sources = {
        band.name: open_band(stack, band, tile.files[band.name], with_variance)
        for band in wanted
        if band.name in tile.files
    }
    if not sources:
        has = ", ".join(tile.files) or "none"
        raise ScannerError(
            ErrorCode.TILE_MISSING_FILE,
            f"Tile {tile.name} has no file in the bands {', '.join(band.name for band in wanted)}.",
            f"The bands found are: {has}.",
        )
    return sources


def common_shape(sources: Mapping[str, BandFile]) -> tuple[int, int]:
    """[H, W] of what will be read, the same in all bands, or ``tile.shape_mismatch``."""
    first, *others = sources.values()
    for other in others:
        if other.image.shape != first.image.shape:
            raise mismatch(
                f"{other.path} is {size(other.image.shape)} px, {first.path} is {size(first.image.shape)} px."
            )
        if abs(other.pixel_scale / first.pixel_scale - 1) > SCALE_TOLERANCE:
            raise mismatch(
                f'{other.path} has {other.pixel_scale:.4f}" pixels, {first.path} has {first.pixel_scale:.4f}" pixels.'
            )
    return first.shape


def _buffer(shape: tuple[int, int, int], room: Room | None) -> Image:
    if room is None:
        return np.empty(shape, np.float32)
    out = room(shape)
    if out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"there is room for {out.dtype} {out.shape}, the tile needs float32 {shape}")
    return out


def detection_band(survey: Survey, tile: Tile, bands: Sequence[str], valid: Sequence[float]) -> str:
    """The first band of the survey's preference that covers nearly as much as the best one; ``tile.all_nan``.

    ``valid``: the share of pixels with data of each of ``bands``.
    """
    if not any(valid):
        hint = "Its images hold only NaN, zeros or masked pixels: leave this tile out."
        raise ScannerError(ErrorCode.TILE_ALL_NAN, f"Tile {tile.name} has no pixel with data in any band.", hint)
    share = dict(zip(bands, valid, strict=True))
    order = [*(band for band in survey.detection if band in share), *bands]
    return next(band for band in order if share[band] >= ENOUGH * max(valid))

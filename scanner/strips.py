"""A tile read strip by strip, for machines with little memory: the same pixels, twice decoded, never all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from scanner import astrometry, images, sections
from scanner.band_file import BandFile, Image, read_band
from scanner.images import TileImages
from scanner.sections import Strip
from scanner.survey import Band, Survey
from scanner.tiles import Tile

AROUND = 2
"""Rows beyond those that are used: by them, a block of zeros is told from a single one."""

_POINTS = 16


@dataclass(frozen=True)
class _Known:
    """What only a look at the whole band tells: its share of pixels with data, and whether its variance has any."""

    valid: float = 0.0
    variance: bool = False


class Strips:
    """An open tile: what is known of the whole of it, its strips, and ``read`` for one of them."""

    def __init__(self, survey: Survey, tile: Tile, wanted: Sequence[Band], sources: Mapping[str, BandFile]) -> None:
        self._tile, self._wanted, self._sources = tile, wanted, sources
        self.shape = images.common_shape(sources)
        self._known = [self._looked_at(band.name) for band in wanted]
        self._valid = tuple(known.valid for known in self._known)
        self._detection = images.detection_band(survey, tile, [band.name for band in wanted], self._valid)
        self.pixel_scale = sources[self._detection].pixel_scale

    def cut(self, reach: int) -> list[Strip]:
        """The strips, each with the rows around it in which lie all pixels within ``reach`` of its positions."""
        return sections.strips(self.shape, max(sections.OVERLAP, reach) + self._drift() + AROUND)

    def read(self, strip: Strip, out: Image | None = None) -> TileImages:
        """The strip's pixels, in ``out`` (float32 [B, rows, W]) where it is given."""
        shape = self.strip_shape(strip)
        flux = np.empty(shape, np.float32) if out is None else out
        read = [self._band(band.name, strip.view, flux[index]) for index, band in enumerate(self._wanted)]
        pairs = zip(read, self._known, strict=True)
        return TileImages(
            name=self._tile.name,
            bands=tuple(band.name for band in self._wanted),
            flux=flux,
            variance=tuple(variance if known.variance else None for variance, known in pairs),
            wcs=tuple(self._sources[band.name].wcs if band.name in self._sources else None for band in self._wanted),
            valid=self._valid,
            detection_band=self._detection,
            pixel_scale=self.pixel_scale,
            strip=strip,
        )

    def strip_shape(self, strip: Strip) -> tuple[int, int, int]:
        """[B, rows, W] of a strip's pixels."""
        return len(self._wanted), strip.view.stop - strip.view.start, self.shape[1]

    def _looked_at(self, band: str) -> _Known:
        count, variance = 0, False
        for strip in sections.strips(self.shape, AROUND) if band in self._sources else ():
            flux = np.empty((strip.view.stop - strip.view.start, self.shape[1]), np.float32)
            noise = self._band(band, strip.view, flux)
            core = strip.held((strip.core, slice(None)))
            count += int(np.count_nonzero(np.isfinite(flux[core])))
            variance = variance or (noise is not None and not np.isnan(noise[core]).all())
        return _Known(count / math.prod(self.shape), variance)

    def _band(self, band: str, rows: slice, flux: Image) -> Image | None:
        source = self._sources.get(band)
        return read_band(source and source.cut((rows, slice(0, self.shape[1]))), flux)[1]

    def _drift(self) -> int:
        """The most by which a place's row in any band differs from that in the detection band, and one more."""
        height, width = self.shape
        y, x = (axis.ravel() for axis in np.mgrid[0 : height - 1 : _POINTS * 1j, 0 : width - 1 : _POINTS * 1j])
        ra, dec = self._sources[self._detection].wcs.all_pix2world(x, y, 0)
        away = [np.abs(astrometry.sky_to_pixels(source.wcs, ra, dec)[1] - y) for source in self._sources.values()]
        return min(math.ceil(float(np.nanmax(away))), height) + 1


@contextmanager
def opened(survey: Survey, tile: Tile) -> Iterator[Strips]:
    """A tile open for reading in strips, after a first look at all of its pixels; errors as ``images.open_tile``."""
    wanted = images.wanted_bands(survey, None)
    with ExitStack() as stack:
        yield Strips(survey, tile, wanted, images.band_files(stack, tile, wanted, with_variance=True))

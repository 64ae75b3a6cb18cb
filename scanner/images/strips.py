"""A tile read strip by strip, for machines with little memory: the same pixels, twice decoded, never all at once."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from scanner.images import sections
from scanner.images import tile_images as images
from scanner.images import wcs as astrometry
from scanner.images.background import Sky
from scanner.images.background_mesh import Mesh
from scanner.images.band import Image, open_band, read_band
from scanner.images.sections import Strip
from scanner.images.tile_images import TileImages
from scanner.survey.survey import Band, Survey
from scanner.survey.tile import Tile

AROUND = 2
"""Rows beyond those that are used: by them, a block of zeros is told from a single one."""

_POINTS = 16


@dataclass(frozen=True)
class _Known:
    """What only a look at the whole band tells: its sky, its share of pixels with data, if its variance has any."""

    valid: float = 0.0
    variance: bool = False
    sky: Sky | None = None


class Strips:
    """A tile of which all pixels were looked at once: what is known of the whole, its strips, and ``read`` for one.

    Errors are those of ``images.open_tile``. Files are opened anew for each strip and band: pages of an open one that
    were read stay in memory.
    """

    def __init__(self, survey: Survey, tile: Tile) -> None:
        self._tile = tile
        self._wanted = wanted = images.wanted_bands(survey, None)
        with ExitStack() as stack:
            sources = images.band_files(stack, tile, wanted, with_variance=True)
            self.shape = images.common_shape(sources)
            self._wcs = {band: source.wcs for band, source in sources.items()}
            scales = {band: source.pixel_scale for band, source in sources.items()}
        del sources
        self._known = [self._looked_at(band) for band in wanted]
        self._valid = tuple(known.valid for known in self._known)
        self._detection = images.detection_band(survey, tile, [band.name for band in wanted], self._valid)
        self.pixel_scale = scales[self._detection]

    def cut(self, reach: int) -> list[Strip]:
        """The strips, each with the rows around it in which lie all pixels within ``reach`` of its positions."""
        return sections.strips(self.shape, max(sections.OVERLAP, reach) + self._drift() + AROUND)

    def read(self, strip: Strip, out: Image | None = None) -> TileImages:
        """The strip's pixels, in ``out`` (float32 [B, rows, W]) where it is given."""
        shape = self.strip_shape(strip)
        flux = np.empty(shape, np.float32) if out is None else out
        read = [self._band(band, strip.view, flux[index]) for index, band in enumerate(self._wanted)]
        pairs = zip(read, self._known, strict=True)
        return TileImages(
            name=self._tile.name,
            bands=tuple(band.name for band in self._wanted),
            flux=flux,
            variance=tuple(variance if known.variance else None for variance, known in pairs),
            wcs=tuple(self._wcs.get(band.name) for band in self._wanted),
            valid=self._valid,
            detection_band=self._detection,
            pixel_scale=self.pixel_scale,
            strip=strip,
            skies=tuple(known.sky for known in self._known),
        )

    def strip_shape(self, strip: Strip) -> tuple[int, int, int]:
        """[B, rows, W] of a strip's pixels."""
        return len(self._wanted), strip.view.stop - strip.view.start, self.shape[1]

    def _looked_at(self, band: Band) -> _Known:
        if band.name not in self._wcs:
            return _Known()
        count, variance, alone, weighed = 0, False, [], []
        for strip in sections.strips(self.shape, AROUND):
            flux = np.empty((strip.view.stop - strip.view.start, self.shape[1]), np.float32)
            noise = self._band(band, strip.view, flux)
            core = strip.held((strip.core, slice(None)))
            count += int(np.count_nonzero(np.isfinite(flux[core])))
            alone.append(_cells(flux[core], None))
            if noise is not None:
                variance = variance or not np.isnan(noise[core]).all()
                weighed.append(_cells(flux[core], noise[core]))
        cells, filtered = (Mesh.joined(parts) for parts in zip(*(weighed if variance else alone), strict=True))
        return _Known(count / math.prod(self.shape), variance, Sky.over(cells, filtered))

    def _band(self, band: Band, rows: slice, flux: Image) -> Image | None:
        if band.name not in self._wcs:
            return read_band(None, flux)[1]
        with ExitStack() as stack:
            source = open_band(stack, band, self._tile.files[band.name], with_variance=True)
            return read_band(source.cut((rows, slice(0, self.shape[1]))), flux)[1]

    def _drift(self) -> int:
        """The most by which a place's row in any band differs from that in the detection band, and one more."""
        height, width = self.shape
        y, x = (axis.ravel() for axis in np.mgrid[0 : height - 1 : _POINTS * 1j, 0 : width - 1 : _POINTS * 1j])
        ra, dec = self._wcs[self._detection].all_pix2world(x, y, 0)
        away = [np.abs(astrometry.sky_to_pixels(wcs, ra, dec)[1] - y) for wcs in self._wcs.values()]
        return min(math.ceil(float(np.nanmax(away))), height) + 1


def _cells(flux: Image, variance: Image | None) -> tuple[Mesh, Mesh]:
    return Mesh.of(flux, variance), Mesh.of_filtered(flux, variance)

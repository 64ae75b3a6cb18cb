"""A tile read strip by strip, for machines with little memory: the same pixels, decoded twice, never all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from scanner.images.background import Background
from scanner.images.background_mesh import Mesh
from scanner.images.band import Image, open_band, read_band
from scanner.images.sections import OVERLAP, cut_strips
from scanner.images.sky.wcs import CelestialWCS
from scanner.images.tile_images import (
    Room,
    TileImages,
    allocate,
    bands_of,
    choose_detection_band,
    common_shape,
    notes_of,
    open_bands,
)
from scanner.survey.survey import Band, Survey
from scanner.survey.tile import Tile

EDGE_ROWS = 2
"""Rows beyond those that are used. With them a block of zeros differs from a single zero."""

_PROBES = 16


@dataclass(frozen=True)
class _BandSummary:
    """What only the whole band tells: its share of pixels with data, whether a variance is known, its background."""

    valid: float = 0.0
    has_variance: bool = False
    background: Background | None = None


def read_strips(
    survey: Survey,
    tile: Tile,
    reach: Callable[[float], int],
    room: Room | None = None,
    checksums: bool = True,
    detects: bool = True,
) -> Iterator[TileImages]:
    """Read a tile strip by strip, from the first row to the last.

    ``reach`` gives, for the pixel scale in arcsec, how far from a position its pixels are needed: a strip holds all
    pixels within that reach of its own rows. ``room`` gives the memory of a strip's pixels, float32 [B, rows, W].
    ``checksums``: verify the sums in the headers first. ``detects``: False if no objects will be detected.

    Raises:
        ScannerError: As ``tile_images.open_tile`` does.
    """
    bands = bands_of(survey, None)
    with ExitStack() as stack:
        files = open_bands(stack, tile, bands, with_variance=True, checksums=checksums)
        shape = common_shape(files)
        wcs = {name: file.wcs for name, file in files.items()}
        scales = {name: file.pixel_scale for name, file in files.items()}
        notes = notes_of(files)
        del files

    # First pass, band by band. Files are opened anew for each strip: what was read of an open one stays in memory.
    summaries = [_summarise(tile, band, shape, detects) if band.name in wcs else _BandSummary() for band in bands]
    valid = [summary.valid for summary in summaries]
    detection = choose_detection_band(survey, tile, [band.name for band in bands], valid)

    # Second pass, strip by strip. The margin holds what detection and cutouts reach for in the band furthest off.
    margin = max(OVERLAP, reach(scales[detection])) + _drift(shape, wcs, detection) + EDGE_ROWS
    for strip in cut_strips(shape, margin):
        flux = allocate((len(bands), strip.view.stop - strip.view.start, shape[1]), room)
        variance = [_read_rows(tile, band, strip.view, out) for band, out in zip(bands, flux, strict=True)]
        yield TileImages.of(
            tile.name,
            [band.name for band in bands],
            flux,
            [wcs.get(band.name) for band in bands],
            scales[detection],
            variance=[one if known.has_variance else None for one, known in zip(variance, summaries, strict=True)],
            valid=valid,
            detection_band=detection,
            strip=strip,
            tile_background=[summary.background for summary in summaries],
            notes=notes,
        )
        del flux, variance  # their memory is needed for the next strip


def _summarise(tile: Tile, band: Band, shape: tuple[int, int], detects: bool) -> _BandSummary:
    """Look at all pixels of a band, one strip at a time."""
    count, has_variance = 0, False
    # The cells of each strip, and those after the detection filter.
    kinds = (Mesh.of, Mesh.of_filtered) if detects else (Mesh.of,)
    alone: list[list[Mesh]] = []
    weighed: list[list[Mesh]] = []
    for strip in cut_strips(shape, EDGE_ROWS):
        flux = np.empty((strip.view.stop - strip.view.start, shape[1]), np.float32)
        variance = _read_rows(tile, band, strip.view, flux)
        core = strip.local((strip.core, slice(None)))
        count += int(np.count_nonzero(np.isfinite(flux[core])))
        # Whether the variance is known anywhere shows at the end; until then both ways to weigh pixels are kept.
        alone.append([measure(flux[core]) for measure in kinds])
        if variance is not None:
            has_variance = has_variance or not np.isnan(variance[core]).all()
            weighed.append([measure(flux[core], variance[core]) for measure in kinds])
    meshes = (Mesh.join(parts) for parts in zip(*(weighed if has_variance else alone), strict=True))
    return _BandSummary(count / math.prod(shape), has_variance, Background.over(*meshes))


def _read_rows(tile: Tile, band: Band, rows: slice, flux: Image) -> Image | None:
    """Read rows of one band into ``flux`` [rows, W], NaN where the tile lacks the band; its variance [rows, W]."""
    if band.name not in tile.files:
        return read_band(None, flux)[1]
    with ExitStack() as stack:
        file = open_band(stack, band, tile.files[band.name], with_variance=True)
        return read_band(file.cut((rows, slice(0, flux.shape[1]))), flux)[1]


def _drift(shape: tuple[int, int], wcs: Mapping[str, CelestialWCS], detection: str) -> int:
    """The most by which a place's row in any band differs from that in the detection band, and one more."""
    height, width = shape
    y, x = (axis.ravel() for axis in np.mgrid[0 : height - 1 : _PROBES * 1j, 0 : width - 1 : _PROBES * 1j])
    ra, dec = wcs[detection].pixels_to_sky(x, y)
    away = [np.abs(other.sky_to_pixels(ra, dec)[1] - y) for other in wcs.values()]
    return min(math.ceil(float(np.nanmax(away))), height) + 1

"""Preparation of one tile for the encoder: bands are read, objects found, all columns but the embedding filled."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from scanner.encoder.buffers import Encoded
from scanner.encoder.contract import Contract
from scanner.images.sky.placement import check_place
from scanner.images.strips import read_strips
from scanner.images.tile_images import Room, TileImages, open_tile
from scanner.scan.options import DETECT, GRID, LOW, ScanOptions
from scanner.scan.report import Seconds, TileReport
from scanner.scan.unchanged import unchanged
from scanner.sources.apertures import DIAMETER
from scanner.sources.detect import extracted
from scanner.sources.dropped import Dropped
from scanner.sources.sources import Sources, detect, from_file, grid
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile, tile_number
from scanner.windows.frame import WindowFrame
from scanner.windows.resample import MARGIN
from scanner.windows.windows import Windows, check_scale

Columns = Mapping[str, NDArray[Any]]
_NO_PIXELS = np.zeros((0, 0, 0), np.float32)
ROWS_A_TILE = 1_000_000
"""Object ids of a tile: its number times this, plus the place of the row."""


@dataclass(frozen=True)
class ReaderJob:
    """What a reader needs besides the tile; the same for every tile of a scan."""

    survey: Survey
    contract: Contract
    options: ScanOptions

    @property
    def frame(self) -> WindowFrame:
        """The pixels that the model takes around a source."""
        return WindowFrame(*self.contract.frame)


@dataclass(frozen=True)
class Presence:
    """Which bands have data in a cutout: by its pixels in the model's bands, by the tile's in the others.

    ``model_bands`` are in channel order; ``in_tile`` says of each band of the survey whether the tile has data in it.
    """

    model_bands: tuple[str, ...]
    in_tile: Mapping[str, bool]

    def names(self, valid: NDArray[np.float32]) -> NDArray[Any]:
        """For ``valid`` [n, B], the share of pixels with data: n texts, bands in survey order."""
        patterns, which = np.unique(valid > 0, axis=0, return_inverse=True)
        texts = []
        for pattern in patterns:
            in_cutout = dict(zip(self.model_bands, pattern, strict=True))
            texts.append("".join(band for band, present in self.in_tile.items() if in_cutout.get(band, present)))
        return np.array(texts, dtype=object)[which.reshape(-1)]


@dataclass(frozen=True)
class Prepared:
    """A strip of a tile, ready for the encoder: cutouts to gather, and rows that lack only their embeddings.

    While it travels between processes its pixels, of ``shape`` [B, H, W], stay in shared memory: see ``over``.
    ``dropped`` counts positions of a table that are not among the rows. The ``last`` part completes the tile.
    ``notes`` are for the tile's report. ``positions_sha256`` is the digest of the table of positions, where they come
    from one. ``extracted`` is what sep has found in this process so far.
    """

    tile: Tile
    windows: Windows
    shape: tuple[int, ...]
    rows: Columns
    seconds: Seconds
    presence: Presence
    score_columns: tuple[str, ...]
    dropped: Dropped
    last: bool = True
    notes: tuple[str, ...] = ()
    positions_sha256: str = ""
    extracted: int = 0

    def __len__(self) -> int:
        return len(self.windows)

    def columns(self, start: int, stop: int, valid: NDArray[np.float32], encoded: Encoded) -> dict[str, NDArray[Any]]:
        """Catalogue rows ``start`` to ``stop``: ``valid`` [n, B] is the share of pixels with data.

        Rows without any data, or without a finite vector, are dropped.
        """
        vectors, scores = encoded
        good = valid.any(axis=1) & np.isfinite(vectors).all(axis=1)
        rows = {name: values[start:stop][good] for name, values in self.rows.items()}
        rows["bands_present"] = self.presence.names(valid[good])
        rows["valid_fraction"] = valid[good].mean(axis=1, dtype=np.float32)
        rows |= dict(zip(self.score_columns, scores[good].T, strict=True))
        rows["embedding"] = vectors[good]
        return rows

    def over(self, flux: NDArray[np.float32]) -> Prepared:
        """The same part with its pixels [B, H, W] in memory that this process can reach."""
        return replace(self, windows=self.windows.over(flux))


def prepare(job: ReaderJob, tile: Tile, room: Room | None = None) -> Iterator[Prepared | TileReport]:
    """Read a tile and find its objects; one part for each strip, the last one marked as such.

    Any error becomes a report, and nothing follows it. ``room`` gives the memory for the pixels of a part, of a shape
    [B, H, W]; without it, memory of this process is used.
    """
    try:
        yield from _parts(job, tile, room)
    except Exception as error:  # noqa: BLE001  (one odd tile must not end a scan of a week)
        yield TileReport.failed(tile.name, error)


def _parts(job: ReaderJob, tile: Tile, room: Room | None) -> Iterator[Prepared]:
    """The parts of a tile, strip by strip; the whole tile is one strip unless memory is low."""
    options, rows, began = job.options, 0, time.perf_counter()
    tables: set[str] = set()
    if options.bands is not None:  # the columns of the other bands stay, without data
        tile = replace(tile, files={band: path for band, path in tile.files.items() if band in options.bands})

    with unchanged(job.survey, tile):
        if options.memory == LOW:
            detects = options.sources == DETECT
            strips = read_strips(job.survey, tile, partial(_reach, job), room, options.checksums, detects)
        else:
            strips = iter([open_tile(job.survey, tile, room=room, checksums=options.checksums)])
        images = next(strips)
        if not options.resample:
            check_scale(images, job.frame)
        while not images.strip.is_last:
            part = _part(job, tile, images, time.perf_counter() - began, rows, room)
            rows += len(part)
            tables.add(part.positions_sha256)
            yield part
            del images, part  # their memory is needed for the next strip
            began = time.perf_counter()
            images = next(strips)
    # All is read: that the files stayed the same is known before the last part, which completes the tile.
    part = _part(job, tile, images, time.perf_counter() - began, rows, room)
    if tables - {part.positions_sha256}:
        raise ScannerError(
            ErrorCode.TILE_CHANGED,
            f"The table of positions of tile {tile.name} changed while the tile was read.",
            "Run the same command again when nothing writes to it; the tile is retried.",
        )
    yield part


def _part(
    job: ReaderJob, tile: Tile, images: TileImages, read_seconds: float, before: int, room: Room | None
) -> Prepared:
    """What is in a strip that was read; ``before``: rows of the tile's earlier strips."""
    began = time.perf_counter()
    options = job.options
    if options.sources == DETECT:
        sources = detect(images, min_snr=options.min_snr)
    elif options.sources == GRID:
        sources = grid(images, options.stride)
    else:
        sources = from_file(options.sources, images)
    wcs = images.wcs[images.detection]
    place_notes = () if wcs is None else check_place(job.survey, images.name, wcs, images.shape, sources.by_sky)
    windows = Windows(images, sources, job.frame)
    return Prepared(
        tile=tile,
        windows=windows if room is None else windows.over(_NO_PIXELS),  # pixels of a room stay where they are
        shape=images.flux.shape,
        # Off its place no tile of the grid is a neighbour, so that no row is another tile's.
        rows=_rows(images.name, sources, before, grid=None if place_notes else job.survey.grid),
        seconds=Seconds(read=read_seconds, detect=time.perf_counter() - began),
        presence=Presence(job.contract.bands, dict(zip(images.bands, images.present, strict=True))),
        score_columns=job.contract.scores.columns if job.contract.scores else (),
        dropped=sources.dropped_by,
        last=images.strip.is_last,
        notes=(*images.notes, *place_notes, *sources.notes),
        positions_sha256=sources.sha256,
        extracted=extracted(),
    )


def _rows(name: str, sources: Sources, before: int, grid: str | None) -> Columns:
    """Columns of the catalogue that are known before the encoder has run."""
    count = before + len(sources)
    if count > ROWS_A_TILE:
        message = f"Tile {name} has {count} positions, more than the {ROWS_A_TILE} that object ids allow."
        raise ScannerError(ErrorCode.TILE_TOO_MANY, message, "Raise --min-snr, or --stride of a grid.")
    first = tile_number(name) * ROWS_A_TILE + before
    return {
        **sources.table(),
        "object_id": first + np.arange(len(sources), dtype=np.int64),
        "detection_band": np.full(len(sources), sources.detection_band, dtype=object),
        "is_primary": unions_grid.is_primary(name, sources.ra, sources.dec, grid),
    }


def _reach(job: ReaderJob, pixel_scale: float) -> int:
    """How far from a position its pixels are needed: half a window, half an aperture or half a step of the grid."""
    window = job.frame.window * max(job.frame.pixel_scale / pixel_scale, 1.0) / 2 + MARGIN
    aperture = DIAMETER / 2 / pixel_scale
    return math.ceil(max(window, aperture, job.options.stride if job.options.sources == GRID else 0)) + 3

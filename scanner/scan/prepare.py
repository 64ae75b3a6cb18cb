"""One tile made ready for the encoder: its bands read, its objects found, and every column that needs no vector."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from scanner.encoder.contract import Contract
from scanner.images import strips
from scanner.images import tile_images as images
from scanner.images.tile_images import Room, TileImages
from scanner.images.unchanged import unchanged
from scanner.scan.options import DETECT, GRID, LOW, ScanOptions
from scanner.scan.report import Seconds, TileReport
from scanner.sources import apertures as photometry
from scanner.sources import sources
from scanner.sources.sources import Sources
from scanner.survey import tile as tiles
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.windows.frame import WindowFrame
from scanner.windows.resample import MARGIN
from scanner.windows.windows import Windows, check_scale

Columns = Mapping[str, NDArray[Any]]
_NOTHING = np.zeros((0, 0, 0), np.float32)
ROWS_A_TILE = 1_000_000


@dataclass(frozen=True)
class Job:
    """What whoever reads a tile must know; the same for every tile of a scan."""

    survey: Survey
    contract: Contract
    options: ScanOptions

    @property
    def frame(self) -> WindowFrame:
        """What the model sees around a source."""
        return WindowFrame(*self.contract.frame)


@dataclass(frozen=True)
class Presence:
    """Which bands have data in a window: by its pixels where the model sees the band, else by the tile's.

    ``seen`` are the model's bands in channel order; ``elsewhere`` tells of each survey band whether the tile has it.
    """

    seen: tuple[str, ...]
    elsewhere: Mapping[str, bool]

    def names(self, valid: NDArray[np.float32]) -> NDArray[Any]:
        """For ``valid`` [n, B], the share of pixels with data: n texts, bands in survey order."""
        patterns, which = np.unique(valid > 0, axis=0, return_inverse=True)
        texts = [self._text(dict(zip(self.seen, pattern, strict=True))) for pattern in patterns]
        return np.array(texts, dtype=object)[which.reshape(-1)]

    def _text(self, here: Mapping[str, bool]) -> str:
        return "".join(band for band, there in self.elsewhere.items() if here.get(band, there))


@dataclass(frozen=True)
class Prepared:
    """A tile, or a part of one, whose windows can be gathered and whose rows want only their vectors.

    While it travels between processes its pixels, of ``shape`` [B, H, W], stay behind in a slot: see ``over``.
    ``dropped`` counts positions that were asked for and lie outside the tile. With the ``last`` part the tile is whole.
    """

    tile: Tile
    windows: Windows
    shape: tuple[int, ...]
    rows: Columns
    seconds: Seconds
    presence: Presence
    dropped: int
    last: bool = True

    def __len__(self) -> int:
        return len(self.windows)

    def columns(
        self, start: int, stop: int, valid: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """Catalogue rows ``start`` to ``stop``: ``valid`` [n, B] is the share of pixels with data, ``vectors`` [n, D].

        Rows without any data, or without a finite vector, are left out.
        """
        good = valid.any(axis=1) & np.isfinite(vectors).all(axis=1)
        rows = {name: values[start:stop][good] for name, values in self.rows.items()}
        rows["bands_present"] = self.presence.names(valid[good])
        rows["valid_fraction"] = valid[good].mean(axis=1, dtype=np.float32)
        rows["embedding"] = vectors[good]
        return rows

    def over(self, flux: NDArray[np.float32]) -> Prepared:
        """The same tile with its pixels [B, H, W] where this process can reach them."""
        return replace(self, windows=self.windows.over(flux))


def prepare(job: Job, tile: Tile, room: Room | None = None) -> Iterator[Prepared | TileReport]:
    """Read a tile and find its objects: one part, or with little memory several; the last of them says so.

    Whatever is wrong with the tile becomes a report, which ends it. ``room`` gives the memory for the pixels of a
    part, of a shape [B, H, W]; without it, memory of this process is used.
    """
    try:
        tile = _with_bands(tile, job.options.bands)
        yield from (_in_strips if job.options.memory == LOW else _whole)(job, tile, room)
    except Exception as error:  # noqa: BLE001  (of a week's scan, one odd tile must not be the end)
        yield TileReport.failed(tile.name, error)


def _with_bands(tile: Tile, bands: tuple[str, ...] | None) -> Tile:
    """The tile as if it had files in these bands only: the columns of the others are there all the same."""
    if bands is None:
        return tile
    return replace(tile, files={band: path for band, path in tile.files.items() if band in bands})


def _find(options: ScanOptions, opened: TileImages) -> Sources:
    if options.sources == DETECT:
        return sources.detect(opened, min_snr=options.min_snr)
    if options.sources == GRID:
        return sources.grid(opened, options.stride)
    return sources.from_file(options.sources, opened)


def _rows(job: Job, opened: TileImages, found: Sources, before: int) -> Columns:
    """Columns of the catalogue that are known before the encoder has run; ``before``: rows of the tile before these."""
    if before + len(found) > ROWS_A_TILE:
        why = f"Tile {opened.name} has {before + len(found)} positions; object ids leave room for {ROWS_A_TILE}."
        raise ScannerError(ErrorCode.TILE_TOO_MANY, why, "Raise --min-snr, or --stride of a grid.")
    first = tiles.tile_number(opened.name) * ROWS_A_TILE + before
    return {
        **found.table(),
        "object_id": first + np.arange(len(found), dtype=np.int64),
        "detection_band": np.full(len(found), found.detection_band, dtype=object),
        "is_primary": unions_grid.is_primary(opened.name, found.ra, found.dec, job.survey.grid),
    }


def _whole(job: Job, tile: Tile, room: Room | None) -> Iterator[Prepared]:
    began = time.perf_counter()
    with unchanged(job.survey, tile):
        opened = images.open_tile(job.survey, tile, room=room)
    yield _found(job, tile, opened, time.perf_counter() - began, room is not None)


def _in_strips(job: Job, tile: Tile, room: Room | None) -> Iterator[Prepared]:
    began, rows = time.perf_counter(), 0
    with unchanged(job.survey, tile):
        opened = strips.Strips(job.survey, tile)
        check_scale(tile.name, opened.pixel_scale, job.frame, job.options.resample)
        *others, last = opened.cut(_reach(job, opened.pixel_scale))
        for strip in others:
            read = opened.read(strip, room(opened.strip_shape(strip)) if room else None)
            part = _found(job, tile, read, time.perf_counter() - began, room is not None, rows, last=False)
            rows += len(part)
            yield part
            del read, part  # their memory is needed for the next
            began = time.perf_counter()
        read = opened.read(last, room(opened.strip_shape(last)) if room else None)
    yield _found(job, tile, read, time.perf_counter() - began, room is not None, rows)


def _reach(job: Job, pixel_scale: float) -> int:
    """How far from a position its pixels are needed: half a window, half an aperture, half a step of the grid."""
    window = job.contract.window * max(job.contract.pixel_scale / pixel_scale, 1.0) / 2 + MARGIN
    aperture = photometry.DIAMETER / 2 / pixel_scale
    return math.ceil(max(window, aperture, job.options.stride if job.options.sources == GRID else 0)) + 3


def _found(
    job: Job, tile: Tile, opened: TileImages, seconds: float, elsewhere: bool, first: int = 0, last: bool = True
) -> Prepared:
    """What is in the pixels that were read; ``elsewhere``: they stay behind in a room."""
    began = time.perf_counter()
    check_scale(opened.name, opened.pixel_scale, job.frame, job.options.resample)
    found = _find(job.options, opened)
    windows = Windows(opened, found, job.frame, resample=job.options.resample)
    return Prepared(
        tile=tile,
        windows=windows.over(_NOTHING) if elsewhere else windows,
        shape=opened.flux.shape,
        rows=_rows(job, opened, found, first),
        seconds=Seconds(read=seconds, detect=time.perf_counter() - began),
        presence=Presence(job.contract.bands, dict(zip(opened.bands, opened.present, strict=True))),
        dropped=found.dropped,
        last=last,
    )

"""One tile made ready for the encoder: its bands read, its objects found, and every column that needs no vector."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ScannerError

from . import images, sources, tiles
from .cutouts import Windows, check_scale
from .images import TileImages
from .model import Contract
from .options import DETECT, GRID, ScanOptions
from .report import Seconds, TileReport
from .sources import Sources
from .survey import Survey
from .tiles import Tile
from .unchanged import unchanged

Room = Callable[[tuple[int, ...]], NDArray[np.float32]]
Columns = Mapping[str, NDArray[Any]]
_NOTHING = np.zeros((0, 0, 0), np.float32)
ROWS_A_TILE = 1_000_000


@dataclass(frozen=True)
class Job:
    """What whoever reads a tile must know; the same for every tile of a scan."""

    survey: Survey
    contract: Contract
    options: ScanOptions


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
    """A tile whose windows can be gathered and whose rows want only their vectors.

    While it travels between processes its pixels, of ``shape`` [B, H, W], stay behind in a slot: see ``over``.
    ``dropped`` counts positions that were asked for and lie outside the tile.
    """

    tile: Tile
    windows: Windows
    shape: tuple[int, ...]
    rows: Columns
    seconds: Seconds
    presence: Presence
    dropped: int

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


def prepare(job: Job, tile: Tile, room: Room | None = None) -> Prepared | TileReport:
    """Read a tile and find its objects; whatever is wrong with it becomes a report.

    ``room`` gives the memory for the pixels of a shape [B, H, W]; without it, memory of this process is used.
    """
    try:
        return _prepare(job, tile, room)
    except Exception as error:  # noqa: BLE001  (of a week's scan, one odd tile must not be the end)
        return failed(tile, error)


def failed(tile: Tile, error: BaseException) -> TileReport:
    """The report of a tile that gave nothing. An error that nobody foresaw says where in the code it arose."""
    if isinstance(error, ScannerError):
        return TileReport(tile.name, "failed", code=error.code, message=error.message, hint=error.hint)
    if isinstance(error, MemoryError):
        why = f"Tile {tile.name} needs more memory than there is."
        return TileReport(tile.name, "failed", code="tile.out_of_memory", message=why, hint="Give fewer --readers.")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return TileReport(
        tile.name,
        "failed",
        code="tile.unexpected",
        message=f"Tile {tile.name} met an error that was not foreseen: {error!r}{where}.",
        hint="Please report this message with the tile's name; the other tiles are not affected.",
    )


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


def _rows(job: Job, opened: TileImages, found: Sources) -> Columns:
    """Columns of the catalogue that are known before the encoder has run."""
    if len(found) > ROWS_A_TILE:
        why = f"Tile {opened.name} has {len(found)} positions; object ids leave room for {ROWS_A_TILE}."
        raise ScannerError("tile.too_many", why, "Raise --min-snr, or --stride of a grid.")
    first = tiles.tile_number(opened.name) * ROWS_A_TILE
    return {
        **found.table(),
        "object_id": first + np.arange(len(found), dtype=np.int64),
        "detection_band": np.full(len(found), found.detection_band, dtype=object),
        "is_primary": tiles.is_primary(opened.name, found.ra, found.dec, job.survey.grid),
    }


def _prepare(job: Job, tile: Tile, room: Room | None) -> Prepared:
    began = time.perf_counter()
    tile = _with_bands(tile, job.options.bands)
    with unchanged(job.survey, tile):
        out = room(images.tile_shape(job.survey, tile)) if room else None
        opened = images.open_tile(job.survey, tile, out=out)
    check_scale(opened.name, opened.pixel_scale, job.contract, job.options.resample)
    read = time.perf_counter()
    found = _find(job.options, opened)
    windows = Windows(opened, found, job.contract, resample=job.options.resample)
    present = dict(zip(opened.bands, opened.present, strict=True))
    return Prepared(
        tile=tile,
        windows=windows.over(_NOTHING) if room else windows,
        shape=opened.flux.shape,
        rows=_rows(job, opened, found),
        seconds=Seconds(read=read - began, detect=time.perf_counter() - read),
        presence=Presence(job.contract.bands, present),
        dropped=found.dropped,
    )

"""Ranges of columns of the tiles of a shard, by row group: a filter rules out tiles without opening their files.

``<shard>-<content>.ranges`` lies beside the data files of a shard. Its name has the digest of the indexed tile files,
so that it is never read for others, and it holds its own checksum. Shards of earlier versions have none until the next
``scanner index``; without one, nothing is ruled out.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs import parquet_files
from catalogs.atomic import write_text
from catalogs.errors import ScannerError
from catalogs.index import shards
from catalogs.index.shards import CoveredTile, Shard
from catalogs.records import load_json
from catalogs.store.column_ranges import ColumnRange, Ranges
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import TileStore

if TYPE_CHECKING:
    from catalogs.store.backend import Backend

log = logging.getLogger(__name__)

SUFFIX = ".ranges"
_CRC_KEY = "crc32"


@dataclass(frozen=True)
class ShardRanges:
    """Ranges in all row groups [G] of a shard, and the number of the tile [G] of each in the shard's list."""

    tile: NDArray[np.int64]
    ranges: Ranges


def write(catalogue: TileStore, shard: Shard) -> None:
    """Write the ranges of a shard's tiles; a tile that has changed since it was indexed has none, and any row may pass.

    Raises:
        ScannerError: ``output.full``, ``output.read_only``.
    """
    names = [
        field.name for field in catalogue.schema if field.name != EMBEDDING and not pa.types.is_boolean(field.type)
    ]
    tiles: list[int] = []
    # For each column, ends of its range in each row group, None where they are not known.
    ends: dict[str, tuple[list[Any], list[Any]]] = {name: ([], []) for name in names}
    for number, tile in enumerate(shard.tiles):
        found = _read_tile(catalogue, tile, names)
        if found is None:
            continue
        tiles += [number] * found.groups
        for name, (low, high) in ends.items():
            lows, highs = _listed(found.columns.get(name), found.groups)
            low += lows
            high += highs
    values: dict[str, Any] = {"content": shard.content, "tile": tiles, "columns": ends}
    folder = catalogue.path / "index"
    write_text(shard.path(folder, SUFFIX), json.dumps({**values, _CRC_KEY: _crc32(values)}), clear=False)


def rule_out(catalogue: Backend, footers: Sequence[Footer], selection: Selection) -> frozenset[str]:
    """Name the tiles, of those listed, in which no row passes, by the ranges that the index has of them.

    A tile whose file has another size or time than the indexed one is not ruled out; nor is one of a catalogue that is
    no folder of tiles.
    """
    if not footers or selection.possible() is None or not isinstance(catalogue, TileStore):
        return frozenset()
    by_name = {footer.tile: footer for footer in footers}
    ruled_out: set[str] = set()
    for shard in _shards(catalogue):
        may = may_pass(shard, catalogue.path / "index", selection)
        for tile, passes in zip(shard.tiles, may.tolist(), strict=True):
            footer = by_name.get(tile.tile)
            if not passes and footer and (footer.size, footer.mtime_ns) == (tile.size, tile.mtime_ns):
                ruled_out.add(tile.tile)
    return frozenset(ruled_out)


def may_pass(shard: Shard, folder: Path, selection: Selection) -> NDArray[np.bool_]:
    """Tell the tiles [T] of a shard, as they were indexed, in which a row may pass; all without a file of ranges."""
    may, possible = np.ones(len(shard.tiles), bool), selection.possible()
    known = read(shard, folder) if possible is not None else None
    if possible is not None and known is not None:
        may[known.tile] = False
        may[known.tile[possible.may_hold(known.ranges)]] = True
    return may


def size(shard: Shard, folder: Path) -> int:
    """Return the bytes of the ranges of a shard; 0 without a file of them."""
    path = shard.path(folder, SUFFIX)
    return path.stat().st_size if path.is_file() else 0


def read(shard: Shard, folder: Path) -> ShardRanges | None:
    """Read the ranges of a shard; None where there are none, or where they are damaged."""
    path = shard.path(folder, SUFFIX)
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns, shard.content, len(shard.tiles))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning(
            "%s cannot be read (%s). It rules out no tile; bring the index up to date: scanner index", path, error
        )
        return None


@functools.lru_cache(4096)
def _read(path: Path, size: int, mtime_ns: int, content: str, tiles: int) -> ShardRanges:
    values = load_json(path)
    if values.pop(_CRC_KEY) != _crc32(values) or values["content"] != content:
        raise ValueError("its checksum differs")
    tile = np.array(values["tile"], np.int64)
    if len(tile) and not 0 <= tile.min() <= tile.max() < tiles:
        raise ValueError("its tiles are not those of its shard")
    columns: dict[str, ColumnRange] = {}
    for name, (low, high) in values["columns"].items():
        if not len(low) == len(high) == len(tile):
            raise ValueError(f"its column {name} has another number of row groups")
        column = ColumnRange.of(low, high)
        if column is not None:
            columns[name] = column
    return ShardRanges(tile, Ranges(len(tile), columns))


def _read_tile(catalogue: TileStore, tile: CoveredTile, names: Sequence[str]) -> Ranges | None:
    """Take the ranges of a tile from its footer; None where the file is not the one that was indexed."""
    path = catalogue.tile_path(tile.tile)
    try:
        with parquet_files.open_file(path) as source:
            metadata, _ = parquet_files.read_footer(source)
        # Compared after the read: a file that is replaced meanwhile has another time.
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (tile.size, tile.mtime_ns):
            return None
        return Ranges.of_footer(metadata, names)
    except (OSError, pa.ArrowException, ValueError, KeyError):
        return None


def _listed(column: ColumnRange | None, groups: int) -> tuple[list[Any], list[Any]]:
    """List both ends, None where the range is not known, or where JSON has no number for it."""
    if column is None:
        return [None] * groups, [None] * groups
    pairs = zip(column.known.tolist(), column.low.tolist(), column.high.tolist(), strict=True)
    kept = [
        (low, high) if known and _is_finite(low) and _is_finite(high) else (None, None) for known, low, high in pairs
    ]
    return [low for low, _ in kept], [high for _, high in kept]


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _shards(catalogue: TileStore) -> Iterator[Shard]:
    """Read the sidecars of the catalogue's model; what is damaged is left to those who search by it."""
    for path in sorted((catalogue.path / "index").glob("shard-*.json")):
        try:
            shard = shards.read(path, catalogue.info.dim)
        except ScannerError:
            continue
        if shard.content and shard.model_sha256 == catalogue.info.model_sha256:
            yield shard


def _crc32(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())

"""A catalogue for a server: what it read once of the tiles stays in memory, up to a bound.

Every question takes the same way as elsewhere, and only bytes come from another place. Decoded columns are kept. The
vectors of a tile that the index covers come from the index's memory map, which has all their digits but not their
length; the pages of the map are the system's, which takes them back where it needs memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.bounded_cache import BoundedCache
from catalogs.errors import ScannerError
from catalogs.index.coverage import covering
from catalogs.index.half_vectors import HalfVectors, record_type
from catalogs.index.shards import ITEM, ROWS, VECTORS
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store import vectors
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.provenance import Info
from catalogs.store.schema import EMBEDDING, IS_PRIMARY
from catalogs.store.tile_reader import Selection, TileFile
from catalogs.store.tile_store import TileStore
from catalogs.store.vectors import Vectors

log = logging.getLogger(__name__)

KEPT_BYTES = 768 * 2**20
"""Bytes that stay: half of them columns, to look through, half of them records of chosen columns, to take rows of.

Of vectors, as many stay mapped.
"""


@dataclass(frozen=True)
class _MappedTile:
    """The rows of a tile in a shard: items ``start`` to ``end``, which are the ``rows`` of its file."""

    footer: Footer
    half: HalfVectors
    start: int
    end: int
    rows: NDArray[np.int32]

    def read(self, first: int, end: int) -> Vectors:
        """Read the vectors of rows of the file, NaN for those without a valid one."""
        low, high = np.searchsorted(self.rows, [first, end])
        # The rows between are all of them, unless some have no vector.
        held = self.half.between(self.start + int(low), self.start + int(high))
        if high - low == end - first:
            return held
        answer = np.full((end - first, self.half.dim), np.nan, np.float32)
        answer[self.rows[low:high] - first] = held
        return answer

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Read the vectors of these rows of the file, NaN for those without a valid one."""
        place = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        there = self.rows[place] == rows if len(self.rows) else np.zeros(len(rows), bool)
        answer = np.full((len(rows), self.half.dim), np.nan, np.float32)
        answer[there] = self.half.chosen(self.start + place[there])
        return answer


class ResidentStore(TileStore):
    """A catalogue of which decoded columns stay in memory, up to ``KEPT_BYTES``, for as many threads as there are.

    Embeddings have the direction of the stored ones, and not their length. The snapshot is the same one, with its open
    files, as long as the tiles and the index are.
    """

    # Where many ask at once, comparing a million rows for each would take the cores from all others.
    exact_numbers = 20_000_000

    def __init__(self, path: Path, info: Info) -> None:
        super().__init__(path, info)
        self.columns: BoundedCache[pa.Table] = BoundedCache(KEPT_BYTES // 2, lambda table: int(table.nbytes))
        self.kept_records: BoundedCache[NDArray[np.void]] = BoundedCache(KEPT_BYTES // 2, lambda kept: kept.nbytes)
        self._lock = threading.Lock()
        self._state: object = None
        self._current: Snapshot | None = None
        self._mapped: dict[str, _MappedTile] = {}

    def snapshot(self) -> Snapshot:
        """List the tiles now."""
        # The lists of footers are not made for several threads.
        with self._lock:
            fresh = super().snapshot()
            state = fresh.footers, tuple(error.message for error in fresh.errors), _changed(self.path / "index")
            if self._current is None or state != self._state:
                self._mapped = self._map(fresh)
                self._current, self._state = fresh, state
            return self._current

    def open_tile(self, tile: str) -> TileFile:
        """Open a tile's file.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        return _ResidentTile(self, self.tile_path(tile))

    def records(self, snapshot: Snapshot, footer: Footer, columns: Sequence[str]) -> NDArray[np.void] | None:
        """Give the rows of a tile, made into records once; None for what records cannot hold."""
        if EMBEDDING in columns:
            return None
        # Which copies count depends on the tiles that are there.
        owners = hash(snapshot.owners.tiles) if snapshot.owners and IS_PRIMARY in columns else 0
        key = footer.tile, footer.size, footer.mtime_ns, ",".join(columns), owners
        held = self.kept_records.find(key)
        if held is None:
            try:
                with snapshot.open(footer) as file:
                    # Another file may have taken the place of the one that was listed.
                    if not (isinstance(file, _ResidentTile) and file.is_of(footer)):
                        return None
                    made = file.records(columns, snapshot.owners)
            except ScannerError:
                # To take the rows raises it again, and finds out why.
                return None
            held = None if made is None else self.kept_records.put(key, made)
        return held

    def mapped(self, tile: str, identity: tuple[int, int, int]) -> _MappedTile | None:
        """The vectors of a tile in the index; None where that does not have this file of it."""
        found = self._mapped.get(tile)
        return found if found is not None and (found.footer.size, found.footer.mtime_ns) == identity[1:] else None

    def _map(self, snapshot: Snapshot) -> dict[str, _MappedTile]:
        mapped: dict[str, _MappedTile] = {}
        folder = self.path / "index"
        try:
            shards = list(covering(self, snapshot.footers))
            stay = sum(record_type(shard.dim).itemsize * shard.rows for shard, _ in shards) <= KEPT_BYTES
            for shard, tiles in shards:
                try:
                    half = HalfVectors(shard.path(folder, VECTORS), shard.dim, stay)
                    items = np.load(shard.path(folder, ROWS), mmap_mode="r")
                    if items.dtype != ITEM or not len(items) == len(half) == shard.rows:
                        raise ValueError("its items are not those of its sidecar")
                except (OSError, ValueError) as error:
                    log.warning("The index file %s cannot be read (%s).", shard.name, error)
                    continue
                ends = np.cumsum([tile.rows for tile in shard.tiles]).tolist()
                for footer, tile, end in zip(tiles, shard.tiles, ends, strict=True):
                    rows = np.array(items["row"][end - tile.rows : end])
                    # Rows are in the order of the file, so that they can be searched.
                    if footer is not None and (np.diff(rows) > 0).all():
                        mapped[footer.tile] = _MappedTile(footer, half, end - tile.rows, end, rows)
        except ScannerError as error:
            # A search says so, too; vectors come from the tiles.
            log.warning("%s %s", error.message, error.hint)
        return mapped


class _ResidentTile(TileFile):
    """A tile's file; what was read of it before is not read again."""

    def __init__(self, store: ResidentStore, path: Path) -> None:
        self._store = store
        super().__init__(path, store.schema)

    def is_of(self, footer: Footer) -> bool:
        """Whether it is the file that was listed."""
        return self._identity[1:] == (footer.size, footer.mtime_ns)

    def row_groups(self, selection: Selection) -> list[int]:
        """List the row groups that may hold selected rows."""
        # What is in memory is looked through faster than its statistics are compared.
        return [0] if len(self._sizes) == 1 else super().row_groups(selection)

    def records(self, columns: Sequence[str], owners: OverlapOwners | None) -> NDArray[np.void] | None:
        """Make records of all rows; None for what records cannot hold."""
        tables = [self._read_resolved(group, columns, owners) for group in range(len(self._sizes))]
        # A missing value has no place in an array of numbers.
        if not tables or any(column.null_count for table in tables for column in table.columns):
            return None
        arrays = {
            name: _plain(pa.chunked_array([c for t in tables for c in t.column(name).chunks])) for name in columns
        }
        made = np.empty(int(self._starts[-1]), [(name, array.dtype) for name, array in arrays.items()])
        for name, array in arrays.items():
            made[name] = array
        return made

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        if not columns:
            return super()._read(group, columns)
        known: dict[str, pa.Table] = {}
        for name in dict.fromkeys(columns):
            found = self._vectors(group) if name == EMBEDDING else self._store.columns.find(self._key(group, name))
            if found is not None:
                known[name] = found
        if missing := [name for name in dict.fromkeys(columns) if name not in known]:
            table = super()._read(group, missing)
            for name in missing:
                known[name] = table.select([name])
                # Embeddings are most of the bytes, and those that are asked for most are in the map.
                if name != EMBEDDING:
                    known[name] = self._store.columns.put(self._key(group, name), known[name].combine_chunks())
        if len(columns) == 1:
            return known[columns[0]]
        fields = [known[name].schema.field(0) for name in columns]
        return pa.Table.from_arrays([known[name].column(0) for name in columns], schema=pa.schema(fields))

    def _read_resolved(self, group: int, columns: Sequence[str], owners: OverlapOwners | None) -> pa.Table:
        if owners is None or IS_PRIMARY not in columns:
            return super()._read_resolved(group, columns, owners)
        # Which copies count depends on the tiles that are there, so these are part of the key.
        key = (*self._key(group, IS_PRIMARY), hash(owners.tiles))
        flags = self._store.columns.find(key)
        if flags is None:
            flags = self._store.columns.put(
                key, super()._read_resolved(group, [IS_PRIMARY], owners).select([IS_PRIMARY])
            )
        table = self._read(group, columns)
        place = table.schema.get_field_index(IS_PRIMARY)
        return table.set_column(place, table.schema.field(place), flags.column(0))

    def _key(self, group: int, name: str) -> tuple[Any, ...]:
        return (self.path, self._identity, group, name)

    def _embeddings(self, group: int, here: NDArray[np.int64]) -> pa.Table:
        mapped = self._store.mapped(self.path.stem, self._identity)
        # Few rows of a map cost little; a tile has to be decoded as a whole.
        if mapped is None or 2 * len(here) > self._sizes[group]:
            return super()._embeddings(group, here)
        return self._as_table(mapped.take(here + int(self._starts[group])))

    def _vectors(self, group: int) -> pa.Table | None:
        mapped = self._store.mapped(self.path.stem, self._identity)
        if mapped is None:
            return None
        first = int(self._starts[group])
        return self._as_table(mapped.read(first, first + self._sizes[group]))

    def _as_table(self, read: Vectors) -> pa.Table:
        field = self._schema.field(EMBEDDING)
        return pa.Table.from_arrays([vectors.to_arrow(read, field.type)], schema=pa.schema([field]))


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values.astype(str) if values.dtype == object else values


def _changed(folder: Path) -> int:
    """When a file of the folder was last added or removed; 0 without a folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0

"""Searches in the shards of an index. Engine files are mapped once and stay open between queries.

So do the vectors and items of a small index. A map that is new has none of its pages, and to find some hundred rows in
it takes several times as long as the engine. Those of a large one would be most of the resident memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.bounded_cache import BoundedCache
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ENGINE, ITEM, ROWS, VECTORS, Shard
from catalogs.store.vectors import Vectors

_OPEN = 512
"""Shards whose engine file stays mapped between queries."""
_KEPT_BYTES = 2**29
"""Bytes of vectors and items that stay mapped between queries, in all shards together."""
_LEAST_BYTES = 2**22
"""What a shard counts for at least: each has two files open, and a process may often open 1,024 only."""


@dataclass(frozen=True)
class _Maps:
    """The mapped items and vectors of a shard."""

    items: NDArray[np.void]
    vectors: HalfVectors

    @property
    def bytes(self) -> int:
        return max(self.items.nbytes + self.vectors.bytes, _LEAST_BYTES)


_maps: BoundedCache[_Maps] = BoundedCache(_KEPT_BYTES, lambda maps: maps.bytes)


class Searcher:
    """An open shard. Its files are mapped, so a query reads only the pages it needs."""

    def __init__(self, shard: Shard, folder: Path) -> None:
        self.settings = shard.recipe
        self._path = shard.path(folder, ENGINE)
        maps = _map(shard, folder)
        # A view without the methods of a map, which cost more than to take a few items.
        self.items: NDArray[np.void] = maps.items.view(np.ndarray)
        self._vectors = maps.vectors

    def best(
        self, directions: Vectors, count: int, rows: NDArray[np.int64] | None = None
    ) -> list[tuple[NDArray[np.int64], Vectors]]:
        """Find the ``count`` best of all items, or of ``rows``, exactly: numbers and cosines for each vector [Q, D]."""
        return self._vectors.best(directions, count, rows)

    def candidates(self, direction: Vectors, count: int, effort: int) -> tuple[NDArray[np.int64], Vectors]:
        """Ask the engine for ``count`` items near a unit vector [D]: their numbers and exact cosines.

        Raises:
            OSError: The file cannot be read.
            ScannerError: ``index.no_engine``, ``index.processor``.
        """
        stat = self._path.stat()
        loaded = _loaded(self._path, stat.st_ino, stat.st_mtime_ns, self.settings)
        numbers = find_engine(self.settings.engine).nearest(loaded, direction[: self.settings.dims], count, effort)
        return numbers, self._vectors.cosines(numbers, direction)


def close_all() -> None:
    """Unmap the files that are still open."""
    _loaded.cache_clear()
    _maps.clear()


def _map(shard: Shard, folder: Path) -> _Maps:
    """Map the items and vectors of a shard, or take the map that an earlier query left.

    Raises:
        OSError: A file cannot be read.
        ValueError: The items are not those of the sidecar.
    """
    paths = shard.path(folder, ROWS), shard.path(folder, VECTORS)
    # A rebuilt file of the same name has another inode or time.
    key = tuple((path, stat.st_ino, stat.st_mtime_ns) for path, stat in ((path, path.stat()) for path in paths))
    kept = _maps.find(key)
    if kept is not None:
        return kept
    items = np.load(paths[0], mmap_mode="r")
    if items.dtype != ITEM or len(items) != shard.rows:
        raise ValueError("its items are not those of its sidecar")
    made = _Maps(items, HalfVectors(paths[1], shard.dim))
    return _maps.put(key, made) if made.bytes <= _KEPT_BYTES else made


@functools.lru_cache(_OPEN)
def _loaded(path: Path, inode: int, mtime_ns: int, settings: IndexSettings) -> Any:
    # A rebuilt file of the same name has another inode or time, and so another entry of the cache.
    return find_engine(settings.engine).load(path, settings)

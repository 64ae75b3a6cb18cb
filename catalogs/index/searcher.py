"""Searches in the shards of an index. Engine files are mapped once and stay open between queries."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ENGINE, ITEM, ROWS, VECTORS, Shard
from catalogs.store.vectors import Vectors

_OPEN = 512
"""Shards whose engine file stays mapped between queries."""


class Searcher:
    """An open shard. Its files are mapped, so a query reads only the pages it needs.

    Only the engine file stays mapped between queries: the vectors would be most of the resident memory.
    """

    def __init__(self, shard: Shard, folder: Path) -> None:
        self.settings, self._dim = shard.recipe, shard.dim
        self._vectors = shard.path(folder, VECTORS)
        self._path = shard.path(folder, ENGINE)
        self.items: NDArray[np.void] = np.load(shard.path(folder, ROWS), mmap_mode="r")
        if self.items.dtype != ITEM or len(self.items) != shard.rows:
            raise ValueError("its items are not those of its sidecar")

    def best(
        self, directions: Vectors, count: int, rows: NDArray[np.int64] | None = None
    ) -> list[tuple[NDArray[np.int64], Vectors]]:
        """Find the ``count`` best of all items, or of ``rows``, exactly: numbers and cosines for each vector [Q, D]."""
        return HalfVectors(self._vectors, self._dim).best(directions, count, rows)

    def candidates(self, direction: Vectors, count: int, effort: int) -> tuple[NDArray[np.int64], Vectors]:
        """Ask the engine for ``count`` items near a unit vector [D]: their numbers and exact cosines.

        Raises:
            OSError: The file cannot be read.
            ScannerError: ``index.no_engine``, ``index.processor``.
        """
        stat = self._path.stat()
        loaded = _loaded(self._path, stat.st_ino, stat.st_mtime_ns, self.settings)
        numbers = find_engine(self.settings.engine).nearest(loaded, direction[: self.settings.dims], count, effort)
        return numbers, HalfVectors(self._vectors, self._dim).cosines(numbers, direction)


def close_all() -> None:
    """Unmap the engine files that are still open."""
    _loaded.cache_clear()


@functools.lru_cache(_OPEN)
def _loaded(path: Path, inode: int, mtime_ns: int, settings: IndexSettings) -> Any:
    # A rebuilt file of the same name has another inode or time, and so another entry of the cache.
    return find_engine(settings.engine).load(path, settings)

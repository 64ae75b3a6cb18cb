"""Searches in the shards of an index: engine files are mapped once and kept open between questions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ENGINE, ROWS, VECTORS, Shard
from catalogs.store.vectors import Vectors

_OPEN = 512  # shards whose engine's file stays mapped between questions


class Searcher:
    """An open shard. The files are mapped, not read: a question touches what it needs.

    Only the engine's file stays mapped between questions. Mapping the vectors anew costs half a millisecond; kept, they
    would be most of what is resident.
    """

    def __init__(self, shard: Shard, folder: Path) -> None:
        self.recipe, self._dim = shard.recipe, shard.dim
        self._vectors = shard.path(folder, VECTORS)
        self._path = shard.path(folder, ENGINE)
        self.items: NDArray[np.void] = np.load(shard.path(folder, ROWS), mmap_mode="r")

    def best(
        self, directions: Vectors, count: int, rows: NDArray[np.int64] | None = None
    ) -> list[tuple[NDArray[np.int64], Vectors]]:
        """The ``count`` best of all items, or of ``rows``, exactly, for each unit vector [Q, D]: numbers, cosines."""
        return HalfVectors(self._vectors, self._dim).best(directions, count, rows)

    def candidates(self, direction: Vectors, count: int, effort: int) -> tuple[NDArray[np.int64], Vectors]:
        """The engine's ``count`` items for a unit vector [D]: their numbers and exact cosines.

        Raises OSError, and ``ScannerError`` where the engine is not there.
        """
        stat = self._path.stat()
        loaded = _loaded(self._path, stat.st_ino, stat.st_mtime_ns, self.recipe)
        found = find_engine(self.recipe.engine).nearest(loaded, direction[: self.recipe.dims], count, effort)
        return found, HalfVectors(self._vectors, self._dim).cosines(found, direction)


def close_all() -> None:
    """Let go of every file that is still mapped."""
    _loaded.cache_clear()


@functools.lru_cache(_OPEN)
def _loaded(path: Path, inode: int, mtime_ns: int, recipe: IndexSettings) -> Any:
    """Another file under the same name, as a repair makes it, is another entry."""
    return find_engine(recipe.engine).load(path, recipe)

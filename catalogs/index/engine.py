"""What may stand behind an index: an engine finds candidates in one file, by the leading numbers of the vectors.

An engine is a module of four functions (``annoy_engine``, ``faiss_engine``). It never has the last word: its candidates
are ranked again by their full vectors, so its only fault can be to miss some.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index.half_vectors import Halves
from catalogs.store.vectors import Vectors

NAMES = ("annoy", "faiss")


@dataclass(frozen=True)
class Recipe:
    """How a shard's file is made, and how it is asked.

    ``dims`` leading numbers of each vector; ``trees`` and ``seed`` as the engine takes them; ``effort`` is what a
    question may cost in a shard (Annoy's ``search_k``, faiss's ``nprobe``), ``candidates`` how many are ranked again.
    """

    engine: str
    dims: int
    trees: int
    seed: int
    effort: int
    candidates: int

    @property
    def made(self) -> tuple[str, int, int, int]:
        """What the file depends on: with another, it is built anew."""
        return self.engine, self.dims, self.trees, self.seed


class Engine(Protocol):
    """``TREES`` and ``EFFORTS`` are what is tried for a wanted recall, ``EFFORT`` and the first of ``TREES`` are the
    defaults."""

    TREES: tuple[int, ...]
    EFFORT: int
    EFFORTS: tuple[int, ...]

    def build(self, path: Path, rows: Halves, recipe: Recipe, on_disk: bool) -> None:
        """Write the file of all rows, numbered from 0; the same rows and recipe give the same file. Raises OSError.

        ``on_disk`` saves memory if it can, and need not survive a full disk.
        """

    def check(self, path: Path, rows: int, recipe: Recipe) -> None:
        """``ValueError`` where the file cannot be one of so many rows: for what would crash the engine."""

    def load(self, path: Path, recipe: Recipe) -> Any:
        """The file, mapped. ``ScannerError`` ``index.no_engine``, ``index.processor``."""

    def nearest(self, loaded: Any, query: Vectors, count: int, effort: int) -> NDArray[np.int64]:
        """Numbers of about ``count`` rows nearest to a vector [dims]."""


def named(name: str) -> Engine:
    """The engine of this name; ``ScannerError`` ``index.bad_engine``."""
    if name not in NAMES:
        message = f"There is no index engine {name!r}."
        raise ScannerError(ErrorCode.INDEX_BAD_ENGINE, message, f"Give one of {', '.join(NAMES)}.")
    return cast(Engine, import_module(f"catalogs.index.{name}_engine"))

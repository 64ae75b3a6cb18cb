"""The engine of an index: it finds candidates in one file, by the leading numbers of the embeddings.

An engine is a module of four functions (``annoy_engine``, ``faiss_engine``). Candidates are ranked again by their full
embeddings, so the worst that an engine can do is to miss some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import ENGINES
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.store.vectors import Vectors


class Engine(Protocol):
    """``TREES`` and ``EFFORTS`` are tried to reach a target recall; the first of ``TREES`` and ``EFFORT`` are the
    defaults."""

    TREES: tuple[int, ...]
    EFFORT: int
    EFFORTS: tuple[int, ...]

    def build(self, path: Path, rows: HalfVectors, settings: IndexSettings, on_disk: bool) -> None:
        """Write the file of all rows, numbered from 0; the same rows and settings give the same file.

        ``on_disk`` saves memory where the engine can, and may end the process on a full disk.

        Raises:
            OSError: The disk is full or fails.
        """

    def check(self, path: Path, rows: int, settings: IndexSettings) -> None:
        """Refuse a file that would crash the engine.

        Raises:
            ValueError: The file cannot be one of ``rows`` rows.
        """

    def load(self, path: Path, settings: IndexSettings) -> Any:
        """Map the file.

        Raises:
            ScannerError: ``index.no_engine``, ``index.processor``.
        """

    def nearest(self, loaded: Any, query: Vectors, count: int, effort: int) -> NDArray[np.int64]:
        """Find the numbers of about ``count`` rows nearest to a vector [dims]."""


def find_engine(name: str) -> Engine:
    """Return the engine of this name.

    Raises:
        ScannerError: ``index.bad_engine``.
    """
    # Imported here: each engine loads its package, and Faiss is an extra.
    match name:
        case "annoy":
            from catalogs.index import annoy_engine

            return cast(Engine, annoy_engine)
        case "faiss":
            from catalogs.index import faiss_engine

            return cast(Engine, faiss_engine)
    message = f"There is no index engine {name!r}."
    raise ScannerError(ErrorCode.INDEX_BAD_ENGINE, message, f"Give one of {', '.join(ENGINES)}.")

"""faiss, an inverted file of 8-bit vectors (IVF, SQ8): the second engine, with smaller files than Annoy.

It is an extra: ``pip install 'unions-scanner[faiss]'``. The leading numbers are scaled to unit length and compared by
inner product. The file is memory-mapped. ``trees`` is not used: there are 4 sqrt(N) lists.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.parallel import one_core
from catalogs.store.vectors import Vectors, unit

TREES = (0,)
EFFORT = 32
EFFORTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512)

_POINTS_A_LIST = 39
"""Training vectors below which faiss warns."""
_MOST_POINTS = 64


def build(path: Path, rows: HalfVectors, settings: IndexSettings, on_disk: bool) -> None:
    faiss = _faiss()
    lists = max(1, min(int(4 * np.sqrt(len(rows))), len(rows) // _POINTS_A_LIST))
    index = faiss.index_factory(settings.dims, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = settings.seed
    if len(rows):
        rng = np.random.default_rng(settings.seed)
        sample = np.sort(rng.permutation(len(rows))[: _MOST_POINTS * max(lists, 256)])
        with one_core(), _one_thread():
            index.train(unit(np.concatenate(list(rows.leading(settings.dims, sample)))))
            for block in rows.leading(settings.dims):
                index.add(unit(block))
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        # faiss gives no errno; only the disk can fail here.
        text = str(error)
        full = shutil.disk_usage(path.parent).free < 1_000_000 or "No space" in text or "File too large" in text
        raise OSError(errno.ENOSPC if full else errno.EIO, text) from error


def check(path: Path, rows: int, settings: IndexSettings) -> None:
    # A row takes a byte a dimension, and 8 bytes for its number.
    if path.stat().st_size < rows * (settings.dims + 8):
        raise ValueError("it is too small for its rows")


def load(path: Path, settings: IndexSettings) -> Any:
    faiss = _faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise OSError(str(error)) from error


def nearest(loaded: Any, query: Vectors, count: int, effort: int) -> NDArray[np.int64]:
    settings = _faiss().SearchParametersIVF(nprobe=effort)
    # faiss fills the answer with -1 where the lists have too few rows.
    with _one_thread():
        numbers = loaded.search(unit(query[None]), count, params=settings)[1][0]
    return np.asarray(numbers[numbers >= 0], np.int64)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Have faiss compute in one thread: shards are built side by side, and a query is short."""
    faiss = _faiss()
    # OpenMP has one number for a thread, and libraries that are loaded after it, such as torch, may share it.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:
    # At level INFO its loader logs each instruction set that it tries.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError as error:
        hint = "pip install 'unions-scanner[faiss]', or index with --engine annoy"
        raise ScannerError(ErrorCode.INDEX_NO_ENGINE, "faiss is not installed.", hint) from error
    return faiss

"""faiss, an inverted file of 8-bit vectors (IVF, SQ8): the second engine, a fifth of Annoy's bytes.

An optional extra, ``pip install 'unions-scanner[faiss]'``. Vectors are brought to unit length in the leading numbers
and compared by inner product. The lists are mapped, not read. ``trees`` means nothing here: there are 4 sqrt(N) lists.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.store.vectors import Vectors, unit

TREES = (0,)
EFFORT = 32
EFFORTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512)

_POINTS_A_LIST = 39  # fewer to train on and faiss warns
_MOST_POINTS = 64


def build(path: Path, rows: HalfVectors, recipe: IndexSettings, on_disk: bool) -> None:
    faiss = _faiss()
    faiss.omp_set_num_threads(1)
    lists = max(1, min(int(4 * np.sqrt(len(rows))), len(rows) // _POINTS_A_LIST))
    index = faiss.index_factory(recipe.dims, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = recipe.seed
    if len(rows):
        rng = np.random.default_rng(recipe.seed)
        sample = np.sort(rng.permutation(len(rows))[: _MOST_POINTS * max(lists, 256)])
        index.train(unit(np.concatenate(list(rows.leading(recipe.dims, sample)))))
        for block in rows.leading(recipe.dims):
            index.add(unit(block))
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # faiss tells no number; the disk is what fails here
        raise OSError(*_full_or_unknown(path, error)) from error


def check(path: Path, rows: int, recipe: IndexSettings) -> None:
    if path.stat().st_size < rows * (recipe.dims + 8):
        raise ValueError("it is too small for its rows")


def load(path: Path, recipe: IndexSettings) -> Any:
    faiss = _faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise OSError(str(error)) from error


def nearest(loaded: Any, query: Vectors, count: int, effort: int) -> NDArray[np.int64]:
    faiss = _faiss()
    faiss.omp_set_num_threads(1)
    settings = faiss.SearchParametersIVF(nprobe=effort)
    numbers = loaded.search(unit(query[None]), count, params=settings)[1][0]
    return np.asarray(numbers[numbers >= 0], np.int64)


def _full_or_unknown(path: Path, error: RuntimeError) -> tuple[int, str]:
    import errno
    import shutil

    full = shutil.disk_usage(path.parent).free < 1_000_000 or "No space" in str(error) or "File too large" in str(error)
    return errno.ENOSPC if full else errno.EIO, str(error)


def _faiss() -> Any:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instructions it tries
    try:
        import faiss
    except ImportError as error:
        hint = "pip install 'unions-scanner[faiss]', or index with --engine annoy"
        raise ScannerError(ErrorCode.INDEX_NO_ENGINE, "faiss is not installed.", hint) from error
    return faiss

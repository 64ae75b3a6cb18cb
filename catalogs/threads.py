"""Work on many tiles at once, in few threads: decoding Parquet, numpy products and Annoy all release the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST = 8  # each holds one row group in memory, 100 MB at most

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """``map`` in the order of ``items``, by a thread a core; what has not begun is dropped when the caller leaves."""
    if len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(MOST, os.cpu_count() or 1))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)

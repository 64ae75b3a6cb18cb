"""Parallel work: in threads, where the work releases the GIL, or in processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from catalogs.errors import ErrorCode, ScannerError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_THREADS = 8  # each holds one row group in memory, 100 MB at most

_NEARLY_FULL = 100_000_000


def each(works: Sequence[Callable[[], Answer]], jobs: int | None, disk: Path) -> Iterator[Answer]:
    """Yield the answers of ``works`` in order, from ``jobs`` processes, or from this one if that is None.

    Raises:
        ScannerError: A process was killed: ``output.full`` if ``disk`` is full, because a write to a mapped file then
            kills, else ``index.process_died``.
    """
    if jobs is None or not works:
        yield from (work() for work in works)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(works)), context, _end_with_parent) as pool:
        try:
            yield from pool.map(_call, works)
        except BrokenProcessPool as error:
            raise _died(disk) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _call(work: Callable[[], Answer]) -> Answer:
    return work()


def _died(disk: Path) -> ScannerError:
    if shutil.disk_usage(disk).free < _NEARLY_FULL:
        hint = "Free some space and run the same command again: finished work is kept."
        return ScannerError(ErrorCode.OUTPUT_FULL, f"There is no space left to build in {disk}.", hint)
    return ScannerError(
        ErrorCode.INDEX_PROCESS_DIED,
        "A process that built a part of the index was killed, most likely for lack of memory.",
        "Run the same command again with fewer --jobs: finished work is kept. (A program of your own that builds "
        "in processes needs: if __name__ == '__main__'.)",
    )


def _end_with_parent() -> None:
    """Make a worker end at once when it is interrupted, and when its parent ends for whatever reason."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """Map in the order of ``items``, with a thread for each core; what has not begun ends with the iterator."""
    if len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)

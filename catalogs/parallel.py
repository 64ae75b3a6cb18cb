"""Parallel work: in threads, where the work releases the GIL, or in processes that never outlive their parent."""

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

Answer = TypeVar("Answer")

_NEARLY_FULL = 100_000_000


def each(works: Sequence[Callable[[], Answer]], jobs: int | None, disk: Path) -> Iterator[Answer]:
    """The answers of ``works`` in order, from ``jobs`` processes, or from this one where that is None.

    Raises ``ScannerError`` where a process was killed: ``output.full`` if ``disk`` is (a write to a mapped file then
    kills), else ``index.process_died``.
    """
    if jobs is None or not works:
        yield from (work() for work in works)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(works)), context, _not_alone) as pool:
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
        hint = "Free some space and run the same command again: what was finished is kept."
        return ScannerError(ErrorCode.OUTPUT_FULL, f"There is no room left to build in {disk}.", hint)
    return ScannerError(
        ErrorCode.INDEX_PROCESS_DIED,
        "A process that built a part of the index was killed, most likely for want of memory.",
        "Run the same command again with fewer --jobs: what was finished is kept. (A program of your own that builds "
        "by processes has to keep what it does under: if __name__ == '__main__'.)",
    )


def _not_alone() -> None:
    """Interrupted, a worker ends at once; it also ends with its parent, however that one died."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


MOST_THREADS = 8  # each holds one row group in memory, 100 MB at most

Item = TypeVar("Item")


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """``map`` in the order of ``items``, by a thread a core; what has not begun is dropped when the caller leaves."""
    if len(items) < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)

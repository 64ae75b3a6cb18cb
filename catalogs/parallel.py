"""Parallel work: in threads, where the work releases the GIL, or in processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import LibController, OpenBLASController, get_cached_controller

from catalogs.errors import ErrorCode, ScannerError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_THREADS = 8  # each holds one row group in memory, 100 MB at most

_NEARLY_FULL = 100_000_000


def each(
    works: Sequence[Callable[[], Answer]], jobs: int | None, disk: Path, died: ScannerError | None = None
) -> Iterator[Answer]:
    """Yield the answers of ``works`` in order, from ``jobs`` processes, or from this one if that is None.

    Raises:
        ScannerError: A process was killed: ``output.full`` if ``disk`` is full, because a write to a mapped file then
            kills, else ``died``, or ``index.process_died`` without it.
    """
    if jobs is None or not works:
        yield from (work() for work in works)
        return
    # A thread for each process waits for its answers.
    count = min(jobs, len(works))
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(count):
            idle.put(stack.enter_context(_Worker()))
        # Leaving waits for work that has begun; the rest is cancelled.
        pool = ThreadPoolExecutor(count)
        stack.callback(pool.shutdown, cancel_futures=True)

        def answer(work: Callable[[], Answer]) -> Answer:
            worker = idle.get()
            try:
                return worker.call(work)
            finally:
                idle.put(worker)

        try:
            yield from pool.map(answer, works)
        except EOFError as error:
            raise _died(disk, died) from error


class _Worker:
    """A process that does one piece of work after the other, until the ``with`` block ends.

    It has a pipe alone. The executor of the standard library needs semaphores, which are files of /dev/shm: they stay
    there when all processes of a group are killed at once.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # A worker that finds no more work ends.
        self._pipe.close()
        self._process.join()

    def call(self, work: Callable[[], Answer]) -> Answer:
        """Have the process do it; raises what it raised, or ``EOFError`` if it was killed."""
        try:
            self._pipe.send(work)
            answer, error = self._pipe.recv()
        except OSError as broken:
            raise EOFError from broken
        if error is not None:
            raise error
        return answer  # type: ignore[no-any-return]


def _serve(pipe: Connection) -> None:
    """Run in a worker."""
    _end_with_parent()
    with suppress(EOFError, OSError):
        while True:
            work = pipe.recv()
            try:
                answer: tuple[Any, Exception | None] = work(), None
            except Exception as error:  # noqa: BLE001  (raised again by the parent)
                # The trace itself does not travel.
                error.add_note(traceback.format_exc())
                answer = None, error
            pipe.send(answer)


def _died(disk: Path, died: ScannerError | None) -> ScannerError:
    if shutil.disk_usage(disk).free < _NEARLY_FULL:
        hint = "Free some space and run the same command again: finished work is kept."
        return ScannerError(ErrorCode.OUTPUT_FULL, f"There is no space left to build in {disk}.", hint)
    return died or ScannerError(
        ErrorCode.INDEX_PROCESS_DIED,
        "A process that built a part of the index was killed, most likely for lack of memory.",
        "Run the same command again with fewer --jobs: finished work is kept. (A program of your own that builds "
        "in processes needs: if __name__ == '__main__'.)",
    )


def _end_with_parent() -> None:
    """Make a worker end at once when it is interrupted, and when its parent ends for whatever reason."""
    # Python's own handler would wait for the end of a long call into compiled code.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    # ``sys.exit`` would end this thread alone.
    os._exit(1)


def in_threads(function: Callable[[Item], Answer], items: Sequence[Item], most: int = MOST_THREADS) -> Iterator[Answer]:
    """Map in the order of ``items``, with a thread for each core, ``most`` in all.

    What has not begun ends with the iterator.
    """
    if len(items) < 2 or most < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(min(most, os.cpu_count() or 1))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


class _OneCore:
    """The numbers of threads that libraries of BLAS have, for all ``one_core`` blocks of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before: dict[str, tuple[LibController, int]] = {}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Have BLAS compute on one core while the block runs, where BLAS is OpenBLAS, MKL or BLIS.

        BLAS divides a product among its threads, and rounds it otherwise for each number of them. And where threads ask
        for products side by side, those of BLAS wait busily for one another.

        Blocks of any threads may lie in one another or overlap: the last one to end restores. OpenBLAS on OpenMP has a
        number for each thread, so threads that are started in a block open one of their own. A library that is loaded
        in a block is not limited before the next one begins.
        """
        # Of BLAS alone: libraries that compute by OpenMP have a number of their own.
        libraries = [one for one in get_cached_controller().lib_controllers if one.user_api == "blas"]
        of_thread = [(one, one.num_threads) for one in libraries if _has_number_of_thread(one)]
        with self._lock:
            self._blocks += 1
            for library in libraries:
                if not _has_number_of_thread(library):
                    self._before.setdefault(library.filepath, (library, library.num_threads))
                _set_threads(library, 1)
        try:
            yield
        finally:
            with self._lock:
                for library, threads in of_thread:
                    _set_threads(library, threads)
                self._blocks -= 1
                if not self._blocks:
                    for library, threads in self._before.values():
                        _set_threads(library, threads)
                    self._before.clear()


def _has_number_of_thread(library: LibController) -> bool:
    return library.internal_api == "openblas" and getattr(library, "threading_layer", "") == "openmp"


def _set_threads(library: LibController, threads: int) -> None:
    # The number of OpenBLAS is the whole process's, and threadpoolctl lets one thread alone set it, until that gives it
    # up. Blocks set it in any thread, under one lock.
    OpenBLASController.clear_controlling_thread(force=True)
    library.set_num_threads(threads)
    OpenBLASController.clear_controlling_thread(force=True)


one_core = _OneCore()

"""The number of threads that BLAS has in this process, seen and set."""

from __future__ import annotations

from threadpoolctl import OpenBLASController, threadpool_info, threadpool_limits


def threads() -> set[int]:
    """The numbers of all libraries of BLAS that are loaded."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def most_threads(_: object) -> int:
    """The largest number, as the answer of a pass over a block."""
    return max(threads(), default=1)


def set_threads(number: int) -> int:
    """Set the number for good, as a program does that gives up its control; returns the largest one before."""
    before = most_threads(None)
    threadpool_limits(number, "blas")
    OpenBLASController.clear_controlling_thread()
    return before

"""The number of threads that BLAS has in this process."""

from __future__ import annotations

from threadpoolctl import threadpool_info


def threads() -> set[int]:
    """The numbers of all libraries of BLAS that are loaded."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

"""A scan by many workers, on one machine or many, with Dask. One tile is one task, and its file is its receipt.

``deploy`` starts or finds the workers, ``dispatch`` gives them tiles, ``worker`` is what runs in each of them. It needs
``pip install 'unions-scanner[cluster]'``; Dask is imported when a scan starts.
"""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    """Forward the names that were public in version 0.1, for one release."""
    if name in ("Where", "scan_tiles"):
        from scanner.cluster import job, run

        why = f"scanner.cluster.{name} is deprecated: scanner.scan_tiles(..., workers=4) scans with Dask"
        warnings.warn(why, DeprecationWarning, stacklevel=2)
        return job.WorkerSource if name == "Where" else run.scan_tiles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""A scan on one machine: tiles are read ahead in processes, cut, embedded in threads and written, one file a tile."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    """Forward the name that was public in version 0.1, for one release."""
    if name == "scan_tiles":
        why = "scanner.scan.scan_tiles is now scanner.scan.run.scan_tiles; scanner.scan_tiles does the whole job"
        warnings.warn(why, DeprecationWarning, stacklevel=2)
        from scanner.scan import run

        return run.scan_tiles
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

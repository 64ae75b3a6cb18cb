"""Tiles to embeddings: stream survey tiles through an ONNX encoder into Parquet catalogues.

>>> import catalogs, scanner
>>> report = scanner.scan_tiles(["217.292"], "embeddings", root="/data/unions")          # doctest: +SKIP
>>> catalogs.open("embeddings").neighbours(ra=217.0231, dec=56.1022, k=20)               # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanner.api import load_survey, scan_tiles

__all__ = ["__version__", "load_survey", "scan_tiles"]

try:
    __version__ = version("unions-scanner")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """The public functions, imported when first used: ``import scanner`` itself loads neither numpy nor astropy."""
    if name in __all__:
        from scanner import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

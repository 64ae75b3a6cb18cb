"""Tiles to embeddings: stream survey tiles through an ONNX encoder into Parquet catalogues."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("unions-scanner")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"

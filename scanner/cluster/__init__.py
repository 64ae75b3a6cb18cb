"""A scan by many workers, on one machine or many, with Dask. One tile is one task, and its file is its receipt.

``deploy`` finds or starts the workers, ``dispatch`` gives them tiles, ``worker`` is what runs in each of them. Needs
``pip install 'unions-scanner[cluster]'``; Dask is imported when a scan starts.
"""

from scanner.cluster.job import Where
from scanner.cluster.run import scan_tiles

__all__ = ["Where", "scan_tiles"]

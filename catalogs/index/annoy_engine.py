"""Annoy, angular: the default engine. One memory-mapped file of random-projection trees.

Its traps, and what guards against each:

- A file of another dimension reads garbage or crashes: ``check``, and a sidecar beside every file.
- ``on_disk_build`` makes files of mode 0600 unless they exist: ``atomic.replacing`` creates them first.
- ``save`` removes a file of that name and makes another, without the lock that its writer holds: ``_save``.
- A full disk under ``on_disk_build`` kills the process by SIGBUS: ``build`` checks the free space first, and only
  worker processes build that way.
- Item numbers must have no gap: they are row numbers.
- A wheel compiled for another processor is killed by SIGILL: ``_check_processor``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.store.vectors import Vectors

TREES = (6, 4, 10, 16)
EFFORT = 5000
EFFORTS = (500, 1000, 2000, 3500, 5000, 7500, 10_000, 15_000, 20_000, 40_000, 80_000, 160_000)

_NODE_HEADER = 12
"""Bytes before the vector of an angular node: descendants, children or norm."""
_TRIAL = "import annoy; a = annoy.AnnoyIndex(8, 'angular'); [a.add_item(i, [i] * 8) for i in range(64)]; a.build(2)"


def build(path: Path, rows: HalfVectors, settings: IndexSettings, on_disk: bool) -> None:
    """Build by one thread: with more, the same rows would give another file each time."""
    _check_processor()
    annoy = AnnoyIndex(settings.dims, "angular")
    annoy.set_seed(settings.seed)
    with _numbered_errors():
        if on_disk:
            annoy.on_disk_build(str(path))
        numbers = itertools.count()
        for block in rows.leading(settings.dims):
            for vector in block.tolist():
                annoy.add_item(next(numbers), vector)
        annoy.build(settings.trees, n_jobs=1)
        if not on_disk:
            _save(annoy, path)
    annoy.unload()


def _save(annoy: AnnoyIndex, path: Path) -> None:
    """Write into the file that is there, so that it stays locked: one without a lock would be removed as stale."""
    with path.open("wb") as file:
        # The name of a descriptor cannot be removed.
        descriptor = Path(f"/dev/fd/{file.fileno()}")
        annoy.save(str(descriptor if descriptor.exists() else path))


def check(path: Path, rows: int, settings: IndexSettings) -> None:
    # All nodes have one size: a leaf for each item, then the splits of the trees.
    nodes, rest = divmod(path.stat().st_size, _NODE_HEADER + 4 * settings.dims)
    if rest or nodes < rows:
        raise ValueError("its size is not that of an Annoy file of this dimension")


def load(path: Path, settings: IndexSettings) -> AnnoyIndex:
    _check_processor()
    annoy = AnnoyIndex(settings.dims, "angular")
    with _numbered_errors():
        annoy.load(str(path))
    return annoy


def nearest(loaded: AnnoyIndex, query: Vectors, count: int, effort: int) -> NDArray[np.int64]:
    return np.asarray(loaded.get_nns_by_vector(query.tolist(), count, effort), np.int64)


@functools.cache
def _check_processor() -> None:
    """Try Annoy in a process of its own: it is compiled for the processor of its build, and another may kill it."""
    done = subprocess.run([sys.executable, "-c", _TRIAL], check=False, stderr=subprocess.DEVNULL)
    # A negative code is the signal that killed the process.
    if done.returncode < 0:
        raise ScannerError(
            ErrorCode.INDEX_PROCESSOR,
            f"Annoy as it is installed does not run on this processor ({signal.Signals(-done.returncode).name}).",
            "Compile it here: pip install --force-reinstall --no-cache-dir --no-deps --no-binary annoy annoy",
        )


@contextlib.contextmanager
def _numbered_errors() -> Iterator[None]:
    """Set ``errno`` of Annoy's errors, which have it in their text alone."""
    try:
        yield
    except OSError as error:
        number = re.search(r"\((\d+)\)$", str(error))
        raise OSError(int(number[1]) if number else 0, str(error)) from error

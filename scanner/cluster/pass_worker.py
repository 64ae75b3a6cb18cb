"""What runs in a Dask worker for a pass over a catalogue: groups of tiles are read there, and their answers joined.

Workers only read. What they cannot read, or see otherwise than the machine that started the command, they report.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from distributed import WorkerPlugin, get_worker

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from catalogs.search.tile_pass import TilePass
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.provenance import Info, software
from catalogs.store.tile_store import TileStore
from scanner.cluster.job import stopped, unlike_software

_SAME_FILES = "All machines must have the same catalogue under the same path."


@dataclass(frozen=True)
class PassJob:
    """A pass, and the tiles that it is over. The path is absolute and leads to the same files everywhere.

    ``owners`` says which rows of overlapping tiles count.
    """

    catalogue: Path
    info: Info
    footers: tuple[Footer, ...]
    owners: OverlapOwners | None
    work: TilePass[Any]
    software: str = field(default_factory=software)


@dataclass(frozen=True)
class Group:
    """The joined ``answer`` of a group of tiles, None where it is empty.

    ``unread`` are the numbers of tiles that could not be read as listed, and why. ``rounding`` is the worker's.
    """

    worker: str
    answer: Any
    unread: tuple[tuple[int, str], ...]
    rounding: str


def read_tiles(plugin: str, numbers: range) -> Group:
    """The task: read these tiles by the plugin of this name in this worker."""
    worker = get_worker()
    reading: PassWorker = worker.plugins[plugin]
    return reading.read(numbers, worker.address)


class PassWorker(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed
    """Keeps what a worker must know of a pass until the pass is over."""

    def __init__(self, job: PassJob) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        """Called by Dask in each worker. Nothing is opened yet: an error here would not reach the command."""
        self._torn_down = False

    def teardown(self, worker: Any) -> None:
        """Called by Dask at the end: a group that is being read ends with its tile at hand."""
        self._torn_down = True

    @functools.cached_property
    def _snapshot(self) -> Snapshot:
        """The tiles as they were listed; two tasks may make it twice."""
        job = self._job
        return Snapshot(TileStore(job.catalogue, job.info), job.footers, job.owners)

    @one_core()
    def read(self, numbers: range, address: str) -> Group:
        """Read these tiles, one after the other.

        Raises:
            ScannerError: ``cluster.other_software``, ``cluster.other_files``, ``cluster.stopped``.
        """
        self._check(address)
        snapshot, work = self._snapshot, self._job.work
        answers: list[Any] = []
        unread: list[tuple[int, str]] = []
        for number in numbers:
            if self._torn_down:
                raise stopped()
            footer = snapshot.footers[number]
            try:
                if not snapshot.unchanged(footer):
                    raise _unlike(address, f"its file of tile {footer.tile} is missing, or not the one that was listed")
                of_tile = list(work.read(snapshot, number))
            except ScannerError as error:
                if error.code not in (ErrorCode.TILE_DAMAGED, ErrorCode.CLUSTER_OTHER_FILES):
                    raise
                unread.append((number, error.message))
                continue
            # One answer at a time is held besides that of the tile at hand.
            answers = [work.join([*answers, *of_tile])] if of_tile else answers
        return Group(address, answers[0] if answers else None, tuple(unread), rounding())

    def _check(self, address: str) -> None:
        """Compare this machine with the one that started the command."""
        if self._job.software != software():
            raise unlike_software(address, self._job.software)
        try:
            info = TileStore.open(self._job.catalogue).info
        except ScannerError as error:
            raise _unlike(address, error.message.rstrip(".")) from error
        if info != self._job.info:
            raise _unlike(address, f"it has another catalogue at {self._job.catalogue}")


def _unlike(address: str, why: str) -> ScannerError:
    return ScannerError(ErrorCode.CLUSTER_OTHER_FILES, f"Worker {address} sees other files: {why}.", _SAME_FILES)


@functools.cache
def rounding() -> str:
    """Compute a digest of some products: it differs where this processor or its library rounds in another way."""
    rng = np.random.default_rng(0)
    # Whole numbers over a power of two are the same floats everywhere.
    one, other = (rng.integers(-4096, 4097, (rows, 192)).astype(np.float32) / 4096 for rows in (600, 70))
    with one_core():
        products = (
            one @ other.T,
            other @ one.T,
            np.einsum("nd,d->n", one, other[0]),
            np.sqrt(np.einsum("nd,nd->n", one, one)),
        )
    return hashlib.sha256(b"".join(product.tobytes() for product in products)).hexdigest()[:16]

"""Passes over a catalogue on Dask workers: a task is a group of tiles, and the answers are those of one process.

A group whose worker exits is read again by another. What a worker cannot read is read here: where it can be, the worker
sees other files, and the command ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from catalogs.search.tile_pass import TilePass
from catalogs.store.backend import Snapshot
from catalogs.store.tile_store import need_folder
from scanner.cluster import connection, deploy
from scanner.cluster.job import WorkerSource
from scanner.cluster.workers import LostError, Workers
from scanner.system.signals import POLL, Interrupts

log = logging.getLogger(__name__)

DEATHS = 3
"""Workers that may exit while they have a group of tiles, before the pass ends."""
MOST_TILES = 16
"""Tiles of a group: some seconds of work, of which a killed worker loses one group for each of its threads."""
MOST_AT_ONCE = 8
"""Groups that a worker reads at once, each in a thread: each has a row group in memory, 100 MB at most."""
_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
_FETCH = 5.0  # seconds after which an answer that does not come is asked for again

Answer = TypeVar("Answer")


class DaskExecutor:
    """Runs passes on the workers of ``source``, which are started at the first pass, and end with the ``with`` block.

    >>> from catalogs.ranking.rank import rank
    >>> with DaskExecutor(WorkerSource(workers=4)) as executor:  # doctest: +SKIP
    ...     table = rank(catalogue, like, k=200, executor=executor)
    """

    at_once: int | None = None  # threads of a worker: one in a process of this machine, elsewhere as Dask is set up

    def __init__(self, source: WorkerSource) -> None:
        self._source = source
        self._exit = contextlib.ExitStack()
        self._connect: deploy.Connect | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connect = None
        self._exit.close()

    def run(self, snapshot: Snapshot, work: TilePass[Answer]) -> Iterator[Answer]:
        """Yield joined answers of groups of tiles, in the order in which they come.

        Raises:
            ScannerError: ``cluster.*``: what is wrong with the workers, or with what they see.
            KeyboardInterrupt: SIGINT or SIGTERM was received.
        """
        if not snapshot.footers:
            return
        with Interrupts() as interrupts:
            if self._connect is None:
                self._connect = self._exit.enter_context(deploy.cluster(self._source, self))
            # They need Dask, which is there now.
            from scanner.cluster.pass_worker import PassJob, PassWorker

            catalogue = need_folder(snapshot.catalogue)
            job = PassJob(catalogue.path.absolute(), catalogue.info, snapshot.footers, snapshot.owners, work)
            groups = _Groups(snapshot, work, interrupts, self._source.patience)
            while True:
                try:
                    with connection.connected(self._connect, PassWorker(job)) as (client, plugin):
                        yield from groups.drive(client, plugin)
                    return
                except LostError as error:
                    connection.check_lost(self._source, error)


class _Groups:
    """Hands groups of tiles to workers, and takes their answers, each exactly once."""

    def __init__(self, snapshot: Snapshot, work: TilePass[Any], interrupts: Interrupts, patience: float) -> None:
        self._snapshot, self._work, self._check, self._patience = snapshot, work, interrupts.check, patience
        self._next = 0
        self._again: deque[range] = deque()
        self._deaths: dict[int, int] = {}
        self._assigned: dict[str, tuple[range, Any]] = {}
        self._submitted = 0
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._rounding_compared = False

    def drive(self, client: Any, plugin: str) -> Iterator[Any]:
        """Yield the answers of all groups. After ``LostError`` call it again with another client."""
        workers = Workers(client, MOST_AT_ONCE, self._patience)
        try:
            while True:
                self._check()
                workers.update()
                # One more for each worker than it has threads, so that none waits for its next group.
                while workers.capacity and len(self._assigned) < workers.capacity + len(workers.addresses):
                    tiles = self._take(workers.capacity)
                    if tiles is None:
                        break
                    self._submit(client, plugin, tiles)
                if not (self._assigned or self._again or self._next < len(self._snapshot.footers)):
                    return
                yield from self._collect()
        except LostError:
            # The next scheduler knows nothing of what this one was given.
            self._again.extend(tiles for tiles, _ in self._assigned.values())
            self._assigned.clear()
            raise
        finally:
            for _, future in self._assigned.values():
                with contextlib.suppress(OSError, RuntimeError):
                    future.cancel()

    def _take(self, capacity: int) -> range | None:
        """The next group of tiles: smaller ones towards the end, so that all workers finish together.

        Source: Polychronopoulos & Kuck (1987), IEEE Trans. Computers C-36, 1425: guided self-scheduling.
        """
        if self._again:
            return self._again.popleft()
        left = len(self._snapshot.footers) - self._next
        if not left:
            return None
        count = min(MOST_TILES, max(1, left // (2 * capacity)))
        self._next += count
        return range(self._next - count, self._next)

    def _submit(self, client: Any, plugin: str, tiles: range) -> None:
        from scanner.cluster.pass_worker import read_tiles

        # A number makes the key new: Dask would answer a second try with the result of the first.
        self._submitted += 1
        key = f"read_tiles-{self._snapshot.footers[tiles[0]].tile}-{self._submitted}-{plugin}"
        future = client.submit(read_tiles, plugin, tiles, key=key, pure=False)
        self._assigned[key] = tiles, future
        future.add_done_callback(self._finished.put)

    def _collect(self) -> Iterator[Any]:
        """Yield the answers of one task that has ended, after a moment's wait."""
        from distributed import KilledWorker

        try:
            future = self._finished.get(timeout=POLL)
        except queue.Empty:
            return
        if future.key not in self._assigned:  # of a scheduler that was lost
            return
        if future.status == "cancelled":
            raise LostError
        if future.status == "error":
            tiles, _ = self._assigned.pop(future.key)
            self._retry(tiles, future.exception())
            return
        group = None
        # A worker may exit with the result: Dask runs the task again, and the future is pending, or fails by now.
        with contextlib.suppress(TimeoutError, OSError, KilledWorker, *_CANCELLED):
            group = future.result(timeout=_FETCH) if future.status == "finished" else None
        if group is None:
            future.add_done_callback(self._finished.put)
            return
        del self._assigned[future.key]
        yield from self._take_answers(group)

    def _take_answers(self, group: Any) -> Iterator[Any]:
        from scanner.cluster.pass_worker import rounding

        if not self._rounding_compared and group.rounding != rounding():
            self._rounding_compared = True
            log.warning(
                "Worker %s rounds products otherwise than this machine, as another processor does: the last digits of "
                "scores may differ from those of one process.",
                group.worker,
            )
        if group.answer is not None:
            yield group.answer
        for number, why in group.unread:
            yield from self._read_here(number, why, group.worker)

    def _read_here(self, number: int, why: str, worker: str) -> Iterator[Any]:
        """Read a tile that a worker could not read as listed: one process would meet the same damage, or change."""
        footer = self._snapshot.footers[number]
        answers: list[Any] = []
        try:
            with one_core():
                answers.extend(self._work.read(self._snapshot, number))
        except ScannerError as error:
            if error.code != ErrorCode.TILE_DAMAGED:
                raise
            log.warning("Skipped: %s %s", error.message, error.hint)
        else:
            if self._snapshot.unchanged(footer):
                raise ScannerError(
                    ErrorCode.CLUSTER_OTHER_FILES,
                    f"{worker} could not read tile {footer.tile}, which this machine can: {why}",
                    "All machines must have the same catalogue under the same path. Where a scan has just replaced the "
                    "tile, wait a minute and run the same command again.",
                )
        yield from answers

    def _retry(self, tiles: range, error: BaseException) -> None:
        """A task raised: its worker exited, or something is wrong for all groups, and the pass ends."""
        from distributed import KilledWorker

        first, last = (self._snapshot.footers[number].tile for number in (tiles[0], tiles[-1]))
        if isinstance(error, ScannerError):
            raise error
        if not isinstance(error, KilledWorker):
            raise ScannerError(
                ErrorCode.CLUSTER_TASK_FAILED,
                f"A worker could not read the tiles {first} to {last}: {error!r}.",
                "Every worker needs the same unions-scanner, and the same paths, as the machine that started it.",
            ) from error
        deaths = self._deaths[tiles[0]] = self._deaths.get(tiles[0], 0) + 1
        if deaths == DEATHS:
            raise ScannerError(
                ErrorCode.CLUSTER_TASK_FAILED,
                f"Workers exited {deaths} times while they had the tiles {first} to {last}.",
                "Usually memory: start fewer workers, or give them more of it. Or run the command without workers.",
            ) from error
        log.warning("A worker exited while it had the tiles %s to %s: they are read again.", first, last)
        self._again.append(tiles)

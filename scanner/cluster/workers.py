"""The workers of a Dask scheduler, as a scan sees them: how many tiles they take, which are gone."""

from __future__ import annotations

import logging
import time
from typing import Any

from catalogs.errors import ErrorCode, ScannerError

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds after which the scheduler is asked again which workers there are."""

REMINDER = 60.0
"""Seconds between two warnings that there is no worker."""


class LostError(Exception):
    """The connection to the scheduler is lost, and with it everything that the scheduler was given."""


class Workers:
    """The workers there are, asked of the scheduler at intervals.

    ``capacity`` is the number of tiles that all of them together may have at once; ``addresses`` are theirs.
    ``patience``: seconds for which there may be no worker at all.
    """

    def __init__(self, client: Any, at_once: int, patience: float) -> None:
        self.capacity = 0
        self.addresses: list[str] = []
        self._client, self._at_once, self._patience = client, at_once, patience
        self._missing: dict[str, int] = {}
        self._updated = -LOOK
        self._present = self._reminded = time.monotonic()

    def update(self) -> bool:
        """Ask the scheduler if the last answer is old; returns whether it was asked.

        Raises:
            LostError: The scheduler does not answer.
            ScannerError: ``cluster.no_workers``.
        """
        if self._client.status != "running":
            raise LostError
        now = time.monotonic()
        if now - self._updated < LOOK:
            return False
        self._updated = now
        try:
            threads: dict[str, int] = self._client.nthreads()
        except OSError as error:
            raise LostError from error
        # A worker that is restarted at its address within two looks was not missing.
        missing = {*self._missing, *self.addresses} - set(threads)
        self._missing = {address: self._missing.get(address, 0) + 1 for address in missing}
        # More threads than ``at_once`` would only mean more tiles that are lost with a worker.
        capacity = sum(min(count, self._at_once) for count in threads.values())
        if capacity != self.capacity:
            log.info("%d workers, %d tiles at once.", len(threads), capacity)
        self.addresses, self.capacity = list(threads), capacity
        if capacity:
            self._present = self._reminded = now
        elif now - self._present > self._patience:
            raise ScannerError(
                ErrorCode.CLUSTER_NO_WORKERS,
                f"The scheduler has had no worker for {self._patience:g} s.",
                "Start workers, or read the logs of the jobs that should be workers; then run the same command again.",
            )
        elif now - self._reminded > REMINDER:
            self._reminded = now
            log.warning("There is still no worker; waiting.")
        return True

    def deaths(self, key: str) -> int:
        """How many workers exited with this task, where the scheduler has not given the task up for that."""
        try:
            return int(
                self._client.run_on_scheduler(
                    lambda dask_scheduler: getattr(dask_scheduler.tasks.get(key), "suspicious", 0)
                )
            )
        except OSError as error:
            raise LostError from error

    def gone(self, address: str) -> bool:
        """Whether a worker was missing twice in a row: by then Dask has reported what became of its tasks."""
        return self._missing.get(address, 0) > 1

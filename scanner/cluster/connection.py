"""A connection to Dask workers that all have a plugin: with it they know what the tasks are about."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Iterator
from typing import Any

from catalogs.errors import ErrorCode, ScannerError
from scanner.cluster import deploy
from scanner.cluster.job import WorkerSource
from scanner.cluster.workers import LostError

log = logging.getLogger(__name__)

REGISTRATIONS, PAUSE = 5, 1.0
"""Tries to hand the workers what they need, and seconds between two."""


@contextlib.contextmanager
def connected(connect: deploy.Connect, plugin: Any) -> Iterator[tuple[Any, str]]:
    """Yield a client whose workers have the plugin, and its name; at the end they drop it and what they do for it.

    Raises:
        LostError: The scheduler is gone.
        ScannerError: ``cluster.not_started``, ``cluster.no_scheduler``.
    """
    # Several commands may use the workers of one scheduler.
    name = f"unions-scanner-{secrets.token_hex(6)}"
    client = _open_client(connect)
    try:
        _register(client, plugin, name)
        yield client, name
    finally:
        # A scheduler that is lost cannot be asked to drop the plugin, and neither can a worker that was killed.
        with contextlib.suppress(OSError, RuntimeError):
            if client.status == "running":
                client.unregister_worker_plugin(name)
        client.close(timeout=2)


def check_lost(source: WorkerSource, lost: LostError) -> None:
    """Return where another client can wait for the scheduler that was lost.

    Raises:
        ScannerError: ``cluster.lost``: the scheduler was started here, and does not come back.
    """
    if source.address is None:
        message = "The Dask scheduler of this command is gone."
        raise ScannerError(ErrorCode.CLUSTER_LOST, message, "Run the same command to resume.") from lost
    log.warning("The scheduler at %s is lost: waiting until it is back.", source.address)


def _open_client(connect: deploy.Connect) -> Any:
    try:
        return connect()
    except (OSError, RuntimeError) as error:
        raise deploy.not_started(error) from error


def _register(client: Any, plugin: Any, name: str) -> None:
    """Give every worker the plugin. A worker that is killed meanwhile is replaced, and so it is tried again."""
    for _ in range(REGISTRATIONS):
        try:
            client.register_plugin(plugin, name=name)
            return
        except (OSError, RuntimeError) as error:
            if client.status != "running":
                raise LostError from error
            problem = error
            time.sleep(PAUSE)
    raise deploy.not_started(problem) from problem

"""Dask workers in processes of this machine, for tests that kill them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from typing import Any

import dask
from distributed import LocalCluster


@contextlib.contextmanager
def two_workers(settings: Mapping[str, Any]) -> Iterator[LocalCluster]:
    """Worker processes; what dies is started again, at once: by forking one that has imported everything."""
    forkserver.set_forkserver_preload(["scanner.cluster.worker", "scanner.cluster.pass_worker"])
    forkserver.ensure_running()
    quick = {"distributed.worker.multiprocessing-method": "forkserver"}
    with (
        dask.config.set({**settings, **quick}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            host="127.0.0.1",
            memory_limit=0,
            scheduler_kwargs={"dashboard": False, "dashboard_address": ":0"},
        ) as started,
    ):
        yield started

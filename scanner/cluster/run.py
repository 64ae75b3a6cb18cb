"""A scan on a cluster, from its list to its report: what ``scanner.scan.run`` is for one machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run
from scanner.cluster import connection, deploy
from scanner.cluster.dispatch import Dispatch
from scanner.cluster.job import WorkerJob, WorkerSource, absolute_options
from scanner.cluster.workers import LostError
from scanner.encoder.contract import MODELS, ModelFile
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.prepare import ReaderJob
from scanner.scan.progress import Progress, Quiet
from scanner.scan.report import ScanReport
from scanner.scan.run import check
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.system.resources import usable_cores
from scanner.system.signals import Interrupts


def scan_tiles(
    tiles: Iterable[Tile],
    survey: Survey,
    model: Encoder | ModelFile,
    catalogue: Catalogue,
    run: Run,
    options: ScanOptions,
    source: WorkerSource,
    *,
    device: str = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
) -> ScanReport:
    """Embed every object of ``tiles`` into ``catalogue`` with the workers of ``source``; the list is taken lazily.

    Rows, failures, reports and interrupts are those of a scan on one machine. The workers open their own sessions of
    ``model``, on ``device``. All machines see the same files. A tile in whose hands workers die is
    tried again alone, and put aside after three deaths (``tile.kills_workers``); a scheduler that is lost is waited
    for. Raises ``ScannerError`` for what is wrong with the set-up, here or on a worker (``cluster.*``).
    """
    began = time.perf_counter()
    # The same checks as on one machine, before any worker is asked for.
    check(ReaderJob(survey, model.contract, options))
    job = WorkerJob(
        survey=survey,
        options=absolute_options(options),
        run=run,
        model=_portable(model.path),
        precision=model.precision,
        runtime=model.runtime,
        catalogue=catalogue.path.absolute(),
        device=device,
        batch=batch,
        cores=max(1, usable_cores() // source.workers) if source.workers and not source.config else None,
    )
    try:
        with Interrupts() as interrupts, deploy.cluster(source, job) as connect:
            # It needs Dask, which is there now.
            from scanner.cluster.worker import TileWorker

            dispatch = Dispatch(tiles, job, catalogue, progress or Quiet(), interrupts.check, source.patience)
            while True:
                try:
                    with connection.connected(connect, TileWorker(job)) as (client, plugin):
                        dispatch.drive(client, plugin)
                    break
                except LostError as error:
                    connection.check_lost(source, error)
    finally:
        # Workers that were killed leave half-written files, of tiles and of failures.
        catalogue.remove_stale()
    return ScanReport(tuple(dispatch.reports), time.perf_counter() - began)


def _portable(model: Path) -> str:
    """A shipped model by its name: another machine may have the package elsewhere."""
    return model.parent.name if model.parent.parent == MODELS else str(model.absolute())

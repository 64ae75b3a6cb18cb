"""A scan of many tiles: read ahead, embed, write. A bad tile is a report and does not affect others."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.provenance import Run
from scanner.encoder import certificate
from scanner.encoder.contract import ModelFile
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import ONNXRUNTIME
from scanner.scan.options import ScanOptions, run_of_tile
from scanner.scan.pipeline import Pipeline
from scanner.scan.prepare import ReaderJob
from scanner.scan.progress import Progress, Quiet
from scanner.scan.read_ahead import InProcess, Prefetcher
from scanner.scan.report import ScanReport, TileReport
from scanner.scan.staging import Staging
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.system.signals import Interrupts


def make_run(survey: Survey, encoder: Encoder | ModelFile, options: ScanOptions, model: str = "") -> Run:
    """The provenance of the rows of a scan. ``model`` is the name to show, by default that of the file."""
    settings: dict[str, Any] = {
        "survey_digest": survey.digest,
        "precision": encoder.precision,
        **options.settings(),
    }
    # Left out by default, so that a catalogue of an earlier version keeps its tiles.
    if encoder.runtime != ONNXRUNTIME:
        settings["runtime"] = encoder.runtime
    return Run(
        survey=survey.name,
        bands=survey.band_names,
        model=model or encoder.path.name,
        model_sha256=encoder.sha256,
        contract=encoder.contract.to_dict(),
        settings=settings,
        grid=survey.grid,
    )


def scan_tiles(
    tiles: Iterable[Tile | None],
    survey: Survey,
    encoder: Encoder,
    catalogue: Catalogue,
    run: Run,
    options: ScanOptions,
    progress: Progress | None = None,
) -> ScanReport:
    """Embed every object of ``tiles`` into ``catalogue``; ``tiles`` may be a generator and is taken lazily.

    A generator that waits for tiles yields ``None`` at intervals, so that the scan can stop while it waits. A tile that
    is done with this run's digest is skipped; one that fails is recorded, and is retried by the next scan.

    Raises:
        ScannerError: What is wrong with the set-up: ``output.full``, ``encoder.failed``, ``reader.not_started``...
        KeyboardInterrupt: SIGINT or SIGTERM was received. The current tile is dropped, finished ones are kept.
    """
    began = time.perf_counter()
    # What would be wrong with every tile must not become a list of failed tiles.
    job = ReaderJob(survey, encoder.contract, options)
    check(job)
    if encoder.certificate is not None:
        encoder.certificate.write(catalogue.path / certificate.FOLDER)

    def triage() -> Iterator[Tile | TileReport | None]:
        """The tiles to scan, and the reports of all others."""
        # Asked once for each tile, before anything of it is fetched or read.
        for tile in tiles:
            if tile is not None and tile.problem is not None:
                yield TileReport.failed(tile.name, tile.problem)
            else:
                yield tile and (already(tile, catalogue, run, options) or tile)

    bands = options.bands or survey.band_names
    # Copies on the disk: of the tiles that are read, of one that is ready, and of one that is fetched.
    copies = options.processes + 2
    # On Windows a process inherits no file descriptors.
    ahead = options.processes and sys.platform != "win32"
    with (
        Interrupts() as interrupts,
        Prefetcher(job, options.processes) if ahead else InProcess(job) as source,
        Staging(survey, bands, options.scratch, copies, options.time_limit) as staging,
        Pipeline(encoder, catalogue, run, progress or Quiet(), interrupts.check, options.keep) as pipeline,
    ):
        # List -> what is not done yet -> local copies -> pixels and objects -> embeddings and rows.
        for outcome in source.stream(staging.stream(triage()), pipeline.look):
            pipeline.feed(outcome)
    return ScanReport(tuple(pipeline.reports), time.perf_counter() - began)


def already(tile: Tile, catalogue: Catalogue, run: Run, options: ScanOptions) -> TileReport | None:
    """The report of a tile that needs no scan, or cannot have one; None where it is to be scanned."""
    try:
        digest = run_of_tile(run, options.sources, tile.name).digest
        return TileReport(tile.name, "skipped") if catalogue.done(tile.name, digest, options.verify) else None
    except ScannerError as error:
        return TileReport.failed(tile.name, error)


def check(job: ReaderJob) -> None:
    """Raise what is wrong with every tile: ``survey.unknown_band``, ``model.other_bands``."""
    read = job.options.bands or job.survey.band_names
    for band in read:
        job.survey.band(band)
    wanted = job.contract.bands
    if foreign := [band for band in wanted if band not in job.survey.band_names]:
        raise ScannerError(
            ErrorCode.MODEL_OTHER_BANDS,
            f"The model needs the bands {', '.join(wanted)}; survey {job.survey.name} has no {', '.join(foreign)}.",
            f"Choose a model for the bands {', '.join(job.survey.band_names)}.",
        )
    if not set(wanted) & set(read):
        raise ScannerError(
            ErrorCode.MODEL_OTHER_BANDS,
            f"The model needs the bands {', '.join(wanted)}, none of which is read ({', '.join(read)}).",
            "Give other --bands.",
        )

"""What it costs to give a tile to a worker and to hear of it: CPU of the scheduler and the client, in one process."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import catalogs
from bench.harness.setup import Setup
from bench.harness.tiles import SURVEY
from scanner.cluster.job import WorkerSource
from scanner.cluster.run import scan_tiles
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.report import TileReport
from scanner.scan.run import make_run
from scanner.survey.tile import Tile

TILES, FEW_TILES, BEGINNING = 400, 12, 4
"""Tiles, in full and quick runs, and those of them that come before the counting begins."""


class _Clock(Quiet):
    """CPU-seconds of this process at the end of each tile."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def finished(self, report: TileReport) -> None:
        self.at.append(time.process_time())


def measure(setup: Setup) -> dict[str, Any]:
    """CPU-ms a tile, of tiles that fail at once: their file is no image. None where Dask is not installed."""
    if find_spec("distributed") is None:
        return {"dispatch_cpu_ms": None}
    clock, options = _Clock(), ScanOptions(readers=0)
    with setup.step("tiles given to a worker"), setup.scratch() as folder, Encoder(setup.model, "cpu") as encoder:
        (folder / "no.fits").write_bytes(b"no image")
        names = (f"{100 + number}.292" for number in range(FEW_TILES if setup.quick else TILES))
        listed = [Tile(name, {"r": folder / "no.fits"}) for name in names]
        run = make_run(SURVEY, encoder, options)
        catalogue = catalogs.create(folder / "embeddings", run)
        scan_tiles(
            listed, SURVEY, encoder, catalogue, run, options, WorkerSource(workers=1), device="cpu", progress=clock
        )
    # The first tiles include the start of the worker, so they are not counted.
    return {"dispatch_cpu_ms": 1000 * (clock.at[-1] - clock.at[BEGINNING]) / (len(clock.at) - 1 - BEGINNING)}

"""A piece of a long scan: from a tile being ready until a later one is, each in the time of one before it.

Before it comes the fill: the reading processes start, and each piece of memory that pixels are read into is used for
the first time, for which the kernel has to find and clear it. A survey pays that once. In the piece itself one tile is
read for each that is embedded, as in the middle of any list.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import catalogs
from bench.harness.setup import Setup
from bench.harness.tiles import SURVEY
from bench.harness.timing import TICK, Cost, cost, family_cpu, now
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan.options import GRID, ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.report import Seconds, TileReport
from scanner.scan.run import make_run, scan_tiles
from scanner.sources import sources
from scanner.survey.tile import Tile
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Batch, Windows

MOST_WINDOWS = 2048
"""Windows kept to time the encoder alone: 170 MB."""


class _EnoughError(Exception):
    pass


class _Watch(Quiet):
    """Notes when tiles are ready to be embedded and what became of them; ends the scan once it has seen enough."""

    def __init__(self, tiles: int) -> None:
        self.starts: list[float] = []
        self.cpu: list[float] = []
        self.reports: list[TileReport] = []
        self._tiles = tiles

    def started(self, tile: str, objects: int) -> None:
        self.starts.append(now().wall)
        self.cpu.append(family_cpu())
        if len(self.starts) > self._tiles:
            raise _EnoughError

    def finished(self, report: TileReport) -> None:
        self.reports.append(report)


@dataclass(frozen=True)
class Window:
    """``fill`` seconds until the first tile was ready, ``lead`` until all memory was in use, ``wall`` for ``objects``.

    ``seconds`` are those by stage, for as many objects; ``cpu`` is that of this process and its readers.
    """

    fill: float
    wall: float
    objects: int
    seconds: Seconds
    bytes: int
    lead: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Objects a second."""
        return self.objects / self.wall


def window(encoder: Encoder, listed: Sequence[Tile], options: ScanOptions, folder: Path) -> Window:
    """Scan ``listed``: one tile for each reader first, to have all memory in use; the last ones are only read.

    ``RuntimeError`` if a tile fails.
    """
    first = options.processes
    watch = _Watch(len(listed) - max(first, 1))
    run = make_run(SURVEY, encoder, options)
    catalogue = catalogs.create(folder / "window", run)
    began = now().wall
    with contextlib.suppress(_EnoughError):
        scan_tiles(listed, SURVEY, encoder, catalogue, run, options, watch)
    failed = [report.message for report in watch.reports if report.status != "done"]
    # The first tile of each reader is read into memory that is new, so it is not counted.
    counted = watch.reports[first:]
    objects = sum(report.objects for report in counted)
    if failed or not objects or len(watch.starts) != len(listed) - max(first, 1) + 1:
        raise RuntimeError(f"a scan that fails cannot be timed: {'; '.join(failed) or 'no objects'}")
    return Window(
        fill=watch.starts[0] - began,
        lead=watch.starts[first] - watch.starts[0],
        wall=watch.starts[-1] - watch.starts[first],
        # A process that nobody waits for takes its time with it when it ends.
        cpu=max(watch.cpu[-1] - watch.cpu[first], TICK),
        objects=objects,
        seconds=_seconds(counted, watch.reports[first + 1 :] if first else counted),
        bytes=sum(catalogue.tile_path(report.tile).stat().st_size for report in counted),
    )


def _seconds(counted: Sequence[TileReport], read: Sequence[TileReport]) -> Seconds:
    """Those of the ``counted`` tiles; what reading costs is that of tiles ``read`` into memory that was used before."""
    spent, reading = (sum((report.seconds for report in some), Seconds()) for some in (counted, read or counted))
    share = sum(report.objects for report in counted) / sum(report.objects for report in read or counted)
    return replace(spent, read=share * reading.read, detect=share * reading.detect)


def cut(tile: Tile, encoder: Encoder, options: ScanOptions, most: int = MOST_WINDOWS) -> tuple[Batch, int]:
    """The first windows of a tile [n, B, S, S], and how many it has."""
    opened = open_tile(SURVEY, tile)
    objects = sources.grid(opened, options.stride) if options.sources == GRID else sources.detect(opened)
    windows = Windows(opened, objects, WindowFrame(*encoder.contract.frame))
    return windows.gather(0, min(len(windows), most)), len(windows)


class Turns:
    """Windows of a scan between two timings of the encoder alone: same session, callers and batches, pixels in memory.

    ``alone`` is the cost of one window.
    """

    def __init__(self, setup: Setup, encoder: Encoder, listed: Sequence[Tile], options: ScanOptions, flux: Batch):
        self.encoder, self.options, self.tiles = encoder, options, listed
        self._setup, self._flux = setup, flux
        self.windows: list[Window] = []
        self.alone: list[Cost] = []

    def take(self) -> None:
        """One turn."""
        before = self._alone()
        with self._setup.scratch() as folder:
            self.windows.append(window(self.encoder, self.tiles, self.options, folder))
        # The mean of before and after cancels a steady drift of the machine.
        after = self._alone()
        self.alone.append(Cost((before.wall + after.wall) / 2, (before.cpu + after.cpu) / 2))

    @property
    def efficiencies(self) -> list[float]:
        """Time of the encoder alone for as many windows, over that of the scan, turn by turn."""
        return [one.wall * part.rate for one, part in zip(self.alone, self.windows, strict=True)]

    @property
    def efficiency(self) -> float:
        return median(self.efficiencies)

    @property
    def rate(self) -> float:
        return median(part.rate for part in self.windows)

    @property
    def bytes_per_row(self) -> float:
        return self.windows[0].bytes / self.windows[0].objects

    def _alone(self) -> Cost:
        return cost(lambda: self.encoder.embed(self._flux)).per(len(self._flux))

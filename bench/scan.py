"""The scan: what of its time is the encoder's, what a plain loop takes for the same tiles, seconds by stage, memory.

``efficiency`` is the time of ONNX Runtime alone (the same session, callers and batches, windows ready in memory) for as
many windows as the scan embeds, over the wall time of the scan from its first tile being ready to its end. The first
tile's fill (start of the reading process, read, detect) is left out: a survey pays it once.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from statistics import median
from typing import Any

from bench import memory, plain_loop, tiles
from bench.method import Cost, cost, in_turns, now
from bench.setup import Setup
from catalogs import store
from scanner import images, sources, survey
from scanner.cutouts import Windows
from scanner.encoder import Encoder
from scanner.options import LOW, NORMAL, ScanOptions
from scanner.progress import Quiet
from scanner.report import ScanReport, Seconds
from scanner.scan import make_run, scan_tiles
from scanner.tiles import Tile

UNIONS = survey.load("unions")
MOST_WINDOWS = 4096
"""Windows kept to time the encoder alone: 340 MB."""

COMMAND = "from scanner.cli import main; main()"


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``formats``, raw first; the bars stand by themselves: ``efficiency``, ``vs_plain_loop``, ..."""
    with Encoder(setup.model, device="cpu") as encoder:
        measured = [_Scans(setup, encoder, form) for form in tiles.FORMATS]
        for scans in measured:
            scans.take_turns()
        raw, rice = measured
        return {
            "efficiency": raw.efficiency,
            "efficiency_rice": rice.efficiency,
            "cpu_efficiency": raw.cpu_efficiency,
            "vs_plain_loop": raw.vs_plain_loop,
            "peak_rss_gb": _peak(setup, raw.tiles, NORMAL),
            "peak_low_rss_gb": _peak(setup, raw.tiles, LOW),
            "pixels": setup.pixels,
            "tiles": len(raw.tiles),
            "objects": raw.objects,
            "readers": ScanOptions().readers,
            "threads": encoder.threads,
            "runs": setup.runs,
            "bytes_per_row": raw.bytes_per_row,
            "formats": [scans.row() for scans in measured],
            "stages": [row for scans in measured for row in scans.stages()],
        }


class _FirstReady(Quiet):
    """Notes when the first tile is ready to be embedded."""

    at: float | None = None

    def started(self, tile: str, objects: int) -> None:
        if self.at is None:
            self.at = now().wall


class _Scans:
    """The tiles of one format, and what the ways to go over them cost, turn by turn."""

    def __init__(self, setup: Setup, encoder: Encoder, form: str) -> None:
        self._setup, self._encoder, self.form = setup, encoder, form
        self.tiles = tiles.made(setup.folder, setup.pixels, form)
        found = _windows(self.tiles[0], encoder)
        self._a_tile = len(found)
        self._windows = found.gather(0, min(len(found), MOST_WINDOWS))
        self._plain_session = plain_loop.session(encoder.path)
        self._reports: list[ScanReport] = []
        self._fills: list[float] = []
        self.bytes_per_row = 0.0
        self._plain_objects = 0

    def take_turns(self) -> None:
        """Warm up with one tile each, then run the scan, the encoder alone and the plain loop in turns."""
        if not self._setup.quick:
            self._scan(self.tiles[:1])
            self._plain(self.tiles[:1])
        self._reports.clear()
        self._fills.clear()
        works = {"scan": lambda: self._scan(self.tiles), "alone": self._alone, "plain": lambda: self._plain(self.tiles)}
        self._costs = in_turns(works, self._setup.runs)

    @property
    def objects(self) -> int:
        return self._reports[0].objects

    @property
    def steady(self) -> list[float]:
        """Wall seconds of each scan from its first tile being ready to its end."""
        return [whole.wall - fill for whole, fill in zip(self._costs["scan"], self._fills, strict=True)]

    @property
    def efficiencies(self) -> list[float]:
        pairs = zip(self._costs["alone"], self.steady, strict=True)
        return [alone.wall * self.objects / steady for alone, steady in pairs]

    @property
    def efficiency(self) -> float:
        return median(self.efficiencies)

    @property
    def cpu_efficiency(self) -> float:
        """The encoder's share of all CPU-seconds that the scan used, its reading process included."""
        pairs = zip(self._costs["alone"], self._costs["scan"], strict=True)
        return median(alone.cpu * self.objects / whole.cpu for alone, whole in pairs)

    @property
    def vs_plain_loop(self) -> float:
        """Objects a second of the scan over those of the plain loop, first fill included."""
        pairs = zip(self._costs["plain"], self._costs["scan"], strict=True)
        return median(p.wall / self._plain_objects / (s.wall / self.objects) for p, s in pairs)

    def row(self) -> dict[str, Any]:
        scan, plain = self._costs["scan"], self._costs["plain"]
        return {
            "format": self.form,
            "efficiency": self.efficiency,
            "lowest": min(self.efficiencies),
            "highest": max(self.efficiencies),
            "cpu_efficiency": self.cpu_efficiency,
            "vs_plain_loop": self.vs_plain_loop,
            "objects_per_s": median(self.objects / steady for steady in self.steady),
            "alone_objects_per_s": median(1 / alone.wall for alone in self._costs["alone"]),
            "plain_objects_per_s": median(self._plain_objects / whole.wall for whole in plain),
            "wall_s": median(whole.wall for whole in scan),
            "fill_s": median(self._fills),
            "objects": self.objects,
            "plain_objects": self._plain_objects,
        }

    def stages(self) -> list[dict[str, Any]]:
        """Seconds of each stage, summed over threads and processes, and the share of its workers' time that this is.

        ``read`` and ``detect`` run in the readers from the start; ``cut`` and ``infer`` in the callers and ``write`` in
        one thread from the first tile being ready. Where cut and infer together come near 1 the encoder sets the pace,
        and what they lack of 1 is what the scan loses; where read and detect do, the readers hold it up.
        """
        readers, threads = ScanOptions().readers, self._encoder.threads
        whole, steady = (median(walls) for walls in ([cost.wall for cost in self._costs["scan"]], self.steady))
        room = {"read": readers * whole, "detect": readers * whole, "write": steady}
        rows = []
        for stage in asdict(Seconds()):
            spent = median(getattr(report.seconds, stage) for report in self._reports)
            share = spent / room.get(stage, threads * steady)
            rows.append({"format": self.form, "stage": stage, "seconds": spent, "busy_share": share})
        return rows

    def _scan(self, listed: list[Tile]) -> Cost:
        first = _FirstReady()
        with self._setup.scratch() as folder:
            run = make_run(UNIONS, self._encoder, ScanOptions())
            catalogue = store.create(folder, run)
            began = now()
            report = scan_tiles(listed, UNIONS, self._encoder, catalogue, run, ScanOptions(), first)
            spent = now() - began
            _check(report, listed)
            written = sum(catalogue.tile_path(tile.name).stat().st_size for tile in listed)
        self._reports.append(report)
        self.bytes_per_row = written / report.objects
        self._fills.append((first.at or began.wall) - began.wall)
        return spent

    def _alone(self) -> Cost:
        """The encoder on windows in memory; the cost of one of them."""
        return cost(lambda: self._encoder.embed(self._windows)).per(len(self._windows))

    def _plain(self, listed: list[Tile]) -> Cost:
        with self._setup.scratch() as folder:
            began = now()
            side = self._encoder.contract.window
            self._plain_objects = plain_loop.scan(listed, self._plain_session, side, self._a_tile, folder)
            return now() - began


def _windows(tile: Tile, encoder: Encoder) -> Windows:
    opened = images.open_tile(UNIONS, tile)
    return Windows(opened, sources.detect(opened), encoder.contract)


def _check(report: ScanReport, listed: list[Tile]) -> None:
    if report.count("done") != len(listed) or not report.objects:
        why = "; ".join(tile.message for tile in report.failed) or "no objects"
        raise RuntimeError(f"a scan that fails cannot be timed: {why}")


def _peak(setup: Setup, listed: list[Tile], mode: str) -> float | None:
    """Peak PSS of the command as users run it, in a process of its own."""
    with setup.scratch() as folder:
        names = folder / "list.txt"
        names.write_text("".join(f"{tile.name}\n" for tile in listed), encoding="utf-8")
        root = next(iter(listed[0].files.values())).parent
        options = {"--tiles": names, "--root": root, "--model": setup.model, "--out": folder / "out", "--readers": 1}
        options["--memory"] = mode
        given = [str(part) for option in options.items() for part in option]
        return memory.peak_gb([sys.executable, "-c", COMMAND, "scan-tiles", "--device", "cpu", *given])

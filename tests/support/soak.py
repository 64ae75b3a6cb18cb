"""A long scan of small tiles that notes what it holds on the way: memory, open files, threads.

``python -m tests.support.soak FOLDER MODEL TILES READERS`` prints a JSON list of samples, one every hundred tiles.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import catalogs
from scanner.encoder import encoder
from scanner.scan import reader_process
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.report import TileReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey
from scanner.survey.tile import Tile
from tests.support import small_tiles

EVERY = 100
PAGE = os.sysconf("SC_PAGE_SIZE")
KINDS = ("full", "full", "full", "sparse", "full", "empty", "large", "cut short", "full", "not there")


@dataclass(frozen=True)
class Sample:
    """After ``tiles`` tiles: MB that are resident in the scan and in its reading processes, open files, threads."""

    tiles: int
    main: float
    readers: float
    files: int
    threads: int


class Notes(Quiet):
    """Takes a sample now and then."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.ended = 0

    def finished(self, report: TileReport) -> None:
        self.ended += 1
        if self.ended % EVERY == 0:
            threads = list(Path("/proc/self/task").iterdir())
            readers = [int(pid) for task in threads for pid in (task / "children").read_text().split()]
            files = len(list(Path("/proc/self/fd").iterdir()))
            self.samples.append(
                Sample(self.ended, _resident(os.getpid()), sum(map(_resident, readers)), files, len(threads))
            )


def _resident(pid: int) -> float:
    """MB of a process; without what it shares with others, so that a slot is not counted twice."""
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(resident) - int(shared)) * PAGE / 1e6


def write(folder: Path) -> None:
    """A tile of each kind."""
    small_tiles.write(folder / "full", "200.292", size=96, objects=4, bands="r")
    small_tiles.write(folder / "sparse", "200.292", size=96, objects=4, bands="gi")
    small_tiles.write(folder / "empty", "200.292", size=96, objects=0, bands="r")
    small_tiles.write(folder / "large", "200.292", size=200, objects=20, bands="gr")
    small_tiles.write(folder / "cut short", "200.292", size=96, objects=4, bands="r")
    cut_short = small_tiles.band_file(folder / "cut short", "200.292", "r")
    cut_short.write_bytes(cut_short.read_bytes()[:9000])


def listed(folder: Path, count: int) -> list[Tile]:
    """So many tiles of all kinds, each of another name, in the files of one."""
    tiles = []
    for number in range(count):
        kind = folder / KINDS[number % len(KINDS)]
        paths = {band: small_tiles.band_file(kind, "200.292", band) for band in "gri"}
        there = {band: path for band, path in paths.items() if path.exists()}
        tiles.append(Tile(f"{100 + number // 100:03d}.{220 + number % 100:03d}", there or {"r": paths["r"]}))
    return tiles


def main(folder: Path, model: Path, count: int, readers: int) -> None:
    # Without the grid: the same files have many names, and lie at the place of one of them.
    unions = replace(survey.load("unions"), grid=None)
    # Readers give arrays back at once. What they keep for the next array breaks up with the bytes that libraries lose,
    # a megabyte or two at a time and not in every run: that would hide a leak.
    reader_process._ENVIRONMENT["MALLOC_MMAP_THRESHOLD_"] = str(64 << 10)
    options, notes = ScanOptions(readers=readers), Notes()
    with encoder.Encoder(model, device="cpu", threads=2) as loaded:
        run = make_run(unions, loaded, options)
        catalogue = catalogs.create(folder / "out", run)
        report = scan_tiles(listed(folder, count), unions, loaded, catalogue, run, options, notes)
    codes = sorted({tile.code for tile in report.failed})
    found = {"done": report.count("done"), "failed": len(report.failed), "codes": codes, "objects": report.objects}
    sys.stdout.write(json.dumps({**found, "samples": [asdict(sample) for sample in notes.samples]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

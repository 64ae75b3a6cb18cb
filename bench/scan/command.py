"""``scanner scan-tiles`` as a user runs it, in a process of its own: its report, and its memory while it ran."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.harness import memory
from bench.harness.memory import Watched
from bench.harness.setup import Setup
from bench.harness.tiles import write_survey
from scanner.survey.tile import Tile

COMMAND = "from scanner.cli import main; main()"
PACED = f"from bench.scan.simulated_device import stand_in; stand_in(); {COMMAND}"
"""The same with a simulated device in the encoder's place: all else weighs the more, and a tile takes seconds."""


@dataclass(frozen=True)
class Scanned:
    """``report``: the command's JSON. ``ends``: when each tile's file appeared, in seconds since 1970, in order."""

    report: dict[str, Any]
    watched: Watched
    ends: tuple[float, ...]

    @property
    def peak_gb(self) -> float | None:
        """The highest PSS of all its processes."""
        highest = self.watched.peak()
        return highest.all if highest else None

    @property
    def tile_seconds(self) -> list[float]:
        """From the end of each tile to that of the next: one fewer than there are tiles."""
        return [end - begin for begin, end in pairwise(self.ends)]

    @property
    def tile_peaks_gb(self) -> list[float | None]:
        """The highest PSS in each of those times, pages of files left out: the system may take them back."""
        peaks = [self.watched.peak(begin, end) for begin, end in pairwise(self.ends)]
        return [peak.own if peak else None for peak in peaks]


def scanned(setup: Setup, tiles: Sequence[Tile], *options: str, command: str = COMMAND) -> Scanned:
    """Scan ``tiles`` (of one folder) on the CPU with one reader."""
    with setup.scratch() as folder:
        names = folder / "list.txt"
        names.write_text("".join(f"{tile.name}\n" for tile in tiles), encoding="utf-8")
        root = next(iter(tiles[0].files.values())).parent
        arguments = {"--tiles": names, "--root": root, "--model": setup.model, "--out": folder / "out", "--readers": 1}
        arguments |= {"--device": "cpu", "--format": "json", "--survey": write_survey(folder / "survey.toml")}
        words = [str(part) for option in arguments.items() for part in option]
        watched = memory.watched([sys.executable, "-c", command, "scan-tiles", *words, *options])
        # A tile's file is written last, so its time is the end of the tile.
        ends = sorted(file.stat().st_mtime for file in Path(folder / "out" / "tiles").glob("*.parquet"))
    return Scanned(json.loads(watched.output), watched, tuple(ends))

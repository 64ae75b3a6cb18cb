"""Tile after tile, and tiles that are not like others: what they cost, in seconds and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from bench.harness import tiles
from bench.harness.setup import Setup
from bench.scan.command import PACED, Scanned, scanned
from scanner.scan.options import LOW
from scanner.scan.report import Seconds
from scanner.survey.tile import Tile

LONG, SHORT, SIDE = 21, 4, 2500
MANY = 100_000
FULL = 10_000
BRIGHT = ("--min-snr", "20")
"""Memory is highest while a tile is read and another is embedded: that does not take every object."""


def measure(setup: Setup, listed: Sequence[Tile]) -> dict[str, Any]:
    """``peak_rss_gb`` and what ``--memory low`` changes; rows of ``tiles``; ``twenty_tiles``."""
    with setup.step("memory, normal and low"):
        figures = memory_modes(setup, listed)
    with setup.step("a usual tile, a crowded one, an empty one, many sources"):
        odd = odd_tiles(setup)
    with setup.step("tile after tile"):
        return {**figures, "tiles": odd, "twenty_tiles": flat(setup)}


def memory_modes(setup: Setup, listed: Sequence[Tile]) -> dict[str, Any]:
    """The highest memory of a scan of two tiles, normal and low: bytes of all processes, shared ones counted once."""
    normal, low = (scanned(setup, listed[:2], *BRIGHT, *options) for options in ((), ("--memory", LOW)))
    return {
        "peak_rss_gb": normal.peak_gb,
        "peak_rss_low_gb": low.peak_gb,
        "low_vs_normal_time": low.report["wall_seconds"] / normal.report["wall_seconds"],
    }


def flat(setup: Setup) -> dict[str, Any]:
    """Twenty tiles after a first one: seconds and memory of each, and how the last five compare with the first five.

    The encoder is a simulated device, so that what the seconds tell is the cost of all else.
    """
    side = min(setup.side, SIDE)
    scan = scanned(setup, tiles.made(setup.folder, side, "raw", SHORT if setup.quick else LONG), command=PACED)
    seconds, peaks = scan.tile_seconds, scan.tile_peaks_gb
    return {
        "tiles": len(seconds),
        "pixels": side,
        "objects_a_tile": scan.report["tiles"][0]["objects"],
        "seconds_last_vs_first": _drift(seconds),
        "seconds_highest_vs_median": max(seconds) / median(seconds),
        "memory_last_vs_first": _drift([peak for peak in peaks if peak]),
        "seconds": seconds,
        "peaks_gb": peaks,
    }


def _drift(values: Sequence[float]) -> float | None:
    """The median of the last quarter over that of the first."""
    few = max(1, len(values) // 4)
    return median(values[-few:]) / median(values[:few]) if len(values) > 1 else None


def odd_tiles(setup: Setup) -> list[dict[str, Any]]:
    """The usual tile, a crowded one, an empty one, and the usual one with 100,000 sources from a file: a row each.

    The encoder is a simulated device; ``wall_s`` begins with the start of the reading process.
    """
    rows = []
    for sky in (tiles.USUAL, tiles.CROWDED, tiles.EMPTY):
        listed = tiles.made(setup.folder, setup.side, "raw", 1, sky)
        rows.append(_row(setup, sky or "usual", scanned(setup, listed, command=PACED)))
    # The sources are as dense as MANY of them on a tile of full size.
    many = round(MANY * (setup.side / FULL) ** 2)
    with setup.scratch() as folder:
        places = np.random.default_rng(0).uniform(0, setup.side - 1, (many, 2))
        np.savetxt(folder / "many.csv", places, "%.2f", delimiter=",", header="x,y", comments="")
        usual = tiles.made(setup.folder, setup.side, "raw", 1)
        scan = scanned(setup, usual, "--sources", str(folder / "many.csv"), command=PACED)
    return [*rows, _row(setup, f"{many:,} sources", scan)]


def _row(setup: Setup, name: str, scan: Scanned) -> dict[str, Any]:
    seconds = Seconds(**scan.report["seconds"])
    return {
        "tile": name,
        "pixels": setup.side,
        "objects": scan.report["objects"],
        "wall_s": scan.report["wall_seconds"],
        "objects_per_s": scan.report["objects"] / scan.report["wall_seconds"],
        **{f"{stage}_s": spent for stage, spent in asdict(seconds).items()},
        "peak_gb": scan.peak_gb,
    }

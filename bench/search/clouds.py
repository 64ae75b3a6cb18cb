"""Catalogues of clusters and their Lance datasets, kept for the next run: to make one takes longer than to ask it.

What is there is not made again, and a run that was stopped is resumed. What an export took is in a file beside the
dataset, so that a later run, which only asks, states it too.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import catalogs
from bench.harness import memory, rows
from bench.harness.embeddings import Cloud
from bench.harness.timing import Cost, cost
from catalogs.atomic import write_json
from catalogs.catalogue import Catalogue
from catalogs.records import load_json, read_record

DIM = 192
BLOCK = 5 * rows.TILE_ROWS
COMMAND = "from scanner.cli import main; main()"


@dataclass(frozen=True)
class ExportCost:
    """Seconds and CPU-seconds of an export, from nothing to its rename, and the highest memory of its processes in GB.

    Memory is None without /proc.
    """

    wall: float
    cpu: float
    peak_gb: float | None
    peak_own_gb: float | None


def place(folder: Path, source: Cloud) -> Path:
    """Return where the catalogue of ``source`` is."""
    return folder / f"clouds-{source.rows}" / "embeddings"


def catalogue(folder: Path, source: Cloud) -> Catalogue:
    """Open the catalogue of ``source``; tiles that it lacks are drawn."""
    filled = catalogs.create(place(folder, source), rows.run(source.dim))
    standing = set(filled.tiles())
    for first in range(0, source.rows, BLOCK):
        number, count = first // rows.TILE_ROWS, min(BLOCK, source.rows - first)
        names = {rows.tile_name(number + tile) for tile in range(-(-count // rows.TILE_ROWS))}
        # A tile that is written again would make its index and dataset those of another catalogue.
        if not names <= standing:
            rows.extend(filled, number, source.draw(count, stream=100 + number))
    return filled


def dataset(filled: Catalogue) -> tuple[Path, ExportCost | None]:
    """Return the Lance dataset beside a catalogue, exported by the command, and what that took.

    The cost is None where the export was made in several runs.
    """
    out = filled.path.with_name("objects")
    record = out.with_suffix(".json")
    resumed = out.with_name(f".{out.name}.partial").exists()
    if not out.exists():
        record.unlink(missing_ok=True)
        program = (sys.executable, "-c", COMMAND, "export", "lance", str(out), "--catalog", str(filled.path))
        peaks: list[memory.Peak | None] = []
        spent: Cost = cost(lambda: peaks.append(memory.peak(program)))
        peak = peaks[0]
        took = ExportCost(spent.wall, spent.cpu, peak.all if peak else None, peak.own if peak else None)
        if not resumed:
            write_json(record, asdict(took))
    return out, read_record(load_json(record), ExportCost) if record.exists() else None

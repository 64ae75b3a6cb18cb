"""A catalogue of the tile that ships with the package, and the page on it."""

from __future__ import annotations

import csv
from pathlib import Path

import scanner
from scanner.cli.demo import DEMO

TOKEN = "a-token-of-the-tests"


def scan(folder: Path) -> Path:
    """Scan the shipped tile; returns the catalogue."""
    report = scanner.scan_tiles(DEMO / "list.txt", folder / "embeddings", root=DEMO, device="cpu", readers=1)
    assert not report.failed
    return folder / "embeddings"


def lenses() -> list[tuple[float, float]]:
    """The positions of the lenses on the tile, in degrees."""
    with (DEMO / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [(float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file) if row["label"] == "lens"]

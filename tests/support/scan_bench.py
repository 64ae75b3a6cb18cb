"""Tiles, an encoder and a catalogue: what a test of a scan needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import catalogs
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from scanner.survey.tile import Tile

UNIONS = survey.load("unions")
IN_PROCESS = ScanOptions(readers=0)


class Bench:
    """Tiles on disk, an encoder, and a catalogue to fill."""

    def __init__(self, folder: Path, out: Path, encoder: Encoder) -> None:
        self.folder, self.out, self.encoder = folder, out, encoder

    def run(self, options: ScanOptions = IN_PROCESS) -> catalogs.Run:
        return make_run(UNIONS, self.encoder, options, "tiny")

    def tile(self, name: str) -> Tile:
        return tile_list.find(UNIONS, name, self.folder)

    def scan(self, names: Sequence[str], options: ScanOptions = IN_PROCESS, progress: Any = None) -> ScanReport:
        listed = (self.tile(name) for name in names)
        return self.scan_tiles(listed, options, progress)

    def scan_tiles(self, listed: Any, options: ScanOptions = IN_PROCESS, progress: Any = None) -> ScanReport:
        run = self.run(options)
        return scan_tiles(listed, UNIONS, self.encoder, catalogs.create(self.out, run), run, options, progress)

    def rows(self, name: str) -> dict[str, Any]:
        table = pq.read_table(self.out / "tiles" / f"{name}.parquet")
        found = {column: table[column].to_numpy() for column in table.column_names if column != "embedding"}
        flat = table["embedding"].combine_chunks().flatten().to_numpy()
        return found | {"embedding": flat.reshape(len(table), self.encoder.contract.embedding_dim)}

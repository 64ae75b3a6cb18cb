"""Publishing: CPU-seconds, bytes and memory of a catalogue that becomes a HATS collection."""

from __future__ import annotations

import sys
from typing import Any

from bench.harness import memory, rows
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.harness.timing import cost
from catalogs import hats
from scanner.encoder.encoder import Encoder

ROWS, FEW_ROWS = 240_000, 3_000
COMMAND = "from scanner.cli import main; main()"


def measure(setup: Setup) -> dict[str, Any]:
    """Seconds are of the work, without the start of a program; the peak is that of the command."""
    with Encoder(setup.model, device="cpu") as encoder:
        dim = encoder.contract.embedding_dim
    count = FEW_ROWS if setup.quick else ROWS
    made: list[hats.PublishReport] = []
    with setup.scratch() as folder:
        filled = rows.catalogue(folder / "embeddings", Cloud(dim, count).draw(count))
        spent = cost(lambda: made.append(hats.publish(filled, folder / "one", hats.Options("bench"))))
        command = (sys.executable, "-c", COMMAND, "publish", str(folder / "two"), "--catalog", str(filled.path))
        peak = memory.peak(command)
    return {
        "embedding_dim": dim,
        "rows": made[0].rows,
        "margin_rows": made[0].margin_rows,
        "files": made[0].partitions,
        "cpu_s_per_million_rows": 1e6 * spent.cpu / made[0].rows,
        # Bytes a row are megabytes a million rows.
        "mb_per_million_rows": made[0].bytes / made[0].rows,
        "peak_gb": peak.all if peak else None,
    }

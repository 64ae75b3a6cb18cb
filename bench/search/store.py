"""The store: bytes a row, and rows a second in and out, against the same columns as plain float32 Parquet with zstd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import catalogs
from bench.harness import rows
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.harness.timing import Work, cost, in_turns, median_ratio, middle
from catalogs.store.schema import EMBEDDING, catalogue_schema
from scanner.encoder.encoder import Encoder
from scanner.encoder.runtime import CPU_BATCH

ROWS, FEW_ROWS = 32_768, 2_048
WIDE = 384
TILE = rows.tile_name(0)


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``dimensions``: the model's first, then 384; its own numbers stand by themselves too."""
    with Encoder(setup.model, device="cpu") as encoder:
        dim = encoder.contract.embedding_dim
    measured = [_measured(setup, one) for one in dict.fromkeys([dim, WIDE])]
    names = ("bytes_per_row", "embedding_bytes_per_row", "write_rows_per_s", "read_rows_per_s")
    head = {name: measured[0][name] for name in names}
    return {**head, "embedding_dim": dim, "rows": measured[0]["rows"], "runs": setup.runs, "dimensions": measured}


def _measured(setup: Setup, dim: int) -> dict[str, Any]:
    with setup.scratch() as folder:
        return _Files(folder, dim, FEW_ROWS if setup.quick else ROWS).row(setup.runs)


class _Files:
    """One tile's rows, and the two files they are written to and read from."""

    def __init__(self, folder: Path, dim: int, count: int) -> None:
        self._dim, self._count = dim, count
        self._run = rows.run(dim)
        self._catalogue = catalogs.create(folder / "catalogue", self._run)
        columns = rows.columns(self._catalogue.schema, TILE, Cloud(dim, count).draw(count))
        self._plain_path = folder / "plain.parquet"
        self._plain = _table(columns, dim)
        self._whole = columns
        self._batches = [
            {name: values[start : start + CPU_BATCH] for name, values in columns.items()}
            for start in range(0, count, CPU_BATCH)
        ]

    def row(self, runs: int) -> dict[str, Any]:
        """``write`` comes in the encoder's batches, as in a scan; ``write_whole`` at once, as plain Parquet is given.

        ``write_vs_plain`` (of whole to whole) and ``read_vs_plain`` are how many times longer the plain file takes.
        """
        works: dict[str, Work] = {
            "write": lambda: cost(lambda: self._write(self._batches)),
            "write_whole": lambda: cost(lambda: self._write([self._whole])),
            "plain_write": lambda: cost(lambda: pq.write_table(self._plain, self._plain_path, compression="zstd")),
            "read": lambda: cost(self._read),
            "plain_read": lambda: cost(lambda: pq.read_table(self._plain_path)),
        }
        for work in works.values():
            work()
        costs = in_turns(works, runs)
        path = self._catalogue.tile_path(TILE)
        speeds = {f"{name}_rows_per_s": self._count / middle(spent).wall for name, spent in costs.items()}
        return {
            "embedding_dim": self._dim,
            "rows": self._count,
            "bytes_per_row": path.stat().st_size / self._count,
            "embedding_bytes_per_row": _embedding_bytes(path) / self._count,
            "plain_bytes_per_row": self._plain_path.stat().st_size / self._count,
            "plain_embedding_bytes_per_row": _embedding_bytes(self._plain_path) / self._count,
            **speeds,
            "write_cpu_s_per_1000": 1000 * middle(costs["write"]).cpu / self._count,
            "write_vs_plain": median_ratio(costs["write_whole"], costs["plain_write"]),
            "read_vs_plain": median_ratio(costs["read"], costs["plain_read"]),
        }

    def _write(self, batches: list[dict[str, NDArray[Any]]]) -> None:
        """To the disk and its file name, which includes an fsync; plain Parquet does none."""
        with self._catalogue.writer(TILE, self._run) as file:
            for batch in batches:
                file.write(batch)

    def _read(self) -> int:
        with self._catalogue.open_tile(TILE) as file:
            return sum(table.num_rows for table in file.groups(self._catalogue.schema.names))


def _table(columns: dict[str, NDArray[Any]], dim: int) -> pa.Table:
    flat = np.ascontiguousarray(columns[EMBEDDING]).reshape(-1)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(flat), dim)
    types = {field.name: field.type for field in catalogue_schema(rows.BANDS, dim)}
    others = {name: pa.array(values, types[name]) for name, values in columns.items() if name != EMBEDDING}
    return pa.table({**others, EMBEDDING: embedding})


def _embedding_bytes(path: Path) -> int:
    metadata = pq.read_metadata(path)
    chunks = (
        metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(metadata.num_columns)
    )
    return sum(int(chunk.total_compressed_size) for chunk in chunks if chunk.path_in_schema.startswith(EMBEDDING))

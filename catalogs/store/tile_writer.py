"""The writer of a tile: rows go to one Parquet file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs import parquet_files
from catalogs.atomic import output_errors, replacing
from catalogs.sky import geometry
from catalogs.store import vectors, voparquet
from catalogs.store.schema import EMBEDDING, healpix29

RUN_KEY = "scanner.run"
SKY_KEY = "scanner.sky"
ROW_GROUP = 65_536


class TileWriter:
    """Append batches of rows in the order given; the file gets its name on a clean exit of the ``with`` block.

    The footer holds the receipt of the run (``scanner.run``), the circle on the sky that holds every row
    (``scanner.sky``), the units (VOParquet) and its own checksum (``parquet_files``). The bytes depend on the rows and
    the receipt alone, not on the size of the batches. At most one row group (65,536 rows, 100 MB at 384 dimensions) is
    held in memory.
    """

    def __init__(self, path: Path, tile: str, schema: pa.Schema, receipt: Mapping[str, Any]) -> None:
        self._path, self._tile, self._schema, self._receipt = path, tile, schema, dict(receipt)
        self._pending: list[pa.RecordBatch] = []
        self._positions: list[geometry.Floats] = []
        self._exit = contextlib.ExitStack()
        self.rows = 0

    def __enter__(self) -> TileWriter:
        with contextlib.ExitStack() as entered:
            self._temporary = entered.enter_context(replacing(self._path, clear=False))
            # After a failed write pyarrow keeps a sink that it opened, and with it the disk space. This one is closed.
            sink = entered.enter_context(pa.OSFile(os.fsencode(self._temporary), "wb"))
            self._file = parquet_writer(sink, self._schema, widths(self._schema, len(self._tile)))
            # From here on ``__exit__`` closes both. An error above this line closes what is open.
            self._exit = entered.pop_all()
        return self

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Append rows: every schema column as an array [N], ``embedding`` as [N, D] float32.

        ``tile`` and ``_healpix_29`` are filled in where they are not given.

        Raises:
            ValueError: A column is missing, unknown or of another length.
        """
        batch = self._batch(columns)
        self._positions.append(np.stack([_floats(batch, "ra"), _floats(batch, "dec")]))
        # A row group without rows has no statistics to read back.
        if batch.num_rows:
            self._pending.append(batch)
        self.rows += batch.num_rows
        # Row groups of a fixed size make the bytes independent of the batches.
        while sum(len(pending) for pending in self._pending) >= ROW_GROUP:
            self._flush(ROW_GROUP)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            with output_errors(self._path):
                self._finish(keep=error is None)
        except BaseException as failure:
            # An error of the last write, such as a full disk, must remove the temporary as well.
            self._exit.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return bool(self._exit.__exit__(kind, error, trace))

    def _finish(self, keep: bool) -> None:
        if not keep:
            # The temporary is removed anyway, so an error on closing it does not matter.
            with contextlib.suppress(OSError):
                self._file.close()
            return
        if self._pending:
            self._flush(ROW_GROUP)
        self._file.add_key_value_metadata({**self._footer(), parquet_files.CRC_KEY: parquet_files.UNSET})
        self._file.close()
        parquet_files.seal(self._temporary)

    def _footer(self) -> dict[str, str]:
        # Positions [2, N]; the empty part serves a tile without rows.
        ra, dec = np.concatenate([np.zeros((2, 0)), *self._positions], axis=1)
        circle = geometry.bounding_circle(ra, dec)
        facts = {RUN_KEY: self._receipt, SKY_KEY: asdict(circle) if circle else None}
        return {key: json.dumps(value, sort_keys=True) for key, value in facts.items()}

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending, self._schema)
        head, rest = table.slice(0, rows), table.slice(rows)
        with output_errors(self._path):
            self._file.write_table(head.combine_chunks(), row_group_size=ROW_GROUP)
        self._pending = rest.to_batches()

    def _batch(self, columns: Mapping[str, NDArray[Any]]) -> pa.RecordBatch:
        given = dict(columns)
        count = len(given["ra"]) if "ra" in given else 0
        given.setdefault("tile", np.full(count, self._tile))
        if "_healpix_29" not in given and "ra" in given and "dec" in given:
            given["_healpix_29"] = healpix29(np.asarray(given["ra"]), np.asarray(given["dec"]))
        if wrong := set(given) ^ set(self._schema.names):
            raise ValueError(f"columns that are missing or unknown: {', '.join(sorted(wrong))}")
        arrays = [_array(given[field.name], field) for field in self._schema]
        if lengths := {field.name: len(a) for field, a in zip(self._schema, arrays, strict=True) if len(a) != count}:
            raise ValueError(f"columns of another length than ra ({count}): {lengths}")
        return pa.record_batch(arrays, schema=self._schema)


def _array(values: NDArray[Any], field: pa.Field) -> pa.Array:
    if field.name == EMBEDDING:
        return vectors.to_arrow(vectors.round_mantissa(np.asarray(values, np.float32)), field.type)
    if pa.types.is_string(field.type):
        return pa.array(np.asarray(values, dtype=str), field.type)
    return pa.array(np.ascontiguousarray(values, field.type.to_pandas_dtype()), field.type)


def _floats(batch: pa.RecordBatch, name: str) -> geometry.Floats:
    return np.asarray(batch.column(name).to_numpy(), np.float64)


def widths(schema: pa.Schema, tile: int) -> dict[str, int]:
    """Return the longest value of each string column, where names of tiles have up to ``tile`` characters."""
    # The columns of errors name the bands: ``flux_auto`` and ``flux_radius`` are not of a band.
    bands = [name.removeprefix("fluxerr_") for name in schema.names if name.startswith("fluxerr_")]
    longest, all_of_them = max(map(len, bands), default=1), max(len("".join(bands)), 1)
    return {"tile": tile, "detection_band": longest, "bands_present": all_of_them}


def parquet_writer(sink: pa.NativeFile, schema: pa.Schema, widths: Mapping[str, int]) -> pq.ParquetWriter:
    """Open a Parquet writer that halves the bytes of float32; its statistics let readers skip row groups."""
    plain = [name for name in schema.names if name != EMBEDDING]
    return pq.ParquetWriter(
        sink,
        schema.with_metadata(voparquet.metadata(schema, widths)),
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in plain if pa.types.is_string(schema.field(name).type)],
        # Parquet splits the bytes only of a column without a dictionary. Splitting puts the zero bits of rounded
        # mantissas side by side, where zstd removes them.
        column_encoding={f"{EMBEDDING}.list.element": "BYTE_STREAM_SPLIT"},
        write_statistics=plain,
        write_page_checksum=True,
    )

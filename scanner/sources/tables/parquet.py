"""Parquet tables: those of pandas, pyarrow and astropy, with the units that each writes."""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from scanner.sources.tables.columns import Choice, Column, ColumnTable, check_rows
from scanner.sources.tables.votable import read_fields
from scanner.sources.tables.yaml_header import read_yaml_header

MAX_BYTES = 2**31
"""The most bytes that the columns may take, by the file's own metadata."""

_UNIT_KEYS = (b"unit", b"units", b"Unit", b"UNIT", b"TUNIT")


def read_parquet(file: IO[bytes], choice: Choice) -> ColumnTable:
    """Read the chosen columns of a Parquet table.

    Raises:
        ValueError: It is too large.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.ParquetFile(file, page_checksum_verification=True)
    schema = table.schema_arrow
    check_rows(table.metadata.num_rows)
    chosen = [number for number, name in enumerate(schema.names) if choice(name)]
    units, frame = _described(schema)
    columns = []
    for number in chosen:
        field = schema.field(number)
        unit = units.get(field.name, "")
        for key in _UNIT_KEYS:
            unit = (field.metadata or {}).get(key, unit.encode()).decode("utf-8", "replace")
        if pa.types.is_nested(field.type) or pa.types.is_fixed_size_list(field.type):
            values = np.full(table.metadata.num_rows, np.nan)
            columns.append(Column(field.name, values, unit, frame, f"holds a {field.type} in each row"))
        else:
            columns.append(Column.of_array(field.name, _read_column(table, number), unit, frame))
    return ColumnTable(tuple(columns), tuple(schema.names))


def _read_column(table: Any, number: int) -> Any:
    """A flat column as an array, masked where it is null."""
    import pyarrow as pa

    field, chunks, rows = table.schema_arrow.field(number), [], 0
    for group in range(table.metadata.num_row_groups):
        # Nested columns have several leaves, so the leaf is found by its path.
        leaves = table.metadata.row_group(group)
        size = sum(
            leaf.total_uncompressed_size
            for leaf in map(leaves.column, range(leaves.num_columns))
            if leaf.path_in_schema == field.name
        )
        if size > MAX_BYTES:
            raise ValueError(f"its column {field.name} takes {size} bytes")
    for batch in table.iter_batches(columns=[field.name]):
        rows += len(batch)
        check_rows(rows)
        chunks.append(batch.column(0))
    return _masked(pa.chunked_array(chunks, field.type))


def arrow_column(name: str, column: Any, unit: str = "") -> Column:
    """A column of an Arrow table; nested ones have a ``problem``."""
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_fixed_size_list(column.type):
        return Column(name, np.full(len(column), np.nan), unit, problem=f"holds a {column.type} in each row")
    return Column.of_array(name, _masked(column), unit)


def _masked(column: Any) -> Any:
    """The values of a flat Arrow column, masked where it is null."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    mask = column.is_null().to_numpy()
    if pa.types.is_integer(column.type) and mask.any():
        # An integer beside a null would become a float, and lose digits.
        column = column.fill_null(0)
    return np.ma.masked_array(column.to_numpy(), mask)


def _described(schema: Any) -> tuple[dict[str, str], str]:
    """The units of the columns and the frame of the sky, by the description of the table that is kept in the file.

    Source: VOParquet 1.0 (a VOTable without data).
    """
    metadata = schema.metadata or {}
    if (text := metadata.get(b"table_meta_yaml")) is not None:  # of astropy
        header = read_yaml_header(text.decode("utf-8", "replace"))
        return dict(header.columns), header.frame
    if (text := metadata.get(b"IVOA.VOTable-Parquet.content")) is not None:
        return read_fields(text.decode("utf-8", "replace"))
    return {}, ""

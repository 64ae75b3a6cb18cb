"""Rows out of tile files: filters pushed down into the Parquet read, embeddings read only where rows are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.fs import LocalFileSystem

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import Circle
from catalogs.sky.overlaps import Owners
from catalogs.store import vectors, voparquet
from catalogs.store.footers import damaged
from catalogs.store.row_filter import Where
from catalogs.store.schema import EMBEDDING, IS_PRIMARY
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

ROW = "_row"


@dataclass(frozen=True)
class Selection:
    """Which rows: a column filter, a region of the sky, both or neither."""

    where: Where | None = None
    near: Circle | None = None

    @property
    def everything(self) -> bool:
        return self.where is None and self.near is None

    def columns(self) -> list[str]:
        """Columns that deciding takes."""
        return [*(self.where.columns if self.where else ()), *(("ra", "dec") if self.near else ())]

    def pushed_down(self) -> pc.Expression | None:
        """The part that row-group statistics can answer. Of a region only ``dec``: RA wraps, and fails at a pole."""
        parts = [self.where.prunable] if self.where and self.where.prunable is not None else []
        if self.near:
            reach = self.near.radius + 1e-9  # rounding must not cut the rim
            low, high = self.near.dec - reach, self.near.dec + reach
            parts.append((pc.field("dec") >= low) & (pc.field("dec") <= high))
        return parts[0] & parts[1] if len(parts) == 2 else (parts[0] if parts else None)


EVERYTHING = Selection()


def groups(
    path: Path, columns: Sequence[str], selection: Selection = EVERYTHING, owners: Owners | None = None
) -> Iterator[pa.Table]:
    """Selected rows of a tile file, a table for each row group that has any; ``_row`` is the row's number in the file.

    With ``owners``, ``is_primary`` says which rows count given the tiles that are there (``catalogs.sky.overlaps``),
    without them what the file says. ``ScannerError`` ``tile.damaged`` where the file cannot be read.
    """
    for table, embedding, here in _groups(path, columns, selection, owners):
        if embedding is not None:
            whole = embedding if table.num_rows == embedding.num_rows else embedding.take(pa.array(here))
            table = table.append_column(whole.schema.field(0), whole.column(0))
        yield table.select([*columns, ROW])


def beside_vectors(
    path: Path, columns: Sequence[str], selection: Selection = EVERYTHING, owners: Owners | None = None
) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]:
    """As ``groups``, without the embedding, but with all vectors [N, D] of the row group, and which the rows are.

    Nothing is copied: most rows of a catalogue are selected, and copying those costs more than scoring all.
    """
    for table, embedding, here in _groups(path, [*columns, EMBEDDING], selection, owners):
        assert embedding is not None
        yield table.select([*columns, ROW]), vectors.from_arrow(embedding.column(0)), here


def _groups(
    path: Path, columns: Sequence[str], selection: Selection, owners: Owners | None
) -> Iterator[tuple[pa.Table, pa.Table | None, NDArray[np.int64]]]:
    """Of each row group that has any: the selected rows without embedding, all embeddings, and which those rows are."""
    light = list(dict.fromkeys([*(name for name in columns if name != EMBEDDING), *selection.columns()]))
    if owners and IS_PRIMARY in light:
        light = list(dict.fromkeys([*light, "ra", "dec"]))
    try:
        with pq.ParquetFile(path) as file:
            starts = np.cumsum([0] + [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
            for group in _row_groups(path, file.num_row_groups, selection):
                table = _resolved(file.read_row_group(group, columns=light), path.stem, owners)
                table = _selected(table, int(starts[group]), selection)
                if table.num_rows:
                    embedding = file.read_row_group(group, columns=[EMBEDDING]) if EMBEDDING in columns else None
                    yield table, embedding, table.column(ROW).to_numpy() - starts[group]
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def take(path: Path, columns: Sequence[str], rows: NDArray[np.int64], owners: Owners | None = None) -> pa.Table:
    """These rows of a tile file (numbers in the file), in the order given."""
    order = np.argsort(rows, kind="stable")
    found: list[pa.Table] = []
    for table in groups(path, columns, owners=owners):
        numbers = table.column(ROW).to_numpy()
        wanted = rows[order]
        here = wanted[(wanted >= numbers[0]) & (wanted <= numbers[-1])]
        if len(here):
            found.append(table.take(here - numbers[0]).combine_chunks())
    if sum(table.num_rows for table in found) < len(rows):
        raise damaged(path, ValueError("it has fewer rows than it had when they were found"))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.concat_tables(found).take(back).select(list(columns))


def to_astropy(table: pa.Table) -> Table:
    """An astropy table: units, descriptions and UCDs (``meta["ucd"]``) from the schema, embeddings as [N, D]."""
    from astropy.table import Column, Table

    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        known = voparquet.facts(field)
        meta = {"ucd": known["ucd"]} if "ucd" in known else {}
        described = {"unit": known.get("unit"), "description": known.get("description"), "meta": meta}
        columns.append(Column(_numpy(field, column), name=field.name, **described))
    return Table(columns)


def checked_columns(columns: Sequence[str] | None, schema: pa.Schema) -> list[str]:
    """The columns asked for, all but the embedding by default; ``ScannerError`` ``column.unknown`` lists them."""
    if columns is None:
        return [name for name in schema.names if name != EMBEDDING]
    if unknown := [name for name in columns if name not in schema.names]:
        message = f"The catalogue has no column {', '.join(unknown)}."
        raise ScannerError(ErrorCode.COLUMN_UNKNOWN, message, f"The columns are {', '.join(schema.names)}.")
    return list(dict.fromkeys(columns))


def _row_groups(path: Path, count: int, selection: Selection) -> list[int]:
    pushed_down = selection.pushed_down()
    if pushed_down is None:
        return list(range(count))
    fragment = ds.ParquetFileFormat().make_fragment(str(path), LocalFileSystem())
    return [group.id for group in fragment.subset(filter=pushed_down).row_groups]


def _resolved(table: pa.Table, tile: str, owners: Owners | None) -> pa.Table:
    if owners is None or IS_PRIMARY not in table.column_names:
        return table
    ra, dec, own = (table.column(name).to_numpy() for name in ("ra", "dec", IS_PRIMARY))
    place = table.schema.get_field_index(IS_PRIMARY)
    return table.set_column(place, table.schema.field(place), pa.array(owners.primary(tile, ra, dec, own)))


def _selected(table: pa.Table, start: int, selection: Selection) -> pa.Table:
    numbers = pa.array(np.arange(start, start + table.num_rows, dtype=np.int64))
    table = table.append_column(ROW, numbers)
    if selection.where:
        table = table.filter(selection.where.expression)
    if selection.near:
        inside = selection.near.contains(table.column("ra").to_numpy(), table.column("dec").to_numpy())
        table = table.filter(pa.array(inside))
    return table


def _numpy(field: pa.Field, column: Any) -> NDArray[Any]:
    if pa.types.is_fixed_size_list(field.type):
        return vectors.from_arrow(column)
    values: NDArray[Any] = column.to_numpy()
    return values.astype(str) if pa.types.is_string(field.type) else values

"""The reader of a tile: filters are pushed down into Parquet, embeddings are read only where rows are left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs import parquet_files
from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import Circle
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store import column_ranges, tile_checks, vectors, voparquet
from catalogs.store.column_ranges import Condition, Ranges
from catalogs.store.row_filter import RowFilter
from catalogs.store.schema import EMBEDDING, IS_PRIMARY
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

ROW = "_row"


@dataclass(frozen=True)
class Selection:
    """A choice of rows: by a filter of columns, a region of the sky, both or neither."""

    row_filter: RowFilter | None = None
    near: Circle | None = None

    @property
    def everything(self) -> bool:
        return self.row_filter is None and self.near is None

    def columns(self) -> list[str]:
        """List the columns that the choice depends on."""
        return [*(self.row_filter.columns if self.row_filter else ()), *(("ra", "dec") if self.near else ())]

    def possible(self) -> Condition | None:
        """Return the part that ranges of columns can answer: of a region only ``dec``, because RA wraps."""
        conditions = [self.row_filter.possible] if self.row_filter else []
        if self.near:
            # Rounding must not cut the rim.
            reach = self.near.radius + 1e-9
            conditions += [
                column_ranges.compare("dec", ">=", self.near.dec - reach),
                column_ranges.compare("dec", "<=", self.near.dec + reach),
            ]
        return column_ranges.both(conditions)


EVERYTHING = Selection()


class TileFile:
    """An open tile file. Rows are read a row group at a time, and the columns that decide about them first.

    ``schema`` is that of its catalogue. Every page that is read is compared with its checksum. ``has_checksums`` is
    False for a file of an earlier version.

    Raises:
        ScannerError: ``tile.damaged``.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path, schema
        self._reopened = False
        self._open()

    def _open(self) -> None:
        with _damage_reported(self.path):
            self._identity = _identity(self.path)
            self._source = parquet_files.open_file(self.path)
            try:
                metadata, self.has_checksums = parquet_files.read_footer(self._source)
                self._parquet = pq.ParquetFile(self._source, metadata=metadata, page_checksum_verification=True)
                tile_checks.check_schema(self._parquet.schema_arrow, self._schema)
            except BaseException:
                self._source.close()
                raise
        self._sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *self._sizes])

    def _reopen(self) -> bool:
        """Open the file at the path once more, at the first error: a network disk may drop a file that was idle."""
        if self._reopened:
            return False
        self._reopened = True
        self.close()
        self._open()
        return True

    def __enter__(self) -> TileFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    @property
    def current(self) -> bool:
        """Whether its path still leads to this file: tiles are replaced, never edited."""
        try:
            return _identity(self.path) == self._identity
        except OSError:
            return False

    def groups(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[pa.Table]:
        """Yield the selected rows, a table for each row group that has any; ``_row`` is the row's number in the file.

        With ``owners``, ``is_primary`` says which rows count given the tiles that are there
        (``catalogs.sky.overlaps``); without them it is what the file says.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        # Embeddings are most of the bytes, so they are read last, and only where rows are left.
        light = [name for name in columns if name != EMBEDDING]
        for group, table, here in self._select(light, selection, owners):
            if EMBEDDING in columns:
                chosen = self._embeddings(group, here)
                table = table.append_column(chosen.schema.field(0), chosen.column(0))
            yield table.select([*columns, ROW])

    def groups_beside_vectors(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]:
        """Yield ``groups`` without the embedding, all vectors [N, D] of the row group, and which of them the rows are.

        Nothing is copied: most rows of a catalogue are selected, and to copy those costs more than to score all.
        """
        for group, table, here in self._select(columns, selection, owners):
            yield table.select([*columns, ROW]), vectors.from_arrow(self._read(group, [EMBEDDING]).column(0)), here

    def take(self, columns: Sequence[str], rows: NDArray[np.int64], owners: OverlapOwners | None = None) -> pa.Table:
        """Read these rows (numbers in the file), in the order given; only row groups that hold some are decoded.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        try:
            return self._take(columns, rows, owners)
        except ScannerError:
            if not self._reopen():
                raise
            return self._take(columns, rows, owners)

    def _take(self, columns: Sequence[str], rows: NDArray[np.int64], owners: OverlapOwners | None) -> pa.Table:
        # Row groups are read in their order, so the answer comes sorted. ``back`` restores the order given.
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        if len(wanted) and wanted[-1] >= self._starts[-1]:
            raise tile_checks.damaged(self.path, ValueError("it has fewer rows than its footer said"))
        parts = []
        for group, (first, end) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            here = wanted[(wanted >= first) & (wanted < end)]
            if len(here):
                light = [name for name in columns if name != EMBEDDING]
                read = [self._read_resolved(group, light, owners).take(here - first).combine_chunks()] if light else []
                if EMBEDDING in columns:
                    read.append(self._embeddings(group, here - first))
                fields = [field for table in read for field in table.schema]
                arrays = [column for table in read for column in table.columns]
                parts.append(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_tables(parts).take(back).select(list(columns))

    def verify(self) -> None:
        """Read every page.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        for group in range(self._parquet.num_row_groups):
            self._read(group, self._schema.names)

    def row_groups(self, selection: Selection) -> list[int]:
        """List the row groups that may hold selected rows, by their statistics."""
        possible = selection.possible()
        if possible is None:
            return list(range(self._parquet.num_row_groups))
        with _damage_reported(self.path):
            ranges = Ranges.of_footer(self._parquet.metadata, selection.columns())
        return np.flatnonzero(possible.may_hold(ranges)).tolist()

    def _select(
        self, columns: Sequence[str], selection: Selection, owners: OverlapOwners | None
    ) -> Iterator[tuple[int, pa.Table, NDArray[np.int64]]]:
        """Yield each row group that has selected rows: its number, those rows, and which of the group's they are."""
        names = list(dict.fromkeys([*columns, *selection.columns()]))
        for number, group in enumerate(self.row_groups(selection)):
            try:
                table = self._read_resolved(group, names, owners)
            except ScannerError:
                # Once rows were yielded, those of another file could not follow them.
                if number or not self._reopen():
                    raise
                yield from self._select(columns, selection, owners)
                return
            here = np.arange(table.num_rows, dtype=np.int64)
            # Rows are numbered before any is dropped, so that the numbers are those in the file.
            table = table.append_column(ROW, pa.array(here + self._starts[group]))
            if selection.row_filter:
                table = selection.row_filter.apply(table)
            if selection.near:
                inside = selection.near.contains(table.column("ra").to_numpy(), table.column("dec").to_numpy())
                table = table.filter(pa.array(inside))
            if table.num_rows:
                yield group, table, table.column(ROW).to_numpy() - self._starts[group]

    def _read_resolved(self, group: int, columns: Sequence[str], owners: OverlapOwners | None) -> pa.Table:
        """Read columns of a row group, with ``is_primary`` resolved among the tiles that are there."""
        if owners is None or IS_PRIMARY not in columns:
            return self._read(group, columns)
        table = self._read(group, list(dict.fromkeys([*columns, "ra", "dec"])))
        ra, dec, own = (table.column(name).to_numpy() for name in ("ra", "dec", IS_PRIMARY))
        place = table.schema.get_field_index(IS_PRIMARY)
        primary = pa.array(owners.primary(self.path.stem, ra, dec, own))
        return table.set_column(place, table.schema.field(place), primary)

    def _embeddings(self, group: int, here: NDArray[np.int64]) -> pa.Table:
        """Read the embeddings of rows of a row group, by their numbers in it."""
        embedding = self._read(group, [EMBEDDING])
        return embedding if len(here) == embedding.num_rows else embedding.take(pa.array(here)).combine_chunks()

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        with _damage_reported(self.path):
            table = self._parquet.read_row_group(group, columns=list(columns))
            if table.num_rows != self._sizes[group]:
                raise ValueError(f"its row group {group} has {table.num_rows} rows, not {self._sizes[group]}")
            return table


def _identity(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        raise tile_checks.damaged(path, error) from error


def to_astropy(table: pa.Table) -> Table:
    """Convert to an astropy table, with the units, descriptions and UCDs (``meta["ucd"]``) of the schema."""
    from astropy.table import Column, Table

    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        facts = voparquet.facts(field)
        values = vectors.from_arrow(column) if pa.types.is_fixed_size_list(field.type) else column.to_numpy()
        columns.append(
            Column(
                values.astype(str) if pa.types.is_string(field.type) else values,
                name=field.name,
                unit=facts.get("unit"),
                description=facts.get("description"),
                meta={"ucd": facts["ucd"]} if "ucd" in facts else {},
            )
        )
    return Table(columns)


def check_columns(columns: Sequence[str] | None, schema: pa.Schema) -> list[str]:
    """Check the names of columns; the default is all but the embedding.

    Raises:
        ScannerError: ``column.unknown``, with the names of all columns.
    """
    if columns is None:
        return [name for name in schema.names if name != EMBEDDING]
    if unknown := [name for name in columns if name not in schema.names]:
        message = f"The catalogue has no column {', '.join(unknown)}."
        raise ScannerError(ErrorCode.COLUMN_UNKNOWN, message, f"The columns are {', '.join(schema.names)}.")
    return list(dict.fromkeys(columns))

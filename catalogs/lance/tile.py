"""The rows of one tile in a Lance dataset, read as ``TileFile`` reads those of its file."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import library
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import EVERYTHING, ROW, Selection
from catalogs.store.vectors import Vectors, from_arrow

GROUP = 65_536
"""Most rows that are in memory at a time."""


class Rows(Protocol):
    """What a tile reads from: a ``LanceStore``."""

    uri: str
    schema: pa.Schema

    def read(self, columns: Sequence[str], start: int, count: int) -> pa.Table: ...

    def take(self, columns: Sequence[str], numbers: NDArray[np.int64]) -> pa.Table: ...


class LanceTile:
    """Rows ``start`` to ``start + count`` of a dataset."""

    has_checksums = True

    def __init__(self, store: Rows, name: str, start: int, count: int, crc: int) -> None:
        self._store, self._name, self._start, self._count, self._crc = store, name, start, count, crc

    @property
    def current(self) -> bool:
        """Whether it is still the tile of the dataset: always, since a dataset does not change."""
        return True

    def __enter__(self) -> LanceTile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the files are those of the dataset."""

    def groups(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[pa.Table]:
        """Yield the selected rows, at most ``GROUP`` at a time; ``_row`` is the row's number in the tile.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        light = [name for name in columns if name != EMBEDDING]
        for first, table, here in self._select(light, selection):
            if EMBEDDING in columns:
                embedding = self._read([EMBEDDING], first, min(GROUP, self._count - first)).take(pa.array(here))
                table = table.append_column(embedding.schema.field(0), embedding.column(0))
            yield table.select([*columns, ROW])

    def groups_beside_vectors(
        self, columns: Sequence[str], selection: Selection = EVERYTHING, owners: OverlapOwners | None = None
    ) -> Iterator[tuple[pa.Table, Vectors, NDArray[np.int64]]]:
        """Yield ``groups`` without the embedding, all vectors [N, D] of the group, and which of them the rows are."""
        for first, table, here in self._select(columns, selection):
            embedding = self._read([EMBEDDING], first, min(GROUP, self._count - first))
            yield table.select([*columns, ROW]), from_arrow(embedding.column(0)), here

    def take(self, columns: Sequence[str], rows: NDArray[np.int64], owners: OverlapOwners | None = None) -> pa.Table:
        """Read these rows (numbers in the tile), in the order given.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        with self._damage_reported():
            return self._store.take(columns, np.asarray(rows, np.int64) + self._start)

    def verify(self) -> None:
        """Read every value, and compare their checksum.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        crc = 0
        for first in range(0, self._count, GROUP):
            names = self._store.schema.names
            crc = checksum(self._read(names, first, min(GROUP, self._count - first)), crc)
        if crc != self._crc:
            with self._damage_reported():
                raise ValueError("its values are not those that were written")

    def _select(
        self, columns: Sequence[str], selection: Selection
    ) -> Iterator[tuple[int, pa.Table, NDArray[np.int64]]]:
        """Yield each group that has selected rows: its first row, those rows, and which of the group's they are."""
        names = list(dict.fromkeys([*columns, *selection.columns()])) or [self._store.schema.names[0]]
        for first in range(0, self._count, GROUP):
            table = self._read(names, first, min(GROUP, self._count - first))
            here = np.arange(table.num_rows, dtype=np.int64)
            table = table.append_column(ROW, pa.array(here + first))
            if selection.row_filter:
                table = selection.row_filter.apply(table)
            if selection.near:
                inside = selection.near.contains(table.column("ra").to_numpy(), table.column("dec").to_numpy())
                table = table.filter(pa.array(inside))
            if table.num_rows:
                yield first, table, table.column(ROW).to_numpy() - first

    def _read(self, columns: Sequence[str], first: int, count: int) -> pa.Table:
        with self._damage_reported():
            table = self._store.read(columns, self._start + first, count)
            if table.num_rows != count:
                raise ValueError(f"it has {table.num_rows} rows from row {first} on, not {count}")
            return table

    @contextlib.contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            with library.reading(self._store.uri):
                yield
        except ScannerError as error:
            # A store that denies access or does not answer: no tile would be read, and none is damaged.
            if error.code in (ErrorCode.REMOTE_DENIED, ErrorCode.REMOTE_BROKEN):
                raise
            message = f"Tile {self._name}: {error.message}"
            raise ScannerError(ErrorCode.TILE_DAMAGED, message, error.hint) from error


def checksum(table: pa.Table, crc: int = 0) -> int:
    """Compute the CRC-32 of the values, column by column; ``crc`` is that of the rows before."""
    for name in table.column_names:
        column = table.column(name)
        if name == EMBEDDING:
            values = from_arrow(column).tobytes()
        elif pa.types.is_string(column.type):
            values = "\0".join(column.to_pylist()).encode()
        else:
            values = column.to_numpy().tobytes()
        crc = zlib.crc32(values, crc)
    return crc

"""A Lance dataset as a catalogue: tiles to read, and an index of its own that proposes rows."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import OBJECTS, PREFIX, TILES, library
from catalogs.lance.proposals import Proposer, SearchSettings
from catalogs.lance.tile import LanceTile
from catalogs.records import load_json, read_record
from catalogs.sky.geometry import Circle
from catalogs.store.backend import Proposals, Snapshot
from catalogs.store.footers import Footer
from catalogs.store.provenance import Info
from catalogs.store.schema import EMBEDDING, catalogue_schema
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

VERSION = 1
CATALOGUE_KEY, EXPORT_KEY = b"scanner.catalogue", b"scanner.export"
TILE_SCHEMA = pa.schema(
    [
        pa.field("tile", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("start", "rows", "first_id", "last_id", "crc")),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("ra", "dec", "radius")),
    ]
)
"""Columns of ``tiles.lance``: the first row of a tile in ``objects.lance``, a CRC-32 of its values, and its circle."""


@dataclass(frozen=True)
class ExportRecord:
    """What an export records in the metadata of both tables.

    ``digest`` is of all that it was made from. ``search`` is None where there are too few rows for an index.
    """

    version: int
    digest: str
    rows: int
    search: SearchSettings | None = None


class LanceStore:
    """A dataset that ``scanner export lance`` wrote. It never changes, so it is read once, when it is opened."""

    exact_numbers: float = math.inf

    def __init__(self, uri: str, info: Info, record: ExportRecord, objects: Any, tiles: pa.Table) -> None:
        self.uri, self.info, self.record, self.objects = uri, info, record, objects
        whole = catalogue_schema(info.bands, info.dim, info.scores)
        names = set(objects.schema.names)
        self.schema: pa.Schema = pa.schema([field for field in whole if field.name in names])
        self.starts: NDArray[np.int64] = tiles.column("start").to_numpy()
        self.names: list[str] = tiles.column("tile").to_pylist()
        self.checksums: list[int] = tiles.column("crc").to_pylist()
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._footers = [_footer(row, record.digest) for row in tiles.to_pylist()]
        fragments = objects.get_fragments()
        self.fragments: list[int] = [fragment.fragment_id for fragment in fragments]
        # First row of each fragment, and the end of the last.
        self.fragment_starts = np.cumsum([0, *(fragment.count_rows() for fragment in fragments)])

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open a dataset: a folder, or an address of an object store, with or without ``lance:`` before it.

        Raises:
            ScannerError: ``lance.not_installed``, ``catalogue.missing``, ``catalogue.damaged``,
                ``catalogue.newer_version``, ``remote.denied``, ``remote.broken``.
        """
        uri = uri.removeprefix(PREFIX).rstrip("/")
        lance = library.load()
        with library.opening(uri):
            listed = lance.dataset(f"{uri}/{TILES}")
        info, record = _read_metadata(uri, listed.schema.metadata)
        with library.reading(uri):
            tiles = listed.to_table().select(TILE_SCHEMA.names).cast(TILE_SCHEMA)
        try:
            with library.opening(uri):
                objects = lance.dataset(f"{uri}/{OBJECTS}")
        except ScannerError as error:
            if error.code != ErrorCode.CATALOGUE_MISSING:
                raise
            # The list of tiles is written last, so the rows were there.
            raise library.damaged(uri, f"{OBJECTS} is missing") from error
        _check(uri, (info, record), objects, tiles)
        with library.reading(uri):
            return cls(uri, info, record, objects, tiles)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.info.survey}, model {self.info.model}>"

    @property
    def path(self) -> str:
        """What a command takes for it."""
        return f"{PREFIX}{self.uri}"

    def snapshot(self) -> Snapshot:
        """List the tiles. Each place is in one tile only, so no row is left out for another."""
        return Snapshot(self, sorted(self._footers, key=lambda footer: footer.tile), None)

    def tiles(self) -> list[str]:
        """List the names of the tiles, sorted."""
        return sorted(self.names)

    def open_tile(self, tile: str) -> LanceTile:
        """Open the rows of a tile."""
        number = self._numbers[tile]
        return LanceTile(self, tile, int(self.starts[number]), self._footers[number].rows, self.checksums[number])

    def unchanged(self, footer: Footer) -> bool:
        """Whether a tile is still the one that was listed: always, since a dataset does not change."""
        return True

    def records(self, snapshot: Snapshot, footer: Footer, columns: Sequence[str]) -> None:
        """Keep nothing in memory: rows are taken from the dataset."""

    def propose(self, directions: Vectors, selection: Selection, count: int) -> Proposals | None:
        """Find rows that may be the ``count`` best of the selection; None where the dataset has no index.

        Raises:
            ScannerError: ``catalogue.damaged``, ``remote.denied``, ``remote.broken``.
        """
        with library.reading(self.uri):
            return self._proposer.propose(directions, selection, count) if self._proposer else None

    @cached_property
    def _proposer(self) -> Proposer | None:
        return Proposer(self, self.record.search) if self.record.search else None

    def with_settings(self, search: SearchSettings | None) -> LanceStore:
        """The same dataset, searched with other settings."""
        other = LanceStore.__new__(LanceStore)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name != "_proposer"})
        other.record = ExportRecord(self.record.version, self.record.digest, self.record.rows, search)
        return other

    def read(self, columns: Sequence[str], start: int, count: int) -> pa.Table:
        """Read rows that lie in one fragment, in the types of the schema.

        Raises:
            ScannerError: ``column.unknown``, for one that the export left out.
        """
        self._check_columns(columns)
        here = int(np.searchsorted(self.fragment_starts, start, side="right")) - 1
        fragment = self.objects.get_fragment(self.fragments[here])
        offset = start - int(self.fragment_starts[here])
        return self.typed(fragment.to_table(columns=list(columns), offset=offset, limit=count), columns)

    def take(self, columns: Sequence[str], numbers: NDArray[np.int64]) -> pa.Table:
        """Read rows by their numbers in the dataset, in the order given; raises as ``read`` does."""
        self._check_columns(columns)
        order = np.argsort(numbers, kind="stable")
        table = self.objects.take(numbers[order].tolist(), columns=list(columns))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self.typed(table.take(back), columns)

    def _check_columns(self, columns: Sequence[str]) -> None:
        if absent := [name for name in columns if name not in self.schema.names]:
            message = f"The Lance dataset {self.uri} has no column {', '.join(absent)}, which is needed here."
            raise ScannerError(ErrorCode.COLUMN_UNKNOWN, message, "Export it with more --columns, or with all.")

    def typed(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Bring columns into the types of the schema: vectors may be stored in half precision."""
        arrays = []
        for name in columns:
            column, field = table.column(name).combine_chunks(), self.schema.field(name)
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
            if name == EMBEDDING:
                values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
                column = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), type=field.type)
            arrays.append(column.cast(field.type))
        return pa.table(arrays, schema=pa.schema([self.schema.field(name) for name in columns]))

    def start_of(self, tile: str) -> int:
        """Return the number of a tile's first row in the dataset."""
        return int(self.starts[self._numbers[tile]])

    def places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tile of each row of the dataset, as its number in ``names``, and the row in it."""
        tile = np.searchsorted(self.starts, numbers, side="right") - 1
        return tile, numbers - self.starts[tile]


def _read_metadata(uri: str, metadata: dict[bytes, bytes] | None) -> tuple[Info, ExportRecord]:
    try:
        facts = metadata or {}
        values = load_json(facts[EXPORT_KEY])
        # The version is read first: all other keys may be others in a later one.
        if int(values["version"]) > VERSION:
            raise library.newer(uri, f"written in version {values['version']} of the export, and {VERSION} is known")
        return read_record(load_json(facts[CATALOGUE_KEY]), Info), read_record(values, ExportRecord)
    except (KeyError, ValueError, TypeError) as error:
        raise library.damaged(uri, f"its metadata are not those of an export ({error})") from error


def _check(uri: str, expected: tuple[Info, ExportRecord], objects: Any, tiles: pa.Table) -> None:
    """Refuse a dataset that is not whole, or whose two tables are of different exports.

    Raises:
        ScannerError: ``catalogue.damaged``, ``catalogue.other_model``, ``catalogue.newer_version``.
    """
    info, record = expected
    other_info, other = _read_metadata(uri, objects.schema.metadata)
    if other_info.model_sha256 != info.model_sha256:
        message = f"The tables of {uri} were made with two models, {info.model} and {other_info.model}."
        raise ScannerError(ErrorCode.CATALOGUE_OTHER_MODEL, message, "Copy it again, or export it again.")
    stored = objects.schema.field(EMBEDDING).type if EMBEDDING in objects.schema.names else None
    if other.digest != record.digest:
        raise library.damaged(uri, "its tables are of two exports")
    if stored is None or stored.list_size != info.dim:
        raise library.damaged(uri, f"it has no embeddings of {info.dim} numbers")
    rows = tiles.column("rows").to_numpy()
    starts = np.cumsum(rows) - rows
    if not np.array_equal(starts, tiles.column("start").to_numpy()) or rows.sum() != record.rows:
        raise library.damaged(uri, "its list of tiles has gaps")
    missing = missing_files(uri, objects)
    if missing:
        raise library.damaged(uri, f"{len(missing)} of its files are missing or cut short, {missing[0]} first")
    with library.reading(uri):
        counted = objects.count_rows()
        # The version of its files shows when one is read.
        objects.take([0], columns=["object_id"])
    if counted != record.rows:
        raise library.damaged(uri, f"it has {counted:,} rows, not {record.rows:,}")


def missing_files(uri: str, objects: Any) -> list[str]:
    """List the files of the rows that a folder lacks, or holds in part; an object store is not asked for each."""
    if "://" in uri:
        return []
    missing = []
    for fragment in objects.get_fragments():
        for file in fragment.metadata.files:
            path, size = Path(uri, OBJECTS, "data", file.path), file.file_size_bytes
            with contextlib.suppress(OSError):
                if size is None or path.stat().st_size == size:
                    continue
            missing.append(str(path))
    return missing


def metadata_of(info: Info, record: ExportRecord) -> dict[bytes, bytes]:
    """Make the metadata of a schema."""
    facts = {CATALOGUE_KEY: asdict(info), EXPORT_KEY: asdict(record)}
    return {key: json.dumps(value, sort_keys=True).encode() for key, value in facts.items()}


def _footer(row: dict[str, Any], digest: str) -> Footer:
    return Footer(
        tile=row["tile"],
        size=0,
        mtime_ns=0,
        rows=row["rows"],
        digest=digest,
        first_id=row["first_id"],
        last_id=row["last_id"],
        circle=Circle(row["ra"], row["dec"], row["radius"]),
    )

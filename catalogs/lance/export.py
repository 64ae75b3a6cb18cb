"""Exporting a catalogue as a Lance dataset: rows, indexes, settings of the search, the list of tiles, and a rename.

All is written beside the target, into ``.<name>.partial``, and once: rows go into large files that are never merged or
changed. The same command resumes an interrupted run there, as long as catalogue and options are the same: files of rows
and indexes that are complete are kept. Memory is that of a tile, and of what Lance takes for an index.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.atomic import check_name, locked, output_errors, remove_stale, sync_all, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import OBJECTS, TARGET_RECALL, TILES, library, tuning
from catalogs.lance.dataset import TILE_SCHEMA, VERSION, ExportRecord, LanceStore, metadata_of
from catalogs.lance.proposals import SearchSettings
from catalogs.lance.tile import GROUP, checksum
from catalogs.records import load_json
from catalogs.sky.geometry import bounding_circle
from catalogs.store import rows, vectors
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING, HEALPIX, IS_PRIMARY, healpix29
from catalogs.store.scores import PREFIX
from catalogs.store.tile_reader import ROW, check_columns
from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
FILE_ROWS = 1 << 20
"""Rows from which a file is full; the next tile begins another one."""
MOST_ROWS = 1 << 30
"""More than a file ever has; Lance takes numbers from 2**32 on for none."""
FEWEST_INDEXED = 20_000
"""Rows below which a comparison with all is as fast as an index."""
STORAGE = "2.1"
"""Version of Lance's files: one that its releases since 2025 read."""
NEEDED = (
    "object_id", "tile", "ra", "dec", HEALPIX, IS_PRIMARY, EMBEDDING,
    "mag_auto", "snr", "flags", "bands_present", "valid_fraction",
)  # fmt: skip
"""Columns that commands and the page take for granted."""
VECTOR_INDEX = "embedding_idx"
_PLAN, _PARTS, _REPORT = "plan.json", "parts", "report.json"
_DATASET = "dataset"


@dataclass(frozen=True)
class LanceOptions:
    """What to export: primary rows that pass ``where``, with these ``columns`` besides those of ``NEEDED`` (None: all).

    ``float16`` stores vectors in half the bytes. ``target`` is the recall@10 for which the search is tuned.
    """

    where: str | None = None
    columns: tuple[str, ...] | None = None
    float16: bool = False
    target: float = TARGET_RECALL


@dataclass(frozen=True)
class LanceReport:
    """What an export wrote: rows, tiles, bytes of the rows and of the indexes, and how the index is asked."""

    path: str
    rows: int
    tiles: int
    data_bytes: int
    index_bytes: int
    search: SearchSettings | None


def export(
    catalogue: TileStore, out: Path, options: LanceOptions | None = None, progress: Progress | None = None
) -> LanceReport:
    """Write ``catalogue`` to the folder ``out`` as a Lance dataset; one that is complete already is kept.

    ``progress`` takes the number of rows that were read so far, and of all.

    Raises:
        ScannerError: ``lance.not_installed``, ``publish.not_empty``, ``publish.nothing``, ``publish.damaged_tile``,
            ``publish.changed``, ``column.unknown``, ``where.*``, ``index.recall``, ``output.*``.
    """
    library.load()
    options = options or LanceOptions()
    with output_errors(out, creating=True):  # the working folder may be gone
        out = out.absolute()
    check_name(out)
    # A second export of the same name waits, and finds the dataset complete.
    with locked(out.with_name(f".{out.name}.lock"), temporary=True), output_errors(out):
        snapshot = catalogue.snapshot()
        # A dataset without a damaged tile would look complete.
        if snapshot.errors:
            raise rows_damaged(snapshot.errors)
        partial = out.with_name(f".{out.name}.partial")
        export_of = _Export(snapshot.touching(), options, partial)
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            return _existing(out, partial, export_of.digest)
        with library.writing(str(out)):
            return export_of.write(out, progress or (lambda done, of: None))


def _existing(out: Path, partial: Path, digest: str) -> LanceReport:
    """Report on a dataset that is complete, if it is of the same catalogue and options."""
    try:
        store = LanceStore.open(str(out))
    except ScannerError:
        store = None
    if store is None or store.record.digest != digest:
        message = f"{out} exists and is not this export."
        hint = "Give another folder, or remove this one: a dataset is never changed."
        raise ScannerError(ErrorCode.PUBLISH_NOT_EMPTY, message, hint)
    # A run that was killed after its rename leaves its notes.
    shutil.rmtree(partial, ignore_errors=True)
    return _report(store)


def _report(store: LanceStore) -> LanceReport:
    folder = Path(store.uri)
    data, indexes = (_count_bytes(folder / OBJECTS / name) for name in ("data", "_indices"))
    search = store.record.search
    return LanceReport(str(folder), store.record.rows, len(store.names), data, indexes, search)


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rows_damaged(errors: Sequence[ScannerError]) -> ScannerError:
    """Make the error of tiles that cannot be read."""
    more = f" And {len(errors) - 1} other tiles." if len(errors) > 1 else ""
    return ScannerError(ErrorCode.PUBLISH_DAMAGED_TILE, f"{errors[0].message}{more}", errors[0].hint)


class _Export:
    """One export, with its files in ``partial``."""

    def __init__(self, snapshot: Snapshot, options: LanceOptions, partial: Path) -> None:
        self._snapshot, self._options, self._partial = snapshot, options, partial
        catalogue = snapshot.catalogue
        schema = catalogue.schema
        names = set(schema.names if options.columns is None else check_columns(options.columns, schema))
        names |= {*NEEDED, *(name for name in schema.names if name.startswith(PREFIX))}
        self._columns = [name for name in schema.names if name in names]
        self._selection = rows.primary(catalogue, options.where)
        tiles = json.dumps([astuple(footer) for footer in snapshot.footers])
        plan = [VERSION, asdict(options), asdict(catalogue.info), tiles]
        if options.columns is not None:
            # What is stored besides those differs between versions, and a file of one is no part of another's dataset.
            plan.append(self._columns)
        self.digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        self._files = _split(_in_sky_order(snapshot.footers))
        fields = [schema.field(name) for name in self._columns]
        if options.float16:
            half = pa.list_(pa.field("element", pa.float16(), nullable=False), catalogue.info.dim)
            fields = [field.with_type(half) if field.name == EMBEDDING else field for field in fields]
        record = ExportRecord(VERSION, self.digest, 0)
        self._stored = pa.schema(fields, metadata=metadata_of(catalogue.info, record))

    @property
    def _uri(self) -> str:
        return str(self._partial / _DATASET / OBJECTS)

    def write(self, out: Path, progress: Progress) -> LanceReport:
        """Do what is not done yet, and rename the dataset."""
        lance = library.load()
        self._resume_or_clear()
        listed: list[dict[str, Any]] = []
        fragments, read = [], 0
        for number, tiles in enumerate(self._files):
            part = self._write_file(number, tiles)
            listed += part["tiles"]
            fragments += [lance.FragmentMetadata.from_json(json.dumps(one)) for one in part["fragments"]]
            read += sum(footer.rows for footer in tiles)
            progress(read, sum(footer.rows for footer in self._snapshot.footers))
        total = sum(tile["rows"] for tile in listed)
        if not total:
            message = f"No primary row of {self._snapshot.catalogue.path} passes the filter: there is nothing to write."
            raise ScannerError(ErrorCode.PUBLISH_NOTHING, message, "Try another --where.")
        objects = self._committed(fragments, total)
        lists = round(math.sqrt(total)) if total >= FEWEST_INDEXED else 0
        self._index(objects, lists)
        self._remove_unused(fragments)
        store = self._list_tiles(listed, total, None)
        if lists:
            search = tuning.tune(store, lists, self._options.target)
            store = self._list_tiles(listed, total, search)
        # Without the sync, the name could lead to empty files after a crash.
        sync_all(self._partial / _DATASET)
        # An empty folder is in the way of the rename; it was checked before that it is empty.
        if out.exists():
            out.rmdir()
        (self._partial / _DATASET).rename(out)
        shutil.rmtree(self._partial)
        return _report(LanceStore.open(str(out)))

    def _resume_or_clear(self) -> None:
        """Keep unfinished work of the same tiles, model and options; remove any other."""
        try:
            same = load_json(self._partial / _PLAN) == self.digest
        except (OSError, ValueError):
            same = False
        if same:
            for folder in (self._partial, self._partial / _PARTS):
                remove_stale(folder)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)
            write_json(self._partial / _PLAN, self.digest)

    def _write_file(self, number: int, tiles: Sequence[Footer]) -> dict[str, Any]:
        """Write the rows of some tiles as one file, unless that is done; returns its record."""
        from lance.fragment import write_fragments

        path = self._partial / _PARTS / f"{number:05d}.json"
        if path.exists():
            done: dict[str, Any] = load_json(path)
            return done
        listed: list[dict[str, Any]] = []
        failed: list[BaseException] = []

        def batches() -> Iterator[pa.RecordBatch]:
            # Lance would turn an error of ours into one of its own.
            try:
                for footer in tiles:
                    table = self._read(footer)
                    if table.num_rows:
                        listed.append(self._describe(footer, table))
                        yield from table.cast(self._stored).to_batches()
            except BaseException as error:
                failed.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(self._stored, batches())
        try:
            written = write_fragments(
                reader, self._uri, schema=self._stored, mode="create", data_storage_version=STORAGE,
                max_rows_per_file=MOST_ROWS, max_bytes_per_file=1 << 50,
            )  # fmt: skip
        except Exception as error:
            raise failed[0] if failed else error from error
        record = {"tiles": listed, "fragments": [one.to_json() for one in written] if listed else []}
        write_json(path, record, clear=False)
        return record

    def _read(self, footer: Footer) -> pa.Table:
        """Read the rows of a tile, in the order of the sky.

        Raises:
            ScannerError: ``publish.damaged_tile``; ``publish.changed`` where a scan has replaced the tile.
        """
        schema = pa.schema([self._snapshot.catalogue.schema.field(name) for name in self._columns])
        try:
            groups = list(rows.read_groups(self._snapshot, footer, self._columns, self._selection))
        except ScannerError as error:
            if error.code != ErrorCode.TILE_DAMAGED:
                raise
            if self._snapshot.unchanged(footer):
                raise rows_damaged([error]) from error
            raise self._changed() from error
        if not self._snapshot.unchanged(footer):
            raise self._changed()
        table = pa.concat_tables([schema.empty_table(), *(group.drop_columns([ROW]).cast(schema) for group in groups)])
        pixels = table.column(HEALPIX).to_numpy()
        return table.take(np.argsort(pixels, kind="stable")).combine_chunks()

    def _changed(self) -> ScannerError:
        message = f"{self._snapshot.catalogue.path} changed while it was being exported."
        hint = "Run the same command again when no scan is writing to it."
        return ScannerError(ErrorCode.PUBLISH_CHANGED, message, hint)

    def _describe(self, footer: Footer, table: pa.Table) -> dict[str, Any]:
        ra, dec, identity = (table.column(name).to_numpy() for name in ("ra", "dec", "object_id"))
        circle = bounding_circle(ra, dec) or footer.circle
        assert circle is not None  # a tile with rows has one
        if self._options.float16:
            half = vectors.from_arrow(table.column(EMBEDDING)).astype(np.float16).astype(np.float32)
            place = table.schema.get_field_index(EMBEDDING)
            field = table.schema.field(place)
            table = table.set_column(place, field, vectors.to_arrow(half, field.type))
        crc = 0
        for start in range(0, table.num_rows, GROUP):
            crc = checksum(table.slice(start, GROUP), crc)
        return {
            "tile": footer.tile,
            "rows": table.num_rows,
            "first_id": int(identity.min()),
            "last_id": int(identity.max()),
            "crc": crc,
            **asdict(circle),
        }

    def _committed(self, fragments: Sequence[Any], total: int) -> Any:
        """Make a table of the files, unless that is done."""
        lance = library.load()
        try:
            objects = lance.dataset(self._uri)
            if objects.count_rows() == total:
                return objects
        except (OSError, ValueError):
            pass
        # The metadata tell the digest, not yet the settings of the search: those are in the list of tiles.
        return lance.LanceDataset.commit(self._uri, lance.LanceOperation.Overwrite(self._stored, list(fragments)))

    def _index(self, objects: Any, lists: int) -> None:
        """Make the indexes that are missing: over vectors, positions, magnitudes and scores."""
        made = {index.name for index in objects.describe_indices()}
        for name in self._columns:
            numbers = name.startswith(("mag_", PREFIX))
            kind = "ZONEMAP" if name == HEALPIX else "BTREE" if numbers else None
            if kind and f"{name}_idx" not in made:
                objects.create_scalar_index(name, kind, name=f"{name}_idx")
        if lists and VECTOR_INDEX not in made:
            # One bit a dimension: 1/32 of the vectors is read, and the nearest are ranked by their own numbers.
            objects.create_index(
                EMBEDDING, "IVF_RQ", name=VECTOR_INDEX, metric="cosine", num_partitions=lists, num_bits=1
            )

    def _remove_unused(self, fragments: Sequence[Any]) -> None:
        """Remove what killed runs left: files of rows and indexes that the dataset does not name."""
        folder = self._partial / _DATASET / OBJECTS
        objects = library.load().dataset(self._uri)
        used = {file.path for fragment in fragments for file in fragment.files}
        indexes = {segment.uuid for index in objects.describe_indices() for segment in index.segments}
        for path in (folder / "data").glob("*"):
            if path.name not in used:
                path.unlink()
        for path in (folder / "_indices").glob("*"):
            if path.name not in {str(one) for one in indexes}:
                shutil.rmtree(path)

    def _list_tiles(self, listed: Sequence[dict[str, Any]], total: int, search: SearchSettings | None) -> LanceStore:
        """Write the list of tiles, which makes the dataset complete, and open it."""
        counts = np.array([tile["rows"] for tile in listed], np.int64)
        columns = {name: [tile.get(name) for tile in listed] for name in TILE_SCHEMA.names}
        columns["start"] = (np.cumsum(counts) - counts).tolist()
        record = ExportRecord(VERSION, self.digest, total, search)
        schema = TILE_SCHEMA.with_metadata(metadata_of(self._snapshot.catalogue.info, record))
        folder = self._partial / _DATASET
        shutil.rmtree(folder / TILES, ignore_errors=True)
        table = pa.table(columns, schema=schema)
        library.load().write_dataset(table, str(folder / TILES), data_storage_version=STORAGE)
        return LanceStore.open(str(folder))


def _in_sky_order(footers: Sequence[Footer]) -> list[Footer]:
    circles = [footer.circle for footer in footers]
    ra, dec = (np.array([getattr(one, name) if one else 0.0 for one in circles]) for name in ("ra", "dec"))
    pixels = healpix29(ra, dec).tolist()
    return [footer for _, _, footer in sorted(zip(pixels, [f.tile for f in footers], footers, strict=True))]


def _split(footers: Sequence[Footer]) -> list[list[Footer]]:
    """Split tiles into those of one file each: some before the limit, never a part of a tile."""
    files: list[list[Footer]] = []
    filled = FILE_ROWS
    for footer in footers:
        if filled + footer.rows > FILE_ROWS:
            files.append([])
            filled = 0
        files[-1].append(footer)
        filled += footer.rows
    return files

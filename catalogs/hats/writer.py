"""The two tables of a collection, written partition by partition from the tiles that have rows in each."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogs import parquet_files
from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats import layout, parquet
from catalogs.hats.layout import Tables
from catalogs.hats.partitions import Counts, Margins, Partition, margin_order
from catalogs.store import rows
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.footers import Footer
from catalogs.store.schema import HEALPIX
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_writer import widths

_OTHER = "partition"
"""Number of the partition in whose margin a row lies."""


class Writer:
    """Writes the partitions that are missing.

    ``filters`` choose the rows. ``spill`` is a folder for rows in the margins of other partitions; they are stored
    there while their own partition is in memory.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        counts: Counts,
        partitions: Sequence[Partition],
        tables: Tables,
        filters: Sequence[str],
        spill: Path,
    ) -> None:
        self._snapshot, self._catalogue, self._counts = snapshot, snapshot.catalogue, counts
        self._partitions, self._tables, self._filters, self._spill = partitions, tables, filters, spill
        self._margins = Margins(partitions, margin_order(tables.margin))
        self._widths = widths(self._catalogue.schema, max(len(footer.tile) for footer in snapshot.footers))
        self._facts = {"scanner.catalogue": json.dumps(asdict(self._catalogue.info), sort_keys=True)}

    def write_objects(self) -> Iterator[int]:
        """Write the partitions of the objects; yields the number of partitions written so far."""
        for number, partition in enumerate(self._partitions):
            # Margin rows are spilled before the partition is written: where it exists, an earlier run has done both.
            path = self._path(self._tables.objects, partition)
            if not path.exists():
                table = self._read(partition)
                self._spill_margins(number, table)
                parquet.write_rows(path, table, self._widths, self._facts)
            yield number + 1

    def write_margins(self) -> list[Partition]:
        """Write the margins; returns those that have rows, in the order of the partitions."""
        sources: dict[int, list[Path]] = defaultdict(list)
        counts: dict[int, int] = defaultdict(int)
        # Margins are pulled from the spilled rows of all neighbours, once every partition is written.
        for path in sorted(self._spill.glob("[!.]*.parquet")):
            for pair in self._read_spill(path, columns=[_OTHER]).column(_OTHER).value_counts().to_pylist():
                sources[pair["values"]].append(path)
                counts[pair["values"]] += pair["counts"]
        for other in sorted(sources):
            path = self._path(self._tables.margins, self._partitions[other])
            if not path.exists():
                parquet.write_rows(path, self._read_spilled(other, sources[other]), self._widths, self._facts)
        return [Partition(p.order, p.pixel, counts[n]) for n, p in enumerate(self._partitions) if counts[n]]

    def _path(self, table: Path, partition: Partition) -> Path:
        return layout.dataset(table) / layout.partition_path(partition.order, partition.pixel)

    def _read(self, partition: Partition) -> pa.Table:
        inside = f"{partition.start} <= {HEALPIX} < {partition.stop}"
        chosen = rows.selection(self._catalogue, [*self._filters, inside], None)
        schema = self._catalogue.schema
        parts = [schema.empty_table()]
        for number in self._counts.tiles(partition):
            groups = read_rows(self._snapshot, self._snapshot.footers[number], schema.names, chosen)
            parts += [table.select(schema.names).cast(schema) for table in groups]
        table = pa.concat_tables(parts)
        # Rows were counted before: another number means that a scan has written meanwhile.
        if len(table) != partition.rows:
            raise _changed(self._catalogue)
        return table.combine_chunks()

    def _spill_margins(self, number: int, table: pa.Table) -> None:
        near = self._margins.beyond(number, table.column(HEALPIX).to_numpy())
        pieces = [
            table.take(chosen).append_column(_OTHER, pa.array([other] * len(chosen), pa.int32()))
            for other, chosen in near
        ]
        # The spilled rows appear whole or not at all, since a killed run is resumed from them.
        if pieces:
            with replacing(self._spill / f"{number}.parquet", clear=False) as temporary:
                parquet_files.write_table(pa.concat_tables(pieces), temporary)

    def _read_spilled(self, other: int, paths: Sequence[Path]) -> pa.Table:
        chosen = [self._read_spill(path, filters=pc.field(_OTHER) == other) for path in paths]
        schema = self._catalogue.schema
        return pa.concat_tables(chosen).select(schema.names).cast(schema).combine_chunks()

    def _read_spill(self, path: Path, **choice: Any) -> pa.Table:
        try:
            return pq.read_table(path, page_checksum_verification=True, partitioning=None, **choice)
        except (OSError, pa.ArrowException) as error:
            # The next run starts from the beginning.
            shutil.rmtree(self._spill.parent, ignore_errors=True)
            message = f"{path}, a temporary file of this publication, cannot be read: {error}."
            raise ScannerError(ErrorCode.PUBLISH_CHANGED, message, "Run the same command again.") from error


def read_rows(snapshot: Snapshot, footer: Footer, columns: Sequence[str], chosen: Selection) -> Iterator[pa.Table]:
    """Yield the chosen rows of one tile, row group by row group. No tile is left out.

    Raises:
        ScannerError: ``publish.damaged_tile``; ``publish.changed`` where a scan has replaced the tile.
    """
    try:
        yield from rows.read_groups(snapshot, footer, columns, chosen)
    except ScannerError as error:
        if error.code != ErrorCode.TILE_DAMAGED:
            raise
        if not snapshot.unchanged(footer):
            raise _changed(snapshot.catalogue) from error
        raise damaged_tiles([error]) from error


def damaged_tiles(errors: Sequence[ScannerError]) -> ScannerError:
    """Make the error of tiles that cannot be read: a publication without them would look complete."""
    more = f" And {len(errors) - 1} other tiles." if len(errors) > 1 else ""
    return ScannerError(ErrorCode.PUBLISH_DAMAGED_TILE, f"{errors[0].message}{more}", errors[0].hint)


def _changed(catalogue: Backend) -> ScannerError:
    message = f"{catalogue.path} changed while it was being published."
    hint = "Run the same command again when no scan is writing to it."
    return ScannerError(ErrorCode.PUBLISH_CHANGED, message, hint)

"""Reading maps: their names, how each was made, and the objects on one as a table."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs import parquet_files
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.store import rows, tile_reader, vectors
from catalogs.store.footers import SUFFIX
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_checks import describe_error
from catalogs.store.tile_store import TileStore, need_folder
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store.backend import Backend

log = logging.getLogger(__name__)

RECEIPT = "scanner.map"
SAMPLE = "sample.parquet"
Identities = NDArray[np.int64]
ID = "object_id"


@dataclass(frozen=True)
class MapSettings:
    """A map: its ``method``, the seed and size of the sample it is fitted to, and which objects are on it."""

    method: str
    sample: int = 20_000
    seed: int = 0
    where: str = "is_primary"


@dataclass(frozen=True)
class MapRecord:
    """``map.json``: the settings (``plan``), the ``digest`` of the fitted sample, and its number of objects."""

    plan: MapSettings
    model_sha256: str
    digest: str
    fitted: int


@dataclass(frozen=True)
class Receipt:
    """In a map's tile file: the fit it is of, the catalogue's tile file it lies beside, and its objects on the map."""

    digest: str
    size: int
    mtime_ns: int
    objects: int


def map_folder(catalogue: Backend, name: str) -> Path:
    """Name the folder of a map."""
    return need_folder(catalogue).path / "maps" / name


def axes(name: str) -> tuple[str, str]:
    """Name the two columns of a map."""
    return f"{name}_x", f"{name}_y"


def tile_schema(name: str) -> pa.Schema:
    """Columns of a map's tile files."""
    metadata = {"description": f"Coordinate on the map {name}; distances mean little far from an object"}
    coordinates = [pa.field(axis, pa.float32(), metadata=metadata) for axis in axes(name)]
    return pa.schema([pa.field(ID, pa.int64(), nullable=False), *coordinates])


def list_maps(catalogue: Backend) -> list[str]:
    """List the maps of a catalogue; a dataset of another format has none."""
    if not isinstance(catalogue, TileStore):
        return []
    return sorted(path.parent.name for path in (catalogue.path / "maps").glob("*/map.json"))


def describe_map(catalogue: Backend, name: str) -> MapRecord:
    """Read ``map.json``.

    Raises:
        ScannerError: ``map.missing``, whose hint lists the maps of the catalogue; ``map.damaged``.
    """
    path = map_folder(catalogue, name) / "map.json"
    try:
        return read_record(load_json(path), MapRecord)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = f"Maps: {', '.join(list_maps(catalogue)) or 'none yet'}. Make one with: scanner map --method umap"
        raise ScannerError(ErrorCode.MAP_MISSING, f"{catalogue.path} has no map {name!r}.", hint) from error
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ScannerError:
    """Make the error of a file of a map that cannot be read."""
    hint = "Make the map anew: repeat its command, scanner map, with --refit."
    return ScannerError(ErrorCode.MAP_DAMAGED, f"{path} cannot be read: {describe_error(error)}.", hint)


def read_receipt(path: Path) -> Receipt | None:
    """Read the receipt of a map's tile file; None where there is none."""
    try:
        with parquet_files.open_file(path) as source:
            return read_record(load_json(pq.read_metadata(source).metadata[RECEIPT.encode()]), Receipt)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def sample_digest(identities: Identities, places: NDArray[np.float32]) -> str:
    """Compute the digest of a fit: ids [M] and places [M, 2] of its sample."""
    return hashlib.sha256(identities.tobytes() + places.tobytes()).hexdigest()


def read_sample(catalogue: Backend, name: str, digest: str) -> tuple[Identities, Vectors, NDArray[np.float32]]:
    """Read the sample that a map was fitted to: ids [M], unit vectors [M, D] and places [M, 2].

    Raises:
        ScannerError: ``map.damaged``.
    """
    path = map_folder(catalogue, name) / SAMPLE
    try:
        sample = parquet_files.read_table(path)
        identities, embedding, *both = (sample.column(column) for column in (ID, EMBEDDING, *axes(name)))
        places = np.stack([axis.to_numpy() for axis in both], axis=1)
        if not pa.types.is_fixed_size_list(embedding.type) or embedding.type.list_size != catalogue.info.dim:
            raise ValueError(f"its embeddings are not of {catalogue.info.dim} numbers")
        if sample_digest(identities.to_numpy(), places) != digest:
            raise ValueError("it is not the sample that map.json describes")
        return identities.to_numpy(), vectors.from_arrow(embedding), places
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise damaged(path, error) from error


def find_damage(catalogue: TileStore) -> list[ScannerError]:
    """Read every file of every map; returns what is wrong with each."""
    root = catalogue.path / "maps"
    damage = []
    try:
        # A catalogue without a map has no such folder, but a broken link of that name is damage.
        names = sorted(entry.name for entry in root.iterdir()) if os.path.lexists(root) else []
    except OSError as error:
        return [damaged(root, error)]
    for name in names:
        try:
            (root / name / "map.json").lstat()
        except (FileNotFoundError, NotADirectoryError):  # no map yet
            continue
        except OSError as error:
            damage.append(damaged(root / name, error))
            continue
        try:
            read_sample(catalogue, name, describe_map(catalogue, name).digest)
        except ScannerError as error:
            damage.append(error)
        for path in sorted((root / name / "tiles").glob(f"[!.]*{SUFFIX}")):
            try:
                read_coordinates(path, name)
            except ScannerError as error:
                damage.append(error)
    return damage


def read_coordinates(path: Path, name: str, rows_of_tile: int | None = None) -> pa.Table:
    """Read a map's tile file, which has a row for each row of the tile.

    Raises:
        ScannerError: ``map.damaged``.
    """
    try:
        table = parquet_files.read_table(path)
        if table.schema != tile_schema(name) or rows_of_tile not in (None, table.num_rows):
            raise ValueError("it has other columns than a map, or another number of rows than the tile")
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error
    return table


def read_map(
    catalogue: Backend,
    name: str,
    columns: Sequence[str] | None = None,
    filter_text: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Table:
    """Read the objects on a map: their coordinates, then ``columns`` of the catalogue.

    Where more than ``limit`` objects are on it, about ``limit`` are drawn at random, and ``filter_text`` chooses among
    these. A tile that is new or changed since the map was made is skipped with a warning, as a damaged one is.

    Raises:
        ScannerError: ``map.missing``, ``map.damaged``, ``column.unknown``, ``where.*``.
    """
    record = describe_map(catalogue, name)
    names = tile_reader.check_columns(columns, catalogue.schema)
    chosen = rows.selection(catalogue, filter_text or record.plan.where, None)
    snapshot = catalogue.snapshot().touching()
    paths = [map_folder(catalogue, name) / "tiles" / f"{footer.tile}{SUFFIX}" for footer in snapshot.footers]
    receipts = [read_receipt(path) for path in paths]
    # Receipts hold the counts, so the share to draw is known before any row is read.
    on_map = sum(receipt.objects for receipt in receipts if receipt)
    share = 1.0 if limit is None else min(1.0, limit / max(on_map, 1))
    fields = [catalogue.schema.field(column) for column in names if column != ID]
    # Units and descriptions come from the fields of the catalogue and of the map.
    schema = pa.schema([catalogue.schema.field(ID), *list(tile_schema(name))[1:], *fields])
    rng = np.random.default_rng(seed)
    parts = [schema.empty_table()]
    for footer, path, receipt in zip(snapshot.footers, paths, receipts, strict=True):
        if receipt is None or (receipt.size, receipt.mtime_ns) != (footer.size, footer.mtime_ns):
            log.warning("Tile %s is not on the map %s yet. Skipped; run scanner map again.", footer.tile, name)
            continue
        try:
            coordinates = read_coordinates(path, name, footer.rows)
        except ScannerError as error:
            log.warning("Skipped: %s %s", error.message, error.hint)
            continue
        for part in rows.tile_groups(snapshot, footer, [ID, *(field.name for field in fields)], chosen):
            # Row numbers in the tile's file are those of the map's file beside it.
            numbers = part.column(tile_reader.ROW).to_numpy()
            drawn = rng.random(len(numbers)) < share
            drawn &= np.isfinite(coordinates.column(axes(name)[0]).to_numpy()[numbers])
            part, numbers = part.filter(pa.array(drawn)), numbers[drawn]
            for axis in axes(name):
                part = part.append_column(coordinates.schema.field(axis), coordinates.column(axis).take(numbers))
            parts.append(part.select(schema.names).cast(schema))
    return tile_reader.to_astropy(pa.concat_tables(parts))

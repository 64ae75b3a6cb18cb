"""Metadata of a collection: property files, metadata over its Parquet files, and a map of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.hats import layout, parquet
from catalogs.hats.layout import Tables
from catalogs.hats.partitions import LEAF, Partition
from catalogs.store import voparquet
from catalogs.store.provenance import software
from catalogs.store.schema import EMBEDDING, HEALPIX, HEALPIX_ORDER
from catalogs.store.tile_writer import widths

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore


@dataclass(frozen=True)
class RowCounts:
    """Rows of the two tables, by the footers of their files."""

    rows: int
    margin_rows: int


def write(
    tables: Tables,
    catalogue: TileStore,
    objects: Sequence[Partition],
    margins: Sequence[Partition],
    leaf_rows: NDArray[np.int32],
    options: Mapping[str, Any],
) -> RowCounts:
    """Write all files of a collection but its partitions."""
    provenance = _provenance(catalogue, options)
    tile_width = max(map(len, catalogue.tiles()))
    schema = catalogue.schema
    schema = schema.with_metadata(voparquet.metadata(schema, widths(schema, tile_width)))
    counted = []
    for table, pieces in ((tables.objects, objects), (tables.margins, margins)):
        pixels = sorted((piece.order, piece.pixel) for piece in pieces)
        counted.append(parquet.write_metadata(table, pixels, schema))
        # A margin without rows has no pixels, so its order is that of the objects.
        common = _common(table, catalogue, counted[-1], pieces or objects)
        kind = _object_facts(options) if table == tables.objects else _margin_facts(tables)
        layout.write_table_files(table, pixels, {**common, **kind, **provenance})
    parquet.write_sky_map(tables.objects, leaf_rows, LEAF)
    layout.write_collection(tables, provenance)
    return RowCounts(*counted)


def _common(table: Path, catalogue: TileStore, rows: int, pieces: Sequence[Partition]) -> dict[str, object]:
    # Readers load these columns by default, and the embedding is most of the bytes.
    columns = [name for name in catalogue.schema.names if name not in (EMBEDDING, HEALPIX)]
    size = sum(path.stat().st_size for path in table.rglob("*.parquet"))
    return {
        "obs_collection": table.name,
        "hats_nrows": rows,
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": HEALPIX,
        "hats_col_healpix_order": HEALPIX_ORDER,
        "hats_cols_default": columns,
        "hats_npix_suffix": ".parquet",
        "hats_order": max(piece.order for piece in pieces),
        "hats_estsize": size // 1024,
        # The sky has 12 pixels of order 0, and each order divides a pixel into four.
        "moc_sky_fraction": f"{sum(4.0**-piece.order for piece in pieces) / 12:.5f}",
    }


def _object_facts(options: Mapping[str, Any]) -> dict[str, object]:
    return {
        "dataproduct_type": "object",
        "hats_max_rows": options["rows_per_file"],
        "hats_skymap_order": parquet.SKY_MAP_ORDER,
    }


def _margin_facts(tables: Tables) -> dict[str, object]:
    return {
        "dataproduct_type": "margin",
        "hats_primary_table_url": tables.objects.name,
        "hats_margin_threshold": tables.margin,
    }


def _provenance(catalogue: TileStore, options: Mapping[str, Any]) -> dict[str, object]:
    info = catalogue.info
    chosen = "all rows" if options["all_rows"] else "primary rows (overlaps of tiles counted once)"
    return {
        "obs_title": f"{info.survey}: objects and their embeddings by the model {info.model}",
        "obs_description": f"Objects of {len(catalogue.tiles())} tiles, {chosen}"
        + (f", where {options['where']}" if options["where"] else "")
        + f". The column embedding holds the {info.dim} numbers of the encoder; its file's digest is that given here.",
        "scanner_survey": info.survey,
        "scanner_bands": "".join(info.bands),
        "scanner_model": info.model,
        "scanner_model_sha256": info.model_sha256,
        "scanner_runtime": info.runtime,
        "scanner_precision": info.precision,
        "hats_builder": software(),
        "hats_creation_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M%Z"),
        "hats_release_date": layout.HATS_RELEASED,
        "hats_version": layout.HATS_VERSION,
    }

"""The Parquet files of a HATS table, and the metadata over all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.atomic import replacing
from catalogs.hats import layout
from catalogs.store.tile_writer import ROW_GROUP, parquet_writer

SKY_MAP_ORDER = 8
"""HEALPix order of the map of rows: pixels of 14'."""


def write_rows(path: Path, table: pa.Table, widths: Mapping[str, int], facts: Mapping[str, str]) -> None:
    """Write rows sorted by ``_healpix_29``, then ``object_id``, whole or not at all, encoded as in a tile file.

    Embeddings are those of the tile files, bit by bit. Besides ``table``, memory holds one sorted row group.
    """
    order = np.lexsort((table.column("object_id").to_numpy(), table.column("_healpix_29").to_numpy()))
    with replacing(path, clear=False) as temporary, pa.OSFile(os.fsencode(temporary), "wb") as sink:
        writer = parquet_writer(sink, table.schema, widths)
        for start in range(0, len(order), ROW_GROUP):
            writer.write_table(table.take(order[start : start + ROW_GROUP]), row_group_size=ROW_GROUP)
        writer.add_key_value_metadata(dict(facts))
        writer.close()


def write_metadata(table: Path, pixels: Sequence[tuple[int, int]], schema: pa.Schema) -> int:
    """Write ``_common_metadata`` (the schema) and ``_metadata`` (all footers); returns the number of rows."""
    folder = layout.dataset(table)
    folder.mkdir(parents=True, exist_ok=True)
    footers = []
    for order, pixel in pixels:
        relative = layout.partition_path(order, pixel)
        footer = pq.read_metadata(folder / relative)
        # Readers find a row group's file by its path relative to the metadata.
        footer.set_file_path(relative.as_posix())
        footers.append(footer)
    with replacing(folder / layout.COMMON_METADATA) as temporary:
        pq.write_metadata(schema, temporary)
    with replacing(folder / layout.METADATA) as temporary:
        pq.write_metadata(schema, temporary, metadata_collector=footers)
    return sum(footer.num_rows for footer in footers)


def write_sky_map(table: Path, leaf_rows: NDArray[np.int32], leaf_order: int) -> None:
    """Write rows by HEALPix pixel as FITS: ``skymap.fits``, and ``point_map.fits``, LSDB's map of the coverage."""
    from astropy.io import fits

    # The numbers of nested pixels that share a parent follow one another.
    rows = leaf_rows.reshape(-1, 4 ** (leaf_order - SKY_MAP_ORDER)).sum(axis=1, dtype=np.int64)
    pixels = np.flatnonzero(rows)
    columns = [fits.Column("PIXEL", "K", array=pixels), fits.Column("VALUE", "K", array=rows[pixels])]
    map_hdu = fits.BinTableHDU.from_columns(columns)
    map_hdu.header.update(
        PIXTYPE="HEALPIX",
        ORDERING="NESTED",
        COORDSYS="C",
        INDXSCHM="EXPLICIT",
        OBJECT="PARTIAL",
        NSIDE=2**SKY_MAP_ORDER,
        ORDER=SKY_MAP_ORDER,
        FIRSTPIX=0,
        LASTPIX=12 * 4**SKY_MAP_ORDER - 1,
    )
    for name in ("skymap.fits", "point_map.fits"):
        with replacing(table / name) as temporary:
            fits.HDUList([fits.PrimaryHDU(), map_hdu]).writeto(temporary, overwrite=True)

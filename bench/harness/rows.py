"""Catalogues with given embeddings and invented columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.sky import unions_grid
from catalogs.store.provenance import Run
from catalogs.store.schema import EMBEDDING
from scanner.survey.bands import BANDS

TILE_ROWS = 20_000
"""Objects of a survey tile."""
PRIMARY = 0.94
"""Share of them that lies nearest to their own tile's centre: overlaps of 155 of 10,000 pixels a side."""


def tile_name(number: int) -> str:
    """Tiles side by side, 200 in a row of the grid, from dec 56 upwards."""
    return f"{100 + number % 200:03d}.{292 + number // 200:03d}"


def object_id(tile: str, row: int) -> int:
    """The catalogue's rule: number of the tile times a million, plus the row."""
    return int(tile.replace(".", "")) * 1_000_000 + row


def run(dim: int) -> Run:
    """A run whose embeddings have ``dim`` numbers."""
    return Run("unions", BANDS, f"bench-{dim}", "0" * 64, {"embedding_dim": dim}, {})


def columns(schema: pa.Schema, tile: str, embedding: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Every column of ``schema`` for a tile: positions over its half degree, sorted by y, and noise elsewhere."""
    # The tile seeds its columns, whatever was drawn before.
    rng = np.random.default_rng(int(tile.replace(".", "")))
    count, (ra, dec) = len(embedding), unions_grid.centre(tile)
    values = {
        "object_id": object_id(tile, 0) + np.arange(count),
        "tile": np.full(count, tile),
        # A tile is half a degree wide on the sky, and so wider in degrees of RA.
        "ra": ra + rng.uniform(-0.25, 0.25, count) / np.cos(np.radians(dec)),
        "dec": dec + np.sort(rng.uniform(-0.25, 0.25, count)),
        EMBEDDING: embedding,
    }
    return {field.name: values.get(field.name, _invented(rng, field, count)) for field in schema if _is_stored(field)}


def catalogue(folder: Path, vectors: NDArray[np.float32]) -> Catalogue:
    """A catalogue of ``vectors`` [N, D] in tiles of 20,000 rows."""
    filled = catalogs.create(folder, run(vectors.shape[1]))
    extend(filled, 0, vectors)
    return filled


def extend(filled: Catalogue, first: int, vectors: NDArray[np.float32]) -> None:
    """Add tiles of 20,000 rows, the first of them number ``first``."""
    for number, start in enumerate(range(0, len(vectors), TILE_ROWS), start=first):
        tile = tile_name(number)
        with filled.writer(tile, run(filled.info.dim)) as file:
            file.write(columns(filled.schema, tile, vectors[start : start + TILE_ROWS]))


def _is_stored(field: pa.Field) -> bool:
    return bool(field.name != "_healpix_29")  # the store works it out, as in a scan


def _invented(rng: np.random.Generator, field: pa.Field, count: int) -> NDArray[Any]:
    if pa.types.is_string(field.type):
        return np.full(count, "r" if field.name == "detection_band" else "ugriz")
    if pa.types.is_floating(field.type):
        return rng.lognormal(3.0, 1.0, count)
    if pa.types.is_boolean(field.type):
        return rng.random(count) < PRIMARY
    return np.zeros(count, np.int64)

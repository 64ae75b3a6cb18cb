"""A catalogue for programs that show embeddings: a Parquet file for Embedding Atlas, TSVs for TensorFlow's projector.

Source: https://apple.github.io/embedding-atlas/tool.html; https://projector.tensorflow.org
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.atomic import replacing, write_json
from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import random_sample
from catalogs.store import rows, vectors
from catalogs.store.schema import EMBEDDING, HEALPIX

PROJECTION = ("projection_x", "projection_y")
"""Columns of a map in the file for Embedding Atlas, which takes them by ``--x`` and ``--y``."""
MOST = 10_000
"""Objects that the projector shows without stutter."""
_METADATA = ("object_id", "tile", "ra", "dec", "mag_auto", "snr", "flux_radius")
_ROW_GROUP = 8192


@dataclass(frozen=True)
class ViewReport:
    """What was written: the number of ``objects``, and of those without an embedding or a place, which are left out."""

    objects: int
    left_out: int


def write_atlas(catalogue: Catalogue, path: Path, where: str | None = None, name: str | None = None) -> ViewReport:
    """Write the primary objects as one Parquet file with all columns and ``embedding`` as a list.

    ``name`` is that of a map of the catalogue, whose coordinates are added. Row groups are written one by one.

    Raises:
        ScannerError: ``viewers.nothing``, ``map.*``, ``where.*``, ``output.*``.
    """
    snapshot = catalogue.snapshot()
    places = None if name is None else _places(catalogue, name)
    columns = [one for one in catalogue.schema.names if one not in (HEALPIX, EMBEDDING)]
    fields = [pa.field(one, catalogue.schema.field(one).type) for one in columns]
    fields += [pa.field(one, pa.float32()) for one in PROJECTION if places is not None]
    schema = pa.schema([*fields, pa.field(EMBEDDING, pa.list_(pa.float32()))])
    chosen = rows.primary(catalogue, where)
    objects = left_out = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for _, table in rows.scan(snapshot, [*columns, EMBEDDING], chosen):
            embedding = vectors.from_arrow(table.column(EMBEDDING))
            keep = vectors.sound(embedding)
            arrays = [table.column(one) for one in columns]
            if places is not None:
                at = _find(places[0], table.column("object_id").to_numpy())
                keep &= at >= 0
                arrays += [pa.array(axis[at], pa.float32()) for axis in places[1:]]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(embedding.ravel(), pa.float32()), embedding.shape[1])
            arrays.append(lists.cast(pa.list_(pa.float32())))
            part = pa.table(arrays, names=schema.names).cast(schema).filter(pa.array(keep))
            objects, left_out = objects + len(part), left_out + len(table) - len(part)
            writer.write_table(part, row_group_size=_ROW_GROUP)
        if not objects:
            raise _nothing(catalogue)
    return ViewReport(objects, left_out)


def write_projector(
    catalogue: Catalogue, folder: Path, where: str | None = None, most: int = MOST, seed: int = 0
) -> ViewReport:
    """Write a random sample of the primary objects for TensorFlow's projector: vectors, metadata and its configuration.

    ``vectors.tsv`` has a unit vector in each line, ``metadata.tsv`` the columns of the object in the same line below a
    head, and ``config.json`` names both.

    Raises:
        ScannerError: ``viewers.nothing``, ``where.*``, ``output.*``.
    """
    snapshot = catalogue.snapshot()
    sample = random_sample.draw(snapshot, rows.primary(catalogue, where), most, seed)
    if not len(sample):
        raise _nothing(catalogue)
    names = [one for one in (*_METADATA, *_scores(catalogue)) if one in catalogue.schema.names]
    table = rows.of_ids(snapshot, sample.object_id.tolist(), names)
    # Ids that a damaged tile no longer gives would shift the lines against each other.
    at = _find(np.asarray(table["object_id"]), sample.object_id)
    table, matrix = table[at[at >= 0]], sample.vectors[at >= 0]
    with replacing(folder / "vectors.tsv") as temporary:
        np.savetxt(temporary, matrix, fmt="%.6g", delimiter="\t")
    lines = ["\t".join(names), *("\t".join(_cell(row[name]) for name in names) for row in table)]
    with replacing(folder / "metadata.tsv") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = {
        "tensorName": f"{catalogue.info.survey}, model {catalogue.info.model}",
        "tensorShape": list(matrix.shape),
        "tensorPath": "vectors.tsv",
        "metadataPath": "metadata.tsv",
    }
    write_json(folder / "config.json", {"embeddings": [described]})
    return ViewReport(len(matrix), 0)


def _scores(catalogue: Catalogue) -> Sequence[str]:
    return () if catalogue.info.scores is None else catalogue.info.scores.columns


def _places(catalogue: Catalogue, name: str) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """The objects of a map in the order of their ids, and their coordinates."""
    from catalogs.maps.read import axes, read_map

    placed = read_map(catalogue, name, [])
    order = np.argsort(np.asarray(placed["object_id"]))
    x, y = (np.asarray(placed[axis], np.float32)[order] for axis in axes(name))
    return np.asarray(placed["object_id"])[order], x, y


def _find(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each wanted id among ``ids``, -1 for none."""
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], wanted), max(len(ids) - 1, 0))
    if not len(ids):
        return np.full(len(wanted), -1)
    return np.where(ids[order][at] == wanted, order[at], -1)


def _cell(value: object) -> str:
    # A tab or a line end would shift the columns; JSON writes them as escapes.
    return json.dumps(value, ensure_ascii=False)[1:-1] if isinstance(value, str) else f"{value}"


def _nothing(catalogue: Catalogue) -> ScannerError:
    message = f"No primary object of {catalogue.path} with an embedding passes the filter."
    return ScannerError(ErrorCode.VIEWERS_NOTHING, message, "Try another --where, or another --map.")

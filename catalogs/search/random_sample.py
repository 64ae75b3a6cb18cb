"""A random sample of objects that represents the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.index import ranges
from catalogs.store import rows, vectors
from catalogs.store.backend import Snapshot
from catalogs.store.schema import EMBEDDING
from catalogs.store.scores import LENS_SCORE
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

TILES = 32
"""The number of tiles that a sample comes from, at least, where that many have objects to draw."""
_COLUMNS = ("object_id", "ra", "dec", LENS_SCORE, EMBEDDING)


@dataclass(frozen=True)
class Sample:
    """M objects: ids, positions in degrees, lens scores (NaN where the catalogue has none) and unit vectors [M, D]."""

    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    score: NDArray[np.float64]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.object_id)

    def __getitem__(self, index: NDArray[np.generic]) -> Sample:
        return Sample(*(getattr(self, field.name)[index] for field in fields(self)))


def draw(snapshot: Snapshot, selection: Selection, count: int, seed: int = 0) -> Sample:
    """Draw ``count`` of the ``selection`` objects, or all if there are fewer; in the tiles read all are equally likely.

    Tiles are read in random order until there are enough objects from ``TILES`` of them. It holds ``count`` rows and
    one row group in memory. The same catalogue and seed give the same sample.
    """
    rng = np.random.default_rng(seed)
    # Only a model with scores makes the column.
    columns = [name for name in _COLUMNS if name in snapshot.catalogue.schema.names]
    part = snapshot.touching(selection.near)
    # Each object gets a random key; the sample is the objects with the lowest keys.
    keys, sample = np.zeros(0), _none(snapshot.catalogue.info.dim)
    tiles = objects = 0
    ruled_out = ranges.rule_out(snapshot.catalogue, part.footers, selection)
    for number in rng.permutation(len(part.footers)):
        if part.footers[number].tile in ruled_out:
            continue
        before = objects
        for table in rows.tile_groups(part, part.footers[number], columns, selection):
            more = _sample(table)
            objects += len(more)
            keys, sample = np.concatenate([keys, rng.random(len(more))]), _join(sample, more)
            if len(keys) > count:
                # The sort keeps the sample in the order in which rows were read.
                lowest = np.sort(np.argpartition(keys, count)[:count])
                keys, sample = keys[lowest], sample[lowest]
        tiles += objects > before
        if tiles >= TILES and objects >= count:
            break
    return sample


def _none(dim: int) -> Sample:
    return Sample(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, dim), np.float32))


def _sample(table: pa.Table) -> Sample:
    embedding = vectors.from_arrow(table.column(EMBEDDING))
    sound = vectors.sound(embedding)
    identity, ra, dec = (table.column(name).to_numpy()[sound] for name in _COLUMNS[:3])
    has_score = LENS_SCORE in table.column_names
    score = table.column(LENS_SCORE).to_numpy()[sound] if has_score else np.full(len(ra), np.nan)
    return Sample(identity, ra, dec, score.astype(np.float64), vectors.unit(embedding[sound]))


def _join(one: Sample, other: Sample) -> Sample:
    return Sample(*(np.concatenate([getattr(one, f.name), getattr(other, f.name)]) for f in fields(one)))

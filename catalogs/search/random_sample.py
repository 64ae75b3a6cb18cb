"""Objects drawn at random, to stand for the whole catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.store import rows, vectors
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import Snapshot
from catalogs.store.vectors import Vectors

TILES = 32
"""Tiles, at least, that a sample comes from, where so many have objects to draw."""
_COLUMNS = ("object_id", "ra", "dec", EMBEDDING)


@dataclass(frozen=True)
class Sample:
    """M objects: ids, positions in degrees, unit vectors [M, D]."""

    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.object_id)

    def __getitem__(self, chosen: NDArray[np.generic]) -> Sample:
        return Sample(self.object_id[chosen], self.ra[chosen], self.dec[chosen], self.vectors[chosen])


def draw(snapshot: Snapshot, chosen: Selection, count: int, seed: int = 0) -> Sample:
    """``count`` of the ``chosen`` objects (all, where there are fewer), each as likely as another of the tiles read.

    Tiles are read in random order until there are enough objects from ``TILES`` of them. Holds ``count`` rows and one
    row group in memory. The same catalogue and seed give the same sample.
    """
    rng = np.random.default_rng(seed)
    key, kept = np.zeros(0), Sample(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros((0, 0), np.float32))
    used = seen = 0
    for found in _tiles(snapshot, chosen, rng):
        for sample in found:
            key = np.concatenate([key, rng.random(len(sample))])
            kept = _joined(kept, sample) if seen else sample
            seen += len(sample)
            if len(key) > count:
                lowest = np.sort(np.argpartition(key, count)[:count])
                key, kept = key[lowest], kept[lowest]
        used += bool(found)
        if used >= TILES and seen >= count:
            break
    return (
        kept
        if seen
        else Sample(kept.object_id, kept.ra, kept.dec, np.zeros((0, snapshot.catalogue.info.dim), np.float32))
    )


def _tiles(snapshot: Snapshot, chosen: Selection, rng: np.random.Generator) -> Iterator[list[Sample]]:
    """The chosen objects of each tile, tiles in random order."""
    part = snapshot.touching(chosen.near)
    for number in rng.permutation(len(part.footers)):
        groups = (_sample(table) for table in rows.tile_groups(part, part.footers[number], _COLUMNS, chosen))
        yield [sample for sample in groups if len(sample)]


def _sample(table: pa.Table) -> Sample:
    embedding = vectors.from_arrow(table.column(EMBEDDING))
    sound = vectors.sound(embedding)
    identity, ra, dec = (table.column(name).to_numpy()[sound] for name in _COLUMNS[:3])
    return Sample(identity, ra, dec, vectors.unit(embedding[sound]))


def _joined(one: Sample, other: Sample) -> Sample:
    names = ("object_id", "ra", "dec", "vectors")
    return Sample(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))

"""Hits of a search: rows with a score, to be ranked and freed of the copies that overlapping tiles hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.sky import geometry


@dataclass(frozen=True)
class Hits:
    """N rows, column by column. ``tile`` is the number of the tile in the snapshot, ``row`` the row in its file."""

    score: NDArray[np.floating]
    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    tile: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: Any) -> Hits:
        return Hits(*(getattr(self, field.name)[index] for field in fields(self)))

    def best(self, count: int) -> Hits:
        """Return the ``count`` highest scores, best first.

        Ties are in the order of ids, then of tiles, so that answers repeat, whatever the order of the rows.
        """
        part = self
        if len(self) > count:
            # All rows that tie with the last place stay in, so that their ids decide among them.
            least = np.partition(self.score, len(self) - count)[len(self) - count]
            part = self[self.score >= least]
        return part[np.lexsort((part.row, part.tile, part.object_id, -part.score))[:count]]

    def unique(self, exclude: geometry.Circle | None = None) -> Hits:
        """Drop what lies in ``exclude``, and of the copies that several tiles hold all but the best."""
        dropped = np.zeros(len(self), bool)
        # Hits are best first, so the first of a pair is the better one. A copy that is dropped drops no other.
        for better, worse in geometry.close_pairs(self.ra, self.dec, geometry.SAME_OBJECT):
            if self.tile[better] != self.tile[worse] and not dropped[better]:
                dropped[worse] = True
        if exclude is not None:
            dropped |= exclude.contains(self.ra, self.dec)
        return self[~dropped]

    @staticmethod
    def join(parts: Sequence[Hits]) -> Hits:
        """Concatenate ``parts`` in order."""
        if not parts:
            floats = np.zeros(0)
            integers = np.zeros(0, np.int64)
            return Hits(np.zeros(0, np.float32), integers, floats, floats, integers, integers)
        return Hits(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Hits)))

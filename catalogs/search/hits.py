"""Found objects on their way to an answer: ranked, cut, and freed of the copies that overlapping tiles hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.sky import geometry


@dataclass(frozen=True)
class Hits:
    """N candidates, column by column. ``tile`` is a number in the searcher's list, ``row`` the row in its file."""

    score: NDArray[np.float32]
    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    tile: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, chosen: Any) -> Hits:
        return Hits(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def best(self, count: int) -> Hits:
        """The ``count`` most similar, best first; equals in the order of their ids, so that answers repeat."""
        part = self
        if len(self) > count:
            least = np.partition(self.score, len(self) - count)[len(self) - count]
            part = self[self.score >= least]
        return part[np.lexsort((part.object_id, -part.score))[:count]]

    def unique(self, besides: geometry.Circle | None = None) -> Hits:
        """Without the copies of one object in other tiles, the best one kept, and without what lies in ``besides``."""
        dropped = np.zeros(len(self), bool)
        for better, worse in geometry.close_pairs(self.ra, self.dec, geometry.SAME_OBJECT):
            if self.tile[better] != self.tile[worse] and not dropped[better]:
                dropped[worse] = True
        if besides is not None:
            dropped |= besides.contains(self.ra, self.dec)
        return self[~dropped]

    @staticmethod
    def joined(parts: Sequence[Hits]) -> Hits:
        """All of ``parts`` in order."""
        if not parts:
            floats = np.zeros(0)
            integers = np.zeros(0, np.int64)
            return Hits(np.zeros(0, np.float32), integers, floats, floats, integers, integers)
        return Hits(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Hits)))

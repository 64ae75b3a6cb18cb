"""The scorer of a ranking: by the vectors of objects, by the lens score that the catalogue has of them, or by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.ranking.methods import VectorScorer
from catalogs.search.examples import Examples
from catalogs.search.full_pass import Block
from catalogs.search.random_sample import Sample
from catalogs.store.scores import LENS_SCORE
from catalogs.store.vectors import Vectors

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Points:
    """What a scorer takes of objects: unit ``vectors`` [V, D] and lens ``score`` [V], NaN where there is none.

    ``owner`` [V] is the number of the object that a vector is of: one that was turned and mirrored has several.
    """

    vectors: Vectors
    score: Floats
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: NDArray[np.generic]) -> Points:
        return Points(self.vectors[index], self.score[index], self.owner[index])

    @property
    def objects(self) -> int:
        """Number of objects."""
        return len(np.unique(self.owner))

    @classmethod
    def of(cls, some: Examples | Sample) -> Points:
        """Take the points of examples or of a sample."""
        owner = some.owner if isinstance(some, Examples) else np.arange(len(some))
        return cls(some.vectors, some.score[owner], owner)


@dataclass(frozen=True)
class Scorer:
    """``factor`` times the score of the vectors (None: they do not count), ``weight`` times the lens score, ``offset``.

    Where the lens score has a weight, an object without one has no score: NaN. ``in_scatter`` are factor and weight in
    units of the scatter of what they multiply, for people to read.
    """

    by_vector: VectorScorer | None
    factor: float = 1.0
    weight: float = 0.0
    offset: float = 0.0
    in_scatter: tuple[float, float] = (1.0, 0.0)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the catalogue that it reads."""
        return (LENS_SCORE,) if self.weight else ()

    def __call__(self, points: Points) -> NDArray[np.float32]:
        """Score objects [V]."""
        return self.join(self.by_vector(points.vectors) if self.by_vector else 0.0, points.score)

    def score_block(self, block: Block) -> NDArray[np.float32]:
        """Score the rows [N] of a block, which has the ``columns``."""
        by_vector = block.scored(self.by_vector) if self.by_vector else 0.0
        return self.join(by_vector, block.column(LENS_SCORE) if self.weight else np.zeros(len(block)))

    def join(self, by_vector: Floats | float, lens_score: Floats) -> NDArray[np.float32]:
        """Join scores of the vectors with lens scores [N]."""
        # Without a weight a missing lens score does no harm: 0 times NaN would be NaN.
        by_score = self.weight * lens_score if self.weight else np.zeros(len(lens_score))
        return np.asarray(self.factor * by_vector + by_score + self.offset, np.float32)

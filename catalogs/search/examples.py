"""Examples to search and rank by: objects of a catalogue, spots and cutouts, with their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT
from catalogs.store import vectors
from catalogs.store.vectors import Vectors

NO_OBJECT = -1
_OF_EACH = ("name", "object_id", "ra", "dec", "tile", "score")


@dataclass(frozen=True)
class Example:
    """One example: what the user calls it, and its ``vector`` [D].

    ``object_id`` is None and ``tile`` empty for what is not an object of the catalogue. ``ra`` and ``dec``, in degrees,
    are None for a cutout. ``score`` is the model's log-odds of a lens, NaN where it gives none. ``pixels`` [B, S, S]
    is the cutout in nJy of an example that was embedded now.
    """

    name: str
    vector: Vectors
    ra: float | None = None
    dec: float | None = None
    object_id: int | None = None
    tile: str = ""
    score: float = float("nan")
    pixels: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Unmatched:
    """A position (degrees) or id without an example: what the user calls it, and the code of the reason."""

    name: str
    ra: float
    dec: float
    code: ErrorCode


@dataclass(frozen=True)
class Examples:
    """P examples, column by column, and their V unit vectors [V, D].

    Each has one vector, or several where its cutout was turned and mirrored; ``owner`` [V] is the number of the example
    that a vector belongs to. ``object_id`` is -1, and ``tile`` empty, for a spot that is no object of the catalogue.
    Positions are in degrees. ``score`` [P] is the model's log-odds of a lens, NaN where the model gives none.
    """

    name: NDArray[np.str_]
    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    tile: NDArray[np.str_]
    score: NDArray[np.float64]
    vectors: Vectors
    owner: NDArray[np.int64]
    unmatched: tuple[Unmatched, ...] = field(default=())

    @classmethod
    def of(cls, matches: Sequence[Example | Unmatched], dim: int) -> Examples:
        """Collect objects of a catalogue, each once; ``dim`` is the length of a vector."""
        objects: dict[int | None, Example] = {}
        for example in matches:
            if isinstance(example, Example):
                # Several positions may lead to one object; the first one names it.
                objects.setdefault(example.object_id, example)
        each = list(objects.values())
        unmatched = tuple(one for one in matches if isinstance(one, Unmatched))
        if not each:
            return replace(none(dim), unmatched=unmatched)
        columns = {name: np.array([getattr(example, name) for example in each]) for name in _OF_EACH}
        stacked = np.stack([example.vector for example in each])
        return cls(**columns, vectors=stacked, owner=np.arange(len(each)), unmatched=unmatched)

    def one(self, number: int) -> Example:
        """View one of them, with the first of its vectors."""
        identity = int(self.object_id[number])
        own = self.vectors[self.owner == number]
        return Example(
            name=str(self.name[number]),
            vector=own[0] if len(own) else np.full(self.vectors.shape[1], np.nan, np.float32),
            ra=float(self.ra[number]),
            dec=float(self.dec[number]),
            object_id=None if identity == NO_OBJECT else identity,
            tile=str(self.tile[number]),
            score=float(self.score[number]),
        )

    def __len__(self) -> int:
        return len(self.object_id)

    def __getitem__(self, index: NDArray[Any]) -> Examples:
        """Choose some, by bool [P] or indices, with all their vectors."""
        numbers = np.arange(len(self))[index]
        here = np.isin(self.owner, numbers)
        # ``place`` [P] leads from the number of an example to its number after the choice.
        place = np.full(len(self), -1)
        place[numbers] = np.arange(len(numbers))
        columns: dict[str, Any] = {name: getattr(self, name)[numbers] for name in _OF_EACH}
        return replace(self, **columns, vectors=self.vectors[here], owner=place[self.owner[here]])

    def near(self, ra: ArrayLike, dec: ArrayLike, radius: float = ONE_SYSTEM) -> NDArray[np.bool_]:
        """Tell which positions lie within ``radius`` degrees of an example."""
        return crossmatch.nearest(ra, dec, self.ra, self.dec, radius).matched

    def without(self, others: Examples, radius: float = SAME_OBJECT) -> Examples:
        """Drop those that are within ``radius`` degrees of one of ``others``."""
        return self[~others.near(self.ra, self.dec, radius)] if len(others) else self

    def join(self, others: Examples) -> Examples:
        """Join both; what is in both counts once."""
        more = others.without(self) if len(self) else others
        names = (*_OF_EACH, "vectors")
        columns: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in names}
        owner = np.concatenate([self.owner, more.owner + len(self)])
        return Examples(**columns, owner=owner, unmatched=self.unmatched + others.unmatched)

    def with_vectors(self, several: Vectors, owner: NDArray[np.int64]) -> Examples:
        """Give the examples other vectors [V, D]; ``owner`` [V] has the number of the example of each."""
        return replace(self, vectors=vectors.unit(several), owner=owner)


def none(dim: int) -> Examples:
    """Make an empty list of examples, of vectors with ``dim`` numbers."""
    text, places, ids = np.zeros(0, "<U1"), np.zeros(0), np.zeros(0, np.int64)
    return Examples(text, ids, places, places, text, places, np.zeros((0, dim), np.float32), ids)


def spot(name: str, ra: float, dec: float, vector: Vectors, score: float = float("nan")) -> Examples:
    """Make the one example of a spot that is not an object of the catalogue, with its ``vector`` [D] and score."""
    columns: dict[str, Any] = {"name": name, "object_id": NO_OBJECT, "ra": ra, "dec": dec, "tile": "", "score": score}
    each: dict[str, Any] = {key: np.array([value]) for key, value in columns.items()}
    unit = vectors.unit(np.asarray(vector, np.float32)[None])
    return Examples(**each, vectors=unit, owner=np.zeros(1, np.int64))

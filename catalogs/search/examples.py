"""Examples to rank by: positions matched to the objects of a catalogue, and their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode
from catalogs.search.hits import ONE_SYSTEM, SAME_OBJECT
from catalogs.sky import crossmatch
from catalogs.sky import geometry as sky
from catalogs.sky.geometry import Circle
from catalogs.store import rows, vectors
from catalogs.store.footers import Footer
from catalogs.store.row_filter import Where
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

NO_OBJECT = -1
MATCH_RADIUS = 3.0  # arcsec between a position asked for and the object that is meant
_OF_EACH = ("name", "object_id", "ra", "dec", "tile")
_PLACES = ("object_id", "ra", "dec", "tile", "is_primary")


@dataclass(frozen=True)
class Unmatched:
    """A position (degrees) that gave no example, what it was called, and the code of the reason."""

    name: str
    ra: float
    dec: float
    code: ErrorCode


@dataclass(frozen=True)
class Examples:
    """P examples and their V unit vectors [V, D]: one each, or several (turned and mirrored); ``owner`` [V] says whose.

    ``name``: what the user may know it by. ``object_id`` is -1, and ``tile`` empty, for a spot that is no object of
    the catalogue. Positions are in degrees.
    """

    name: NDArray[np.str_]
    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    tile: NDArray[np.str_]
    vectors: Vectors
    owner: NDArray[np.int64]
    unmatched: tuple[Unmatched, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.object_id)

    def __getitem__(self, chosen: NDArray[Any]) -> Examples:
        """Those that ``chosen`` (bool [P], or indices) names, with all their vectors."""
        kept = np.arange(len(self))[chosen]
        here = np.isin(self.owner, kept)
        place = np.full(len(self), -1)
        place[kept] = np.arange(len(kept))
        columns: dict[str, Any] = {name: getattr(self, name)[kept] for name in _OF_EACH}
        return replace(self, **columns, vectors=self.vectors[here], owner=place[self.owner[here]])

    def near(self, ra: ArrayLike, dec: ArrayLike, radius: float = ONE_SYSTEM) -> NDArray[np.bool_]:
        """Which positions lie within ``radius`` degrees of an example."""
        return crossmatch.nearest(ra, dec, self.ra, self.dec, radius).found

    def without(self, others: Examples, radius: float = SAME_OBJECT) -> Examples:
        """Those that are none of ``others``."""
        return self[~others.near(self.ra, self.dec, radius)] if len(others) else self

    def joined(self, others: Examples) -> Examples:
        """Both; what is in both counts once."""
        more = others.without(self) if len(self) else others
        names = (*_OF_EACH, "vectors")
        columns: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in names}
        owner = np.concatenate([self.owner, more.owner + len(self)])
        return Examples(**columns, owner=owner, unmatched=self.unmatched + others.unmatched)

    def seen_as(self, turned: Vectors, owner: NDArray[np.int64]) -> Examples:
        """The same examples with other vectors."""
        return replace(self, vectors=vectors.unit(turned), owner=owner)


def none(dim: int) -> Examples:
    """No example at all, of vectors with ``dim`` numbers."""
    text, places, ids = np.zeros(0, "<U1"), np.zeros(0), np.zeros(0, np.int64)
    return Examples(text, ids, places, places, text, np.zeros((0, dim), np.float32), ids)


def spot(name: str, ra: float, dec: float, vector: Vectors) -> Examples:
    """One example that is no object of the catalogue: a ``vector`` [D] of the spot itself."""
    place = np.array([ra]), np.array([dec])
    unit = vectors.unit(np.asarray(vector, np.float32)[None])
    return Examples(np.array([name]), np.array([NO_OBJECT]), *place, np.array([""]), unit, np.zeros(1, np.int64))


def match(
    catalogue: TileStore,
    ra: Sequence[float],
    dec: Sequence[float],
    radius: float = MATCH_RADIUS,
    names: Sequence[str] | None = None,
) -> Examples:
    """The object nearest to each position (degrees) within ``radius`` arcsec, each once; each tile is read once.

    Of the copies of an object that overlapping tiles hold, the primary one. Positions that are no object are in
    ``unmatched`` with the codes of ``search.example``; so are those that are no position (``sky.out_of_range``).
    """
    named = [str(number) for number in range(1, len(ra) + 1)] if names is None else list(names)
    asked = _Asked(np.asarray(ra, float), np.asarray(dec, float), radius * rows.ARCSEC)
    for footer, wanted in asked.by_tile(catalogue.footers()):
        asked.read(catalogue, footer, wanted)
    return asked.answer(catalogue, named)


def of_ids(catalogue: TileStore, names: Mapping[int, str]) -> Examples:
    """The objects with these ids, called by these names; an id that is not in the catalogue is ``unmatched``."""
    found: dict[int, _Object] = {}
    for footer in catalogue.footers():
        here = [identity for identity in names if footer.first_id <= identity <= footer.last_id]
        if here:
            for table in rows.tile_groups(catalogue, footer, ("object_id", "ra", "dec"), Selection(_ids(here))):
                columns = (table.column(name).to_pylist() for name in ("object_id", "ra", "dec"))
                for identity, ra, dec in zip(*columns, strict=True):
                    found[identity] = _Object(names[identity], ra, dec, footer.tile)
    missing = [one for one in names if one not in found]
    unmatched = [Unmatched(names[one], np.nan, np.nan, ErrorCode.QUERY_UNKNOWN_OBJECT) for one in missing]
    return _with_vectors(catalogue, found, unmatched)


@dataclass(frozen=True)
class _Object:
    name: str
    ra: float
    dec: float
    tile: str


class _Asked:
    """Positions, and the best object found for each so far: primary among copies, then the nearest."""

    def __init__(self, ra: NDArray[np.float64], dec: NDArray[np.float64], radius: float) -> None:
        self.ra, self.dec, self.radius = ra, dec, radius
        self.possible = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
        self.covered = np.zeros(len(ra), bool)
        self.found: list[list[tuple[float, bool, int, float, float, str]]] = [[] for _ in ra]

    def by_tile(self, footers: Sequence[Footer]) -> Iterator[tuple[Footer, NDArray[np.int64]]]:
        """Tiles that may hold some of the positions, and which."""
        places = np.flatnonzero(self.possible)
        for footer in footers:
            if footer.circle is None or not len(places):
                continue
            reach = footer.circle.radius + self.radius
            low, high = footer.circle.dec - reach, footer.circle.dec + reach
            close = places[(self.dec[places] >= low) & (self.dec[places] <= high)]
            cap = Circle(footer.circle.ra, footer.circle.dec, reach)
            if len(close) and len(inside := close[cap.contains(self.ra[close], self.dec[close])]):
                self.covered[inside] = True
                yield footer, inside

    def read(self, catalogue: TileStore, footer: Footer, wanted: NDArray[np.int64]) -> None:
        """Keep what one tile has near the positions ``wanted``."""
        from scipy.spatial import cKDTree

        for table in rows.tile_groups(catalogue, footer, _PLACES):
            columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in _PLACES}
            tree = cKDTree(sky.directions(columns["ra"], columns["dec"]))
            near: Any = tree.query_ball_point(sky.directions(self.ra[wanted], self.dec[wanted]), sky.chord(self.radius))
            for place, rows_there in zip(wanted, near, strict=True):
                for row in rows_there:
                    one_ra, one_dec = float(columns["ra"][row]), float(columns["dec"][row])
                    away = float(sky.separation(self.ra[place], self.dec[place], one_ra, one_dec))
                    identity, primary = int(columns["object_id"][row]), bool(columns["is_primary"][row])
                    self.found[place].append((away, primary, identity, one_ra, one_dec, footer.tile))

    def answer(self, catalogue: TileStore, names: Sequence[str]) -> Examples:
        chosen: dict[int, _Object] = {}
        unmatched = []
        for place, found in enumerate(self.found):
            if found:
                least = min(one[0] for one in found)
                copies = [one for one in found if one[0] <= least + SAME_OBJECT / 2]
                _, _, identity, ra, dec, tile = min(copies, key=lambda one: (not one[1], one[0]))
                chosen.setdefault(identity, _Object(names[place], ra, dec, tile))
            else:
                unmatched.append(
                    Unmatched(names[place], float(self.ra[place]), float(self.dec[place]), self._why(place))
                )
        return _with_vectors(catalogue, chosen, unmatched)

    def _why(self, place: int) -> ErrorCode:
        if not self.possible[place]:
            return ErrorCode.SKY_OUT_OF_RANGE
        return ErrorCode.QUERY_NO_OBJECT if self.covered[place] else ErrorCode.QUERY_OUTSIDE_COVERAGE


def _with_vectors(catalogue: TileStore, chosen: Mapping[int, _Object], unmatched: list[Unmatched]) -> Examples:
    """The objects with their vectors; those without a sound one join the unmatched."""
    found = _embeddings(catalogue, chosen)
    kept = [identity for identity in chosen if identity in found]
    lost = [one for identity, one in chosen.items() if identity not in found]
    unmatched = [*unmatched, *(Unmatched(one.name, one.ra, one.dec, ErrorCode.QUERY_NO_EMBEDDING) for one in lost)]
    if not kept:
        return replace(none(catalogue.info.dim), unmatched=tuple(unmatched))
    name, ra, dec, tile = (np.array([getattr(chosen[one], f) for one in kept]) for f in ("name", "ra", "dec", "tile"))
    unit = vectors.unit(np.stack([found[one] for one in kept]))
    return Examples(name, np.array(kept, np.int64), ra, dec, tile, unit, np.arange(len(kept)), tuple(unmatched))


def _embeddings(catalogue: TileStore, chosen: Mapping[int, _Object]) -> dict[int, Vectors]:
    """Sound embeddings by object id, each tile read once."""
    by_tile: dict[str, list[int]] = {}
    for identity, one in chosen.items():
        by_tile.setdefault(one.tile, []).append(identity)
    found: dict[int, Vectors] = {}
    for footer in catalogue.footers() if by_tile else []:
        if footer.tile in by_tile:
            wanted = Selection(_ids(by_tile[footer.tile]))
            for table in rows.tile_groups(catalogue, footer, ["object_id", EMBEDDING], wanted):
                embedding = vectors.from_arrow(table.column(EMBEDDING))
                sound = vectors.sound(embedding)
                found |= dict(zip(table.column("object_id").to_numpy()[sound].tolist(), embedding[sound], strict=True))
    return found


def _ids(identities: list[int]) -> Where:
    return Where("object_id", pc.field("object_id").isin(identities), ("object_id",), None)

"""Neighbours of a vector: the objects whose embeddings point the same way, by cosine of the stored vectors.

Up to ``candidates.EXACT_NUMBERS`` (two million rows of 192 dimensions) everything is compared: tiles that the index
vouches for in its memory map of half-precision vectors (0.1 CPU-seconds a million rows), others as they are decoded
(2.0 CPU-seconds). Above it, the index's engine is asked (about 10 CPU-milliseconds a shard of a million rows) and its
candidates ranked again exactly. A region or a filter is worked out first. Where it leaves few rows of a shard, those
are compared; else the engine is asked for as many more as will be dropped. Thousands of neighbours are found exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import examples
from catalogs.search import full_pass as passes
from catalogs.search.candidates import Candidates
from catalogs.search.examples import MATCH_RADIUS, Unmatched
from catalogs.search.hits import ONE_SYSTEM, Hits
from catalogs.sky import geometry as sky
from catalogs.store import rows, vectors
from catalogs.store import tile_reader as reading
from catalogs.store.footers import Footer
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store.tile_store import TileStore


@dataclass(frozen=True)
class Example:
    """An object as a question: ``ra``, ``dec`` in degrees, ``vector`` its embedding [D], of length 1."""

    object_id: int
    ra: float
    dec: float
    vector: Vectors


def neighbours(
    catalogue: TileStore,
    vector: NDArray[Any],
    k: int = 10,
    *,
    exclude: int | None = None,
    near: tuple[float, float, float] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """The ``k`` objects most like ``vector`` [D], best first: ``rank`` (from 1), ``similarity`` (cosine), the columns.

    Copies of one object in overlapping tiles (within 1 arcsec) count once, the best of them. ``exclude`` leaves out an
    object, its copies and its pieces (all within 3 arcsec); ``near`` (ra, dec in degrees, radius in arcsec) and
    ``where`` restrict. Rows without a sound embedding are never found. ``meta`` of the table says how many rows were
    compared (``rows_exact``) and how many Annoy answered for (``rows_indexed``). Raises ``ScannerError``
    ``query.bad_vector``, ``query.bad_k``, ``index.*``, ``catalogue.changing``.
    """
    excluded = [exclude]
    return neighbours_of_many(
        catalogue, np.asarray(vector)[None], k, exclude=excluded, near=near, where=where, columns=columns
    )[0]


def neighbours_of_many(
    catalogue: TileStore,
    queries: NDArray[Any],
    k: int = 10,
    *,
    exclude: Sequence[int | None] | None = None,
    near: tuple[float, float, float] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
) -> list[Table]:
    """``neighbours`` of each row of ``queries`` [Q, D], reading the catalogue once for all of them."""
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{k} neighbours cannot be found.", "Ask for one or more.")
    directions = _directions(queries, catalogue.info.dim)
    names = reading.checked_columns(columns, catalogue.schema)
    chosen = rows.selection(catalogue, where, near)
    besides = [_excluded(catalogue, one) for one in exclude or [None] * len(directions)]

    def answer(footers: Sequence[Footer]) -> list[Table]:
        search = Candidates(catalogue, footers, directions, chosen)
        count = 4 * k + 64
        while True:
            found = search.best(count)
            unique = [hits.unique(beside) for hits, beside in zip(found, besides, strict=True)]
            if all(len(u) >= k or len(f) < count for u, f in zip(unique, found, strict=True)):
                return [_answer(catalogue, search, hits[:k], names) for hits in unique]
            count *= 8  # so many copies that too few objects are left

    return passes.steady(catalogue, chosen, answer)


def example(
    catalogue: TileStore,
    *,
    ra: float | None = None,
    dec: float | None = None,
    object_id: int | None = None,
    radius: float = MATCH_RADIUS,
) -> Example:
    """The object of this id, or the one nearest to a position (degrees) within ``radius`` arcsec, as a question.

    Of the copies of an object that overlapping tiles hold, the primary one. Raises ``ScannerError``:
    ``query.unknown_object``, ``query.outside_coverage`` (no tile is there), ``query.no_object`` (a tile, but no object
    there), ``query.no_embedding``.
    """
    if object_id is not None:
        found = examples.of_ids(catalogue, {object_id: str(object_id)})
    elif ra is not None and dec is not None:
        found = examples.match(catalogue, [ra], [dec], radius)
    else:
        raise TypeError("example() takes ra and dec, or object_id")
    if found.unmatched:
        raise _unanswered(catalogue, found.unmatched[0], object_id, radius)
    return Example(int(found.object_id[0]), float(found.ra[0]), float(found.dec[0]), found.vectors[0])


def _unanswered(catalogue: TileStore, missing: Unmatched, object_id: int | None, radius: float) -> ScannerError:
    """Why an object or a position is no question."""
    place = f"ra {missing.ra:.6f}, dec {missing.dec:+.6f}"
    named = f"Object {object_id}" if object_id is not None else f"The object at {place}"
    message, hint = {
        ErrorCode.QUERY_UNKNOWN_OBJECT: (
            f"The catalogue {catalogue.path} has no object {object_id}.",
            "Ask by position instead: the object that is nearest is taken.",
        ),
        ErrorCode.QUERY_OUTSIDE_COVERAGE: (
            f"No tile of the catalogue {catalogue.path} is at {place}.",
            "Scan the tile that covers it first, or ask elsewhere.",
        ),
        ErrorCode.QUERY_NO_OBJECT: (
            f"The catalogue {catalogue.path} has no object within {radius} arcsec of {place}.",
            "Widen the radius, or have the spot itself embedded from its tile.",
        ),
        ErrorCode.QUERY_NO_EMBEDDING: (
            f"{named} has no embedding: there is no data in its window.",
            "Ask for another object.",
        ),
        ErrorCode.SKY_OUT_OF_RANGE: (
            f"{place} is no position on the sky.",
            "Give ra from 0 to 360 and dec from -90 to 90, in degrees.",
        ),
    }[missing.code]
    return ScannerError(missing.code, message, hint)


def _directions(queries: NDArray[Any], dim: int) -> Vectors:
    given = np.asarray(queries, np.float32)
    if given.ndim != 2 or given.shape[1] != dim:
        message = f"A vector of shape {given.shape[1:]} is no embedding of this catalogue, which have {dim} numbers."
        raise ScannerError(
            ErrorCode.QUERY_BAD_VECTOR, message, "Embed the query with the model that made the catalogue."
        )
    if not vectors.sound(given).all():
        message = "A vector that is zero or not finite has no direction, so nothing is like it."
        raise ScannerError(ErrorCode.QUERY_BAD_VECTOR, message, "Ask with an object or a cutout that holds data.")
    return vectors.unit(given)


def _excluded(catalogue: TileStore, object_id: int | None) -> sky.Circle | None:
    """Where an object, its copies and its pieces lie."""
    if object_id is None:
        return None
    found = rows.by_id(catalogue, object_id, ("ra", "dec"))
    return sky.Circle(found.column("ra")[0].as_py(), found.column("dec")[0].as_py(), ONE_SYSTEM)


def _answer(catalogue: TileStore, search: Candidates, hits: Hits, columns: Sequence[str]) -> Table:
    table = reading.to_astropy(passes.rows_of(catalogue, search.footers, hits, columns))
    table.add_column(np.arange(1, len(hits) + 1), name="rank", index=0)
    table.add_column(np.minimum(hits.similarity, 1), name="similarity", index=1)
    table["rank"].description = "Place in the order of similarity, from 1"
    table["similarity"].description = "Cosine of the embeddings"
    table.meta = {"rows_exact": search.exactly, "rows_indexed": search.by_index}
    return table

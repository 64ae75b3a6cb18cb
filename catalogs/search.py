"""Neighbours of a vector: the objects whose embeddings point the same way, by cosine of the stored vectors.

Up to ``candidates.EXACT_NUMBERS`` (two million rows of 192 dimensions) everything is compared: tiles that the index
vouches for in its memory map of half-precision vectors (0.1 CPU-seconds a million rows), others as they are decoded
(2.0 CPU-seconds). Above it, the index's engine is asked (1 to 2 ms a shard of a million rows) and its
candidates ranked again exactly. A region or a filter is worked out first. Where it leaves few rows of a shard, those
are compared; else the engine is asked for as many more as will be dropped. Thousands of neighbours are found exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs import passes, reading, rows, sky, vectors
from catalogs.candidates import Candidates
from catalogs.errors import ScannerError
from catalogs.examples import MATCH_RADIUS
from catalogs.hits import SAME_OBJECT, Hits
from catalogs.schema import EMBEDDING
from catalogs.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store import Catalogue


@dataclass(frozen=True)
class Example:
    """An object of the catalogue, as a question: ``ra``, ``dec`` in degrees, ``vector`` its embedding [D]."""

    object_id: int
    ra: float
    dec: float
    vector: Vectors


def neighbours(
    catalogue: Catalogue,
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
    ``query.bad_vector``, ``query.bad_k``, ``index.*``.
    """
    excluded = [exclude]
    return neighbours_of_many(
        catalogue, np.asarray(vector)[None], k, exclude=excluded, near=near, where=where, columns=columns
    )[0]


def neighbours_of_many(
    catalogue: Catalogue,
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
        raise ScannerError("query.bad_k", f"{k} neighbours cannot be found.", "Ask for one or more.")
    directions = _directions(queries, catalogue.info.dim)
    names = reading.checked_columns(columns, catalogue.schema)
    search = Candidates(catalogue, directions, rows.selection(catalogue, where, near))
    besides = [_excluded(catalogue, search, one) for one in exclude or [None] * len(directions)]
    count = 4 * k + 64
    while True:
        found = search.best(count)
        unique = [hits.unique(beside) for hits, beside in zip(found, besides, strict=True)]
        if all(len(u) >= k or len(f) < count for u, f in zip(unique, found, strict=True)):
            return [_answer(catalogue, search, hits[:k], names) for hits in unique]
        count *= 8  # so many copies that too few objects are left


def example(
    catalogue: Catalogue,
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
        found = rows.by_id(catalogue, object_id, passes.COLUMNS)
    elif ra is not None and dec is not None:
        found = _at(catalogue, ra, dec, radius)
    else:
        raise TypeError("example() takes ra and dec, or object_id")
    embedding = vectors.from_arrow(found.column(EMBEDDING))
    first = {name: found.column(name)[0].as_py() for name in ("object_id", "ra", "dec")}
    if not vectors.sound(embedding)[0]:
        raise ScannerError(
            "query.no_embedding",
            f"Object {first['object_id']} has no embedding: there is no data in its window.",
            "Ask for another object.",
        )
    return Example(**first, vector=embedding[0])


def _at(catalogue: Catalogue, ra: float, dec: float, radius: float) -> pa.Table:
    region = rows.region(ra, dec, radius)
    if not catalogue.footers(region):
        raise ScannerError(
            "query.outside_coverage",
            f"No tile of the catalogue {catalogue.path} is at ra {ra:.6f}, dec {dec:+.6f}.",
            "Scan the tile that covers it first, or ask elsewhere.",
        )
    found = [
        table for _, table in rows.scan(catalogue, [*passes.COLUMNS, "is_primary"], reading.Selection(near=region))
    ]
    if not found:
        raise ScannerError(
            "query.no_object",
            f"The catalogue {catalogue.path} has no object within {radius} arcsec of ra {ra:.6f}, dec {dec:+.6f}.",
            "Widen the radius, or have the spot itself embedded from its tile.",
        )
    table = pa.concat_tables(found)
    away = sky.separation(ra, dec, table.column("ra").to_numpy(), table.column("dec").to_numpy())
    copies = away <= away.min() + SAME_OBJECT / 2
    primary = table.column("is_primary").to_numpy()
    return table.take([int(np.lexsort((away, ~primary, ~copies))[0])])


def _directions(queries: NDArray[Any], dim: int) -> Vectors:
    given = np.asarray(queries, np.float32)
    if given.ndim != 2 or given.shape[1] != dim:
        message = f"A vector of shape {given.shape[1:]} is no embedding of this catalogue, which have {dim} numbers."
        raise ScannerError("query.bad_vector", message, "Embed the query with the model that made the catalogue.")
    if not vectors.sound(given).all():
        message = "A vector that is zero or not finite has no direction, so nothing is like it."
        raise ScannerError("query.bad_vector", message, "Ask with an object or a cutout that holds data.")
    return vectors.unit(given)


def _excluded(catalogue: Catalogue, search: Candidates, object_id: int | None) -> Hits | None:
    if object_id is None:
        return None
    found = rows.by_id(catalogue, object_id, ("object_id", "ra", "dec", "tile"))
    identity, ra, dec = (found.column(name).to_numpy() for name in ("object_id", "ra", "dec"))
    tile = np.array([search.numbers.get(found.column("tile")[0].as_py(), -1)])
    return Hits(np.ones(1, np.float32), identity, ra, dec, tile, found.column(reading.ROW).to_numpy())


def _answer(catalogue: Catalogue, search: Candidates, hits: Hits, columns: Sequence[str]) -> Table:
    table = reading.to_astropy(passes.rows_of(catalogue, search.footers, hits, columns))
    table.add_column(np.arange(1, len(hits) + 1), name="rank", index=0)
    table.add_column(np.minimum(hits.similarity, 1), name="similarity", index=1)
    table["rank"].description = "Place in the order of similarity, from 1"
    table["similarity"].description = "Cosine of the embeddings"
    table.meta = {"rows_exact": search.exactly, "rows_indexed": search.by_index}
    return table

"""Neighbours of a vector: the objects whose embeddings point the same way, by cosine of the stored vectors.

Up to ``candidates.EXACT_NUMBERS`` (two million rows of 192 dimensions) everything is compared: tiles that the index
vouches for in its memory map of half-precision vectors (0.1 CPU-seconds a million rows), others as they are decoded
(2.0 CPU-seconds). Above it, the index's engine is asked (about 10 CPU-milliseconds a shard of a million rows) and its
candidates ranked again exactly. A region or a filter is worked out first. Where it leaves few rows of a shard, those
are compared; else the engine is asked for as many more as will be dropped. Thousands of neighbours are found exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import full_pass
from catalogs.search.candidates import Candidates
from catalogs.search.examples import Example
from catalogs.search.hits import Hits
from catalogs.sky.geometry import ONE_SYSTEM, Circle
from catalogs.store import rows, tile_reader, vectors
from catalogs.store.tile_store import Snapshot
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table


def neighbours(
    snapshot: Snapshot,
    vector: NDArray[Any],
    k: int = 10,
    *,
    exclude: Circle | None = None,
    near: tuple[float, float, float] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """The ``k`` objects most like ``vector`` [D], best first: ``rank`` (from 1), ``similarity`` (cosine), the columns.

    Copies of one object in overlapping tiles (within 1 arcsec) count once, the best of them. ``exclude`` leaves out
    what lies in a circle, such as ``around`` an object, its copies and its pieces; ``near`` (ra, dec in degrees, radius
    in arcsec) and ``where`` restrict. Rows without a sound embedding are never found. ``meta`` of the table says how
    many rows were compared (``rows_exact``) and how many Annoy answered for (``rows_indexed``). Raises ``ScannerError``
    ``query.bad_vector``, ``query.bad_k``, ``index.*``, ``catalogue.changing``.
    """
    return neighbours_of_many(
        snapshot, np.asarray(vector)[None], k, exclude=[exclude], near=near, where=where, columns=columns
    )[0]


def neighbours_of_many(
    snapshot: Snapshot,
    queries: NDArray[Any],
    k: int = 10,
    *,
    exclude: Sequence[Circle | None] | None = None,
    near: tuple[float, float, float] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
) -> list[Table]:
    """``neighbours`` of each row of ``queries`` [Q, D], reading the catalogue once for all of them."""
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{k} neighbours cannot be found.", "Ask for one or more.")
    directions = _directions(queries, snapshot.catalogue.info.dim)
    names = tile_reader.checked_columns(columns, snapshot.catalogue.schema)
    chosen = rows.selection(snapshot.catalogue, where, near)
    besides = exclude or [None] * len(directions)

    def answer(current: Snapshot) -> list[Table]:
        search = Candidates(current, directions, chosen)
        count = 4 * k + 64
        while True:
            found = search.best(count)
            unique = [hits.unique(beside) for hits, beside in zip(found, besides, strict=True)]
            if all(len(u) >= k or len(f) < count for u, f in zip(unique, found, strict=True)):
                return [_answer(search, hits[:k], names) for hits in unique]
            count *= 8  # so many copies that too few objects are left

    return full_pass.steady(snapshot, chosen, answer)


def around(example: Example) -> Circle | None:
    """Say where an object of the catalogue lies with its copies and its pieces; None for any other example."""
    if example.object_id is None or example.ra is None or example.dec is None:
        return None
    return Circle(example.ra, example.dec, ONE_SYSTEM)


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


def _answer(search: Candidates, hits: Hits, columns: Sequence[str]) -> Table:
    table = tile_reader.to_astropy(full_pass.rows_of(search.snapshot, hits, columns))
    table.add_column(np.arange(1, len(hits) + 1), name="rank", index=0)
    table.add_column(np.minimum(hits.score, 1), name="similarity", index=1)
    table["rank"].description = "Place in the order of similarity, from 1"
    table["similarity"].description = "Cosine of the embeddings"
    table.meta = {"rows_exact": search.exactly, "rows_indexed": search.by_index}
    return table

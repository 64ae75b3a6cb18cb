"""Neighbours of a vector: the objects with the most similar embeddings, by the cosine of the stored vectors.

Up to ``candidates.EXACT_NUMBERS`` a vector is compared with all rows. Tiles that the index covers are compared in its
memory map of half-precision vectors, the others as they are decoded. Above that limit the engine of the index gives
candidates, which are ranked again exactly. A region or a filter is evaluated first. Where few rows of a shard pass it,
those are compared; else the engine is asked for as many more candidates as the filter will drop.
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
from catalogs.store.backend import Snapshot

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
    """Find the ``k`` objects most like ``vector`` [D], best first.

    The columns are ``rank`` (from 1), ``similarity`` (the cosine) and those of the catalogue. Copies of one object in
    overlapping tiles (within 1 arcsec) count once, the best of them. Rows without a finite embedding are never found.
    ``exclude`` leaves out what lies in a circle, such as ``around`` an object. ``near`` (ra, dec in degrees, radius in
    arcsec) and ``where`` restrict the answer. ``meta`` of the table has the number of rows that were compared
    (``rows_exact``) and of those that the index answered for (``rows_indexed``).

    Raises:
        ScannerError: ``query.bad_vector``, ``query.bad_k``, ``where.*``, ``index.*``, ``catalogue.changing``.
    """
    several = np.asarray(vector)[None]
    return neighbours_of_many(snapshot, several, k, exclude=[exclude], near=near, where=where, columns=columns)[0]


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
    """Find the ``neighbours`` of each row of ``queries`` [Q, D], reading the catalogue once for all of them."""
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"The number of neighbours must be at least 1, not {k}.", "Raise k.")
    queries, dim = np.asarray(queries, np.float32), snapshot.catalogue.info.dim
    if queries.ndim != 2 or queries.shape[1] != dim:
        message = f"Embeddings of this catalogue have {dim} numbers; the vector has the shape {queries.shape[1:]}."
        hint = "Embed the query with the model that made the catalogue."
        raise ScannerError(ErrorCode.QUERY_BAD_VECTOR, message, hint)
    if not vectors.sound(queries).all():
        message = "A vector that is zero or not finite has no direction and no neighbours."
        raise ScannerError(ErrorCode.QUERY_BAD_VECTOR, message, "Ask with an object or a cutout that has data.")
    names = tile_reader.check_columns(columns, snapshot.catalogue.schema)
    selection = rows.selection(snapshot.catalogue, where, near)
    circles = exclude or [None] * len(queries)

    def search(current: Snapshot) -> list[Table]:
        candidates = Candidates(current, vectors.unit(queries), selection)
        # Copies and what is excluded drop out below, so more candidates than k are needed. In rare cases these are not
        # enough, and the search is repeated for more.
        count = 4 * k + 64
        while True:
            best = candidates.best(count)
            unique = [hits.unique(circle) for hits, circle in zip(best, circles, strict=True)]
            if all(len(some) >= k or len(every) < count for some, every in zip(unique, best, strict=True)):
                return _tables(candidates, [hits[:k] for hits in unique], names)
            count *= 8

    return full_pass.steady(snapshot, selection, search)


def around(example: Example) -> Circle | None:
    """Make the circle that holds an object of the catalogue, its copies and its pieces; None for any other example."""
    if example.object_id is None or example.ra is None or example.dec is None:
        return None
    return Circle(example.ra, example.dec, ONE_SYSTEM)


def _tables(candidates: Candidates, answers: Sequence[Hits], columns: Sequence[str]) -> list[Table]:
    """Read the rows of all answers together, and make a table of each."""
    rows_of_all = full_pass.rows_of(candidates.snapshot, Hits.join(answers), columns)
    tables, start = [], 0
    for hits in answers:
        table = tile_reader.to_astropy(rows_of_all.slice(start, len(hits)))
        start += len(hits)
        table.add_column(np.arange(1, len(hits) + 1), name="rank", index=0)
        # Rounding may take a cosine beyond 1.
        table.add_column(np.minimum(hits.score, 1), name="similarity", index=1)
        table["rank"].description = "Place in the order of similarity, from 1"
        table["similarity"].description = "Cosine of the embeddings"
        table.meta = {"rows_exact": candidates.exactly, "rows_indexed": candidates.by_index}
        tables.append(table)
    return tables

"""Objects in the order of a column, or in a random order that a seed repeats: what to look at without an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import ranges
from catalogs.search import full_pass
from catalogs.search.hits import Hits
from catalogs.store import rows, tile_reader
from catalogs.store.backend import Snapshot
from catalogs.store.schema import EMBEDDING

if TYPE_CHECKING:
    from astropy.table import Table


def ordered(
    snapshot: Snapshot,
    column: str | None,
    k: int,
    *,
    descending: bool = False,
    seed: int = 0,
    near: tuple[float, float, float] | None = None,
    where: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """List the first ``k`` objects in the order of ``column``; without one in a random order, which ``seed`` decides.

    Copies of one object in overlapping tiles count once; rows without a value are left out. ``near``, ``where`` and
    ``columns`` are those of ``neighbours``.

    Raises:
        ScannerError: ``query.bad_k``, ``column.unknown``, ``column.not_numbers``, ``where.*``, ``sky.out_of_range``,
            ``catalogue.changing``.
    """
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"The number of objects must be at least 1, not {k}.", "Raise k.")
    names = tile_reader.check_columns(columns, snapshot.catalogue.schema)
    if column is not None:
        _check(snapshot, column)
    selection = rows.selection(snapshot.catalogue, where, near)
    needed = list(dict.fromkeys([*full_pass.COLUMNS, *([column] if column else [])]))

    def answer(current: Snapshot) -> Table:
        # Copies on the sky drop out below, so more rows than k are needed.
        count = 2 * k + 64
        while True:
            best = Hits.join([])
            ruled_out = ranges.rule_out(current.catalogue, current.footers, selection)
            for number, footer in enumerate(current.footers):
                if footer.tile in ruled_out:
                    continue
                for table in rows.tile_groups(current, footer, needed, selection):
                    best = Hits.join([best, _hits(table, number, column, descending, seed)]).best(count)
            hits = best.unique()
            if len(hits) >= k or len(best) < count:
                return tile_reader.to_astropy(full_pass.rows_of(current, hits[:k], names))
            count *= 4

    return full_pass.steady(snapshot, selection, answer)


def _check(snapshot: Snapshot, column: str) -> None:
    tile_reader.check_columns([column], snapshot.catalogue.schema)
    kind = snapshot.catalogue.schema.field(column).type
    if column == EMBEDDING or not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    ):
        message = f"The column {column} holds no numbers, so it gives objects no order."
        raise ScannerError(ErrorCode.COLUMN_NOT_NUMBERS, message, "Order by a column of numbers, such as mag_auto.")


def _hits(table: pa.Table, tile: int, column: str | None, descending: bool, seed: int) -> Hits:
    identity, ra, dec, row = (table.column(name).to_numpy() for name in (*full_pass.COLUMNS, tile_reader.ROW))
    if column is None:
        scores = _shuffle(identity, seed)
    else:
        values = table.column(column).to_numpy(zero_copy_only=False).astype(np.float64)
        scores = values if descending else -values
    known = np.isfinite(scores)
    return Hits(scores, identity, ra, dec, np.full(len(row), tile), row)[known]


def _shuffle(identity: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Make a number in [0, 1) of each id, which depends on nothing else but the seed.

    Source: Steele et al. (2014), Fast splittable pseudorandom number generators (the mixer of SplitMix64).
    """
    with np.errstate(over="ignore"):
        mixed = identity.astype(np.uint64) + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)

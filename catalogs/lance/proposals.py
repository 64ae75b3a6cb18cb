"""Rows that the index of a Lance dataset proposes, and those that pass a filter when they are few."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.lance import filter_sql, library
from catalogs.lance.filter_sql import SqlFilter
from catalogs.store import rows
from catalogs.store.backend import Proposals, Snapshot
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import ROW, Selection
from catalogs.store.vectors import Vectors, along, from_arrow

log = logging.getLogger(__name__)

FEW_ROWS = 20_000
"""Rows that pass a filter, up to which all are proposed."""
_LIGHT = ("object_id", "ra", "dec")
_ROW_ID = "_rowid"
_OFFSET_BITS = 32
_COUNTED = 256  # filters whose number of rows is remembered


@dataclass(frozen=True)
class SearchSettings:
    """How an index is asked: ``probes`` of its ``lists``, for ``refine`` times as many rows as are ranked.

    ``recall`` is the recall@10 that was measured with these, for the ``target`` that was asked for.
    """

    lists: int
    probes: int
    refine: int
    target: float
    recall: float


class Dataset(Protocol):
    """What proposals are made from: a ``LanceStore``."""

    objects: Any
    schema: pa.Schema
    starts: NDArray[np.int64]
    names: list[str]
    fragments: list[int]
    fragment_starts: NDArray[np.int64]

    def snapshot(self) -> Snapshot: ...

    def take(self, columns: Sequence[str], numbers: NDArray[np.int64]) -> pa.Table: ...

    def typed(self, table: pa.Table, columns: Sequence[str]) -> pa.Table: ...

    def start_of(self, tile: str) -> int: ...

    def places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...


@dataclass(frozen=True)
class _Passing:
    """The rows that pass a selection: how many, by a condition of Lance, or by their numbers in the dataset."""

    count: int
    sql: str | None = None
    numbers: NDArray[np.int64] | None = None


class Proposer:
    """Asks the index of a dataset. Threads may share it."""

    def __init__(self, store: Dataset, settings: SearchSettings) -> None:
        self._store, self._settings = store, settings
        self._total = int(store.fragment_starts[-1])
        self._counts: dict[str, int] = {}

    def propose(self, directions: Vectors, selection: Selection, count: int) -> Proposals:
        """Find rows that may be the ``count`` best of the selection, for unit vectors [Q, D]."""
        columns = [name for name in dict.fromkeys([*_LIGHT, *selection.columns()]) if name not in (EMBEDDING, "tile")]
        passing = self._passing(selection)
        if not selection.everything and passing.count <= max(FEW_ROWS, count):
            table = self._all(passing, columns)
            return Proposals([table] * len(directions), passing.count, 0)
        tables = [self._nearest(direction, passing, columns, count) for direction in directions]
        return Proposals(tables, 0, passing.count)

    def _passing(self, selection: Selection) -> _Passing:
        if selection.everything:
            return _Passing(self._total)
        if selection.near is not None:
            # The tiles that a region touches are read: few, as a rule.
            return self._by_number(_tile_rows(self._store, selection))
        assert selection.row_filter is not None
        condition = self._resolved(filter_sql.translate(selection.row_filter, self._store.schema))
        if condition.exact and condition.sql is not None:
            return _Passing(self._count(condition.sql), sql=condition.sql)
        # What Lance cannot evaluate, Arrow does, for the rows that pass the rest.
        names = list(selection.columns())
        found = [np.zeros(0, np.int64)]
        for batch in self._store.objects.to_batches(columns=names, filter=condition.sql, with_row_id=True):
            table = selection.row_filter.apply(pa.Table.from_batches([batch]))
            found.append(self._to_numbers(table.column(_ROW_ID).to_numpy()))
        return self._by_number(np.concatenate(found))

    def _resolved(self, condition: SqlFilter) -> SqlFilter:
        """The condition, or one that passes all rows where Lance cannot plan a search with it: Arrow then decides."""
        if condition.sql is None or condition.sql in self._counts:
            return condition
        try:
            # Planning reads no rows, so that an error is one of the filter and not of the dataset.
            self._store.objects.scanner(columns=[], with_row_id=True, filter=condition.sql).explain_plan()
        except Exception as error:  # noqa: BLE001  (Lance raises many kinds)
            log.warning("Lance cannot evaluate a filter, which is evaluated on all rows instead: %s", error)
            return SqlFilter(None, exact=False)
        return condition

    def _by_number(self, numbers: NDArray[np.int64]) -> _Passing:
        return _Passing(len(numbers), numbers=np.sort(numbers))

    def _count(self, sql: str) -> int:
        # The dataset does not change, so a filter is counted once.
        if sql not in self._counts:
            if len(self._counts) >= _COUNTED:
                self._counts.clear()
            self._counts[sql] = self._store.objects.count_rows(filter=sql)
        return self._counts[sql]

    def _all(self, passing: _Passing, columns: list[str]) -> pa.Table:
        if passing.numbers is None:
            names = [*columns, EMBEDDING]
            table = self._store.objects.to_table(columns=names, filter=passing.sql, with_row_id=True)
            return self._placed(self._store.typed(table, names), self._to_numbers(table.column(_ROW_ID).to_numpy()))
        return self._placed(self._store.take([*columns, EMBEDDING], passing.numbers), passing.numbers)

    def _nearest(self, direction: Vectors, passing: _Passing, columns: list[str], count: int) -> pa.Table:
        """Propose the ``count`` rows nearest by their vectors of those that the index finds.

        The vectors of all of these are read, the other columns of the nearest alone: to read some numbers of a column
        takes longer than the search in the index.
        """
        settings = self._settings
        # A filter drops rows of the nearest lists, so more lists are asked.
        share = passing.count / self._total
        probes = min(settings.lists, math.ceil(settings.probes / math.sqrt(share)))
        wanted = min(count * settings.refine, passing.count)
        chosen: dict[str, Any] = {}
        if passing.numbers is not None:
            chosen["row_addr_allowlist"] = library.serialise_addresses(self._to_row_ids(passing.numbers))
        elif passing.sql is not None:
            chosen = {"filter": passing.sql, "prefilter": True}

        def ask(lists: int) -> pa.Table:
            scanner = self._store.objects.scanner(
                columns=[EMBEDDING],
                # As a number, and not as a minimum: from that, Lance would choose more by a rule of its own.
                nearest={"column": EMBEDDING, "q": direction, "k": wanted, "nprobes": lists},
                with_row_id=True,
                disable_scoring_autoprojection=True,
                **chosen,
            )
            return scanner.to_table()

        table = ask(probes)
        # These lists may hold too few rows, above all of those that pass a filter.
        if table.num_rows < wanted and probes < settings.lists:
            table = ask(settings.lists)
        numbers = self._to_numbers(table.column(_ROW_ID).to_numpy())
        vectors = self._store.typed(table, [EMBEDDING])
        best = _best(from_arrow(vectors.column(0)), direction, numbers, count)
        light = self._store.take(columns, numbers[best])
        return self._placed(light.append_column(vectors.field(0), vectors.take(best).column(0)), numbers[best])

    def _placed(self, table: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
        """Add the tile of each row, and its number there."""
        tile, row = self._store.places(numbers)
        names = pa.array([self._store.names[number] for number in tile], pa.string())
        return table.append_column("tile", names).append_column(ROW, pa.array(row))

    def _to_numbers(self, row_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Turn Lance's addresses (fragment and offset) into numbers in the dataset."""
        addresses = row_ids.astype(np.int64)
        fragment = np.searchsorted(self._store.fragments, addresses >> _OFFSET_BITS)
        return np.asarray(self._store.fragment_starts[fragment] + (addresses & (2**_OFFSET_BITS - 1)), np.int64)

    def _to_row_ids(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        fragment = np.searchsorted(self._store.fragment_starts, numbers, side="right") - 1
        offsets = numbers - self._store.fragment_starts[fragment]
        ids = np.asarray(self._store.fragments, np.int64)[fragment]
        return ((ids << _OFFSET_BITS) + offsets).astype(np.uint64)


def _best(vectors: Vectors, direction: Vectors, numbers: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Choose the ``count`` rows [N, D] of the largest cosine with a unit vector; equal ones by their numbers [N]."""
    exact: NDArray[np.float64] = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = along(exact, direction.astype(np.float64)) / np.linalg.norm(exact, axis=1)
    # Rows without a direction come last.
    return np.lexsort((numbers, -np.nan_to_num(cosine, nan=-np.inf)))[:count]


def _tile_rows(store: Dataset, selection: Selection) -> NDArray[np.int64]:
    """Read which rows pass a selection from the tiles that its region touches: their numbers in the dataset."""
    found = [np.zeros(0, np.int64)]
    part = store.snapshot().touching(selection.near)
    for footer in part.footers:
        for table in rows.read_groups(part, footer, ("object_id",), selection):
            found.append(table.column(ROW).to_numpy() + store.start_of(footer.tile))
    return np.concatenate(found)

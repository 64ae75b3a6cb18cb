"""A pass over all vectors of a catalogue: a few tiles at a time, with one row group of each in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import ranges
from catalogs.search.hits import Hits
from catalogs.search.tile_pass import HERE, Executor
from catalogs.store import rows, tile_reader
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

log = logging.getLogger(__name__)

COLUMNS = ("object_id", "ra", "dec")
ATTEMPTS = 3
_MOST_OF_IT = 0.8  # share of a row group above which all of it is scored
CHANGING = ErrorCode.CATALOGUE_CHANGING

Answer = TypeVar("Answer")
Scores = Callable[[Vectors, NDArray[np.float32]], NDArray[np.floating]]
"""Scores vectors [N, D] of these lengths [N]."""


@dataclass(frozen=True)
class Block:
    """N selected rows of one row group that have a direction, and their columns.

    ``group`` [M, D] are all vectors of the row group, ``lengths`` [M] their lengths, and ``here`` [N] the numbers of
    the selected rows among them. ``tile`` is the number of the tile in the snapshot.
    """

    tile: int
    group: Vectors
    lengths: NDArray[np.float32]
    here: NDArray[np.int64]
    table: pa.Table

    def __len__(self) -> int:
        return len(self.here)

    def scored(self, scores: Scores) -> NDArray[np.floating]:
        """Score the rows [N]. All of the group is scored unless few rows are selected: to copy those costs more."""
        if len(self) < _MOST_OF_IT * len(self.group):
            return scores(self.group[self.here], self.lengths[self.here])
        # Rows without a direction are scored too, and dropped.
        with np.errstate(all="ignore"):
            return scores(self.group, self.lengths)[self.here]

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the rows [N]."""
        values: NDArray[Any] = self.table.column(name).to_numpy()
        return values

    def best(self, scores: NDArray[np.floating], count: int) -> Hits:
        """Return the ``count`` rows that score highest; a score that is not finite never does."""
        finite = np.isfinite(scores)
        identity, ra, dec, row = (self.column(name)[finite] for name in ("object_id", "ra", "dec", tile_reader.ROW))
        tile = np.full(len(row), self.tile)
        return Hits(scores[finite].astype(np.float32), identity, ra, dec, tile, row).best(count)


@dataclass(frozen=True)
class BlockPass(Generic[Answer]):
    """A pass that makes an answer of each row group, by ``work``; ``joined`` makes one answer of several.

    Without ``joined`` it is for this process alone. No row of the tiles ``ruled_out`` is selected.
    """

    selection: Selection
    columns: tuple[str, ...]
    work: Callable[[Block], Answer]
    joined: Callable[[Sequence[Answer]], Answer] | None = None
    ruled_out: frozenset[str] = frozenset()

    def read(self, snapshot: Snapshot, number: int) -> Iterator[Answer]:
        """Yield the answer of each row group of a tile.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        footer = snapshot.footers[number]
        if footer.tile in self.ruled_out:
            return
        for table, group, here in rows.tile_vectors(snapshot, footer, self.columns, self.selection):
            lengths = np.sqrt(np.einsum("nd,nd->n", group, group))
            # Lengths are of all rows of the group [M], ``sound`` of the selected ones [N].
            sound = (np.isfinite(lengths) & (lengths > 0))[here]
            if not sound.all():
                here, table = here[sound], table.filter(pa.array(sound))
            yield self.work(Block(number, group, lengths, here, table))

    def join(self, answers: Sequence[Answer]) -> Answer:
        """Join answers by ``joined``."""
        assert self.joined is not None
        return self.joined(answers)


def over(
    snapshot: Snapshot,
    selection: Selection,
    work: Callable[[Block], Answer],
    columns: Sequence[str] = (),
    join: Callable[[Sequence[Answer]], Answer] | None = None,
    executor: Executor | None = None,
) -> Iterator[Answer]:
    """Yield what ``work`` makes of each row group, in the order of the tiles; it is called in threads.

    Another ``executor`` yields joined answers, in any order. Damaged tiles are skipped with a warning.
    """
    names = tuple(dict.fromkeys([*COLUMNS, *columns]))
    ruled_out = ranges.rule_out(snapshot.catalogue, snapshot.footers, selection)
    yield from (executor or HERE).run(snapshot, BlockPass(selection, names, work, join, ruled_out))


@dataclass(frozen=True)
class BestRows:
    """The rows of a block that come first in each of several orders, and those of several blocks.

    ``scores`` gives the score of each row in each order, ``counts`` how many rows of each are wanted.
    """

    scores: Callable[[Block], Sequence[NDArray[np.floating]]]
    counts: tuple[int, ...]

    def __call__(self, block: Block) -> list[Hits]:
        return [block.best(each, count) for each, count in zip(self.scores(block), self.counts, strict=True)]

    def join(self, parts: Sequence[list[Hits]]) -> list[Hits]:
        lists = zip(*parts, strict=True)
        return [Hits.join(some).best(count) for some, count in zip(lists, self.counts, strict=True)]


@dataclass(frozen=True)
class _Alone:
    """The scores of one order, for a pass of several."""

    scores: Callable[[Block], NDArray[np.floating]]

    def __call__(self, block: Block) -> list[NDArray[np.floating]]:
        return [self.scores(block)]


def best(
    snapshot: Snapshot,
    selection: Selection,
    scores: Callable[[Block], NDArray[np.floating]],
    count: int,
    columns: Sequence[str] = (),
    executor: Executor | None = None,
) -> Hits:
    """Return the ``count`` rows of the tiles that score highest, best first, copies on the sky included.

    ``scores`` gives the score of each row of a block, whose table has these ``columns`` besides ``COLUMNS``.
    """
    return best_lists(snapshot, selection, _Alone(scores), [count], columns, executor)[0]


def best_lists(
    snapshot: Snapshot,
    selection: Selection,
    scores: Callable[[Block], Sequence[NDArray[np.floating]]],
    counts: Sequence[int],
    columns: Sequence[str] = (),
    executor: Executor | None = None,
) -> list[Hits]:
    """Return the ``best`` of several orders in one pass; ``scores`` gives those of each order for a block."""
    work, best_so_far = BestRows(scores, tuple(counts)), [Hits.join([]) for _ in counts]
    for lists in over(snapshot, selection, work, columns, work.join, executor):
        best_so_far = work.join([best_so_far, lists])
    return best_so_far


@dataclass(frozen=True)
class BlockScores:
    """Scores the rows of a block by their vectors, as ``Block.scored`` does."""

    scores: Scores

    def __call__(self, block: Block) -> NDArray[np.floating]:
        return block.scored(self.scores)


def take_rows(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield the rows of hits, tile by tile, and which of the hits they are.

    Raises:
        ScannerError: ``catalogue.changing`` where a tile is no longer the file of its footer, since row numbers have
            another meaning then; ``tile.damaged``.
    """
    for footer, here in _by_tile(snapshot, hits):
        yield here, _take(snapshot, footer, hits.row[here], columns)


def rows_of(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> pa.Table:
    """Read ``columns`` of hits, in their order.

    Raises:
        ScannerError: As ``take_rows`` does.
    """
    schema = pa.schema([snapshot.catalogue.schema.field(name) for name in columns])
    parts: list[NDArray[np.void] | pa.Table] = []
    places = [np.zeros(0, np.int64)]
    for footer, here in _by_tile(snapshot, hits):
        rows, held = hits.row[here], snapshot.catalogue.records(snapshot, footer, columns)
        # What is in memory was read of the file of this footer, which need not be there any more.
        if held is not None and int(rows.max()) < len(held):
            parts.append(held[rows])
        else:
            parts.append(_take(snapshot, footer, rows, columns).cast(schema))
        places.append(here)
    # The rows come tile by tile; this puts them back in the order of the hits.
    order = np.argsort(np.concatenate(places))
    if parts and all(isinstance(part, np.ndarray) for part in parts):
        return _to_arrow(np.concatenate(parts)[order], schema)
    tables = [_to_arrow(part, schema) if isinstance(part, np.ndarray) else part for part in parts]
    return pa.concat_tables([schema.empty_table(), *tables]).take(order)


def _to_arrow(records: NDArray[np.void], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([pa.array(records[field.name], field.type) for field in schema], schema=schema)


def _by_tile(snapshot: Snapshot, hits: Hits) -> Iterator[tuple[Footer, NDArray[np.int64]]]:
    """Yield the tiles that have hits, and which of the hits are theirs, in order."""
    order = np.argsort(hits.tile, kind="stable")
    ends = [*np.flatnonzero(np.diff(hits.tile[order], prepend=-1)).tolist(), len(order)]
    for start, end in pairwise(ends):
        yield snapshot.footers[hits.tile[order[start]]], order[start:end]


def _take(snapshot: Snapshot, footer: Footer, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    try:
        with snapshot.open(footer) as file:
            table = file.take(columns, rows, snapshot.owners)
    except ScannerError as error:
        if snapshot.unchanged(footer):
            raise _DamagedTileError(footer, error) from error
        raise _changing(snapshot, footer) from error
    # The file is compared with its footer after it was read: it may be replaced at any moment.
    if not snapshot.unchanged(footer):
        raise _changing(snapshot, footer)
    return table


def steady(snapshot: Snapshot, selection: Selection, answer: Callable[[Snapshot], Answer]) -> Answer:
    """Call ``answer`` with the snapshot, and with a new one if a tile that it took rows of was replaced meanwhile.

    Other tiles may come, change and go: what was read of them is one version or the other. A tile whose rows cannot be
    taken is skipped with a warning, and the question answered without it.

    Raises:
        ScannerError: ``catalogue.changing`` after ``ATTEMPTS`` attempts.
    """
    attempts = 0
    while True:
        try:
            return answer(snapshot.touching(selection.near))
        except _DamagedTileError as error:
            log.warning("Skipped: %s %s", error.message, error.hint)
            snapshot = snapshot.only([footer for footer in snapshot.footers if footer != error.footer])
        except ScannerError as error:
            attempts += 1
            if error.code != CHANGING or attempts == ATTEMPTS:
                raise
            snapshot = snapshot.catalogue.snapshot()


class _DamagedTileError(ScannerError):
    """``tile.damaged``, with the footer of the tile."""

    def __init__(self, footer: Footer, error: ScannerError) -> None:
        super().__init__(error.code, error.message, error.hint)
        self.footer = footer


def _changing(snapshot: Snapshot, footer: Footer) -> ScannerError:
    return ScannerError(
        CHANGING,
        f"Tile {footer.tile} of {snapshot.catalogue.path} was replaced while it was read, {ATTEMPTS} times.",
        "Wait until the scan that writes it has finished. (New tiles do no harm.)",
    )

"""A pass over all vectors of a catalogue: a few tiles at a time, with one row group of each in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import in_threads
from catalogs.search.hits import Hits
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


def over(
    snapshot: Snapshot,
    selection: Selection,
    work: Callable[[Block], Answer],
    columns: Sequence[str] = (),
) -> Iterator[Answer]:
    """Yield what ``work`` makes of each row group, in the order of the tiles; it is called in threads.

    Damaged tiles are skipped with a warning.
    """
    names = list(dict.fromkeys([*COLUMNS, *columns]))

    def read_tile(number: int) -> list[Answer]:
        answers = []
        for table, group, here in rows.tile_vectors(snapshot, snapshot.footers[number], names, selection):
            lengths = np.sqrt(np.einsum("nd,nd->n", group, group))
            # Lengths are of all rows of the group [M], ``sound`` of the selected ones [N].
            sound = (np.isfinite(lengths) & (lengths > 0))[here]
            if not sound.all():
                here, table = here[sound], table.filter(pa.array(sound))
            answers.append(work(Block(number, group, lengths, here, table)))
        return answers

    for answers in in_threads(read_tile, range(len(snapshot.footers))):
        yield from answers


def best(
    snapshot: Snapshot,
    selection: Selection,
    scores: Callable[[Block], NDArray[np.floating]],
    count: int,
    columns: Sequence[str] = (),
) -> Hits:
    """Return the ``count`` rows of the tiles that score highest, best first, copies on the sky included.

    ``scores`` gives the score of each row of a block, whose table has these ``columns`` besides ``COLUMNS``.
    """
    best_so_far = Hits.join([])
    for hits in over(snapshot, selection, lambda block: block.best(scores(block), count), columns):
        best_so_far = Hits.join([best_so_far, hits]).best(count)
    return best_so_far


def take_rows(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield the rows of hits, tile by tile, and which of the hits they are.

    Raises:
        ScannerError: ``catalogue.changing`` where a tile is no longer the file of its footer, since row numbers have
            another meaning then; ``tile.damaged``.
    """
    for number in np.unique(hits.tile):
        here, footer = np.flatnonzero(hits.tile == number), snapshot.footers[number]
        try:
            with snapshot.open(footer) as file:
                table = file.take(columns, hits.row[here], snapshot.owners)
        except ScannerError as error:
            if snapshot.unchanged(footer):
                raise _DamagedTileError(footer, error) from error
            raise _changing(snapshot, footer) from error
        # The file is compared with its footer after it was read: it may be replaced at any moment.
        if not snapshot.unchanged(footer):
            raise _changing(snapshot, footer)
        yield here, table


def rows_of(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> pa.Table:
    """Read ``columns`` of hits, in their order."""
    schema = pa.schema([snapshot.catalogue.schema.field(name) for name in columns])
    parts, places = [schema.empty_table()], [np.zeros(0, np.int64)]
    for here, table in take_rows(snapshot, hits, columns):
        parts.append(table.cast(schema))
        places.append(here)
    # The rows come tile by tile; this puts them back in the order of the hits.
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(places)))


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

"""One pass over all vectors of a catalogue: a few tiles at a time, a row group of each in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import in_threads
from catalogs.search.hits import Hits
from catalogs.store import rows, tile_reader
from catalogs.store.footers import Footer
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import Snapshot
from catalogs.store.vectors import Vectors

COLUMNS = ("object_id", "ra", "dec")
ATTEMPTS = 3
_FEW = 0.8  # share of a row group from which on all of it is scored
CHANGING = ErrorCode.CATALOGUE_CHANGING

Answer = TypeVar("Answer")
Scores = Callable[[Vectors, NDArray[np.float32]], NDArray[np.floating]]


@dataclass(frozen=True)
class Block:
    """N rows of one row group that have a direction and may count, and their columns.

    ``group`` [M, D] are all vectors of the row group, of ``lengths`` [M], and ``here`` [N] the numbers of the rows
    among them. ``tile`` is the number of the tile in the snapshot.
    """

    tile: int
    group: Vectors
    lengths: NDArray[np.float32]
    here: NDArray[np.int64]
    table: pa.Table

    def __len__(self) -> int:
        return len(self.here)

    def scored(self, scores: Scores) -> NDArray[np.floating]:
        """Scores [N] of the rows: of all of the group, unless few are wanted, since copying costs more than that."""
        if len(self) < _FEW * len(self.group):
            return scores(self.group[self.here], self.lengths[self.here])
        with np.errstate(all="ignore"):  # rows without a direction are not among those that are taken
            return scores(self.group, self.lengths)[self.here]

    def column(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self.table.column(name).to_numpy()
        return values

    def best(self, scores: NDArray[np.floating], count: int) -> Hits:
        """The ``count`` rows that score highest; those without a finite score never do."""
        finite = np.isfinite(scores)
        identity, ra, dec, row = (self.column(name)[finite] for name in ("object_id", "ra", "dec", tile_reader.ROW))
        tile = np.full(len(row), self.tile)
        return Hits(scores[finite].astype(np.float32), identity, ra, dec, tile, row).best(count)


def over(
    snapshot: Snapshot,
    chosen: Selection,
    work: Callable[[Block], Answer],
    columns: Sequence[str] = (),
) -> Iterator[Answer]:
    """What ``work`` makes of each row group, in the order of the tiles; ``work`` is called in threads.

    A tile that cannot be read is named in a warning and left out.
    """
    names = list(dict.fromkeys([*COLUMNS, *columns]))

    def tile(number: int) -> list[Answer]:
        found = rows.tile_vectors(snapshot, snapshot.footers[number], names, chosen)
        return [work(_block(number, *group)) for group in found]

    for answers in in_threads(tile, range(len(snapshot.footers))):
        yield from answers


def best(snapshot: Snapshot, chosen: Selection, scores: Scores, count: int) -> Hits:
    """The ``count`` rows of the tiles that score highest, best first, copies on the sky included."""
    found = Hits.joined([])
    for hits in over(snapshot, chosen, lambda block: block.best(block.scored(scores), count)):
        found = Hits.joined([found, hits]).best(count)
    return found


def taken(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The rows that were hit, tile by tile, and which of the hits they are.

    ``ScannerError`` ``catalogue.changing`` where a tile is no longer the file of its footer: row numbers mean
    something else then.
    """
    for number in np.unique(hits.tile):
        here, footer = np.flatnonzero(hits.tile == number), snapshot.footers[number]
        path = snapshot.catalogue.tile_path(footer.tile)
        try:
            with snapshot.open(footer) as file:
                found = file.take(columns, hits.row[here], snapshot.owners)
        except ScannerError:
            if _there(path, footer):
                raise
            raise _changing(snapshot, footer) from None
        if not _there(path, footer):
            raise _changing(snapshot, footer)
        yield here, found


def rows_of(snapshot: Snapshot, hits: Hits, columns: Sequence[str]) -> pa.Table:
    """``columns`` of the rows that were hit, in the order of the hits."""
    schema = pa.schema([snapshot.catalogue.schema.field(name) for name in columns])
    parts, places = [schema.empty_table()], [np.zeros(0, np.int64)]
    for here, table in taken(snapshot, hits, columns):
        parts.append(table.cast(schema))
        places.append(here)
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(places)))


def steady(snapshot: Snapshot, chosen: Selection, answer: Callable[[Snapshot], Answer]) -> Answer:
    """``answer`` from the snapshot, and again from a new one where a tile that it took rows of was replaced meanwhile.

    Other tiles may come, change and go: what was read of them is one version or the other. ``ScannerError``
    ``catalogue.changing`` where that goes on.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return answer(snapshot.touching(chosen.near))
        except ScannerError as error:
            if error.code != CHANGING or attempt == ATTEMPTS:
                raise
            snapshot = snapshot.catalogue.snapshot()
    raise AssertionError("there is at least one attempt")


def _there(path: Path, footer: Footer) -> bool:
    try:
        return footer.unchanged(path.stat())
    except FileNotFoundError:
        return False


def _changing(snapshot: Snapshot, footer: Footer) -> ScannerError:
    return ScannerError(
        CHANGING,
        f"Tile {footer.tile} of {snapshot.catalogue.path} was replaced while it was read, {ATTEMPTS} times over.",
        "Wait until the scan that writes it is done. (New tiles do no harm.)",
    )


def _block(number: int, table: pa.Table, group: Vectors, here: NDArray[np.int64]) -> Block:
    lengths = np.sqrt(np.einsum("nd,nd->n", group, group))
    sound = (np.isfinite(lengths) & (lengths > 0))[here]
    if not sound.all():
        here, table = here[sound], table.filter(pa.array(sound))
    return Block(number, group, lengths, here, table)

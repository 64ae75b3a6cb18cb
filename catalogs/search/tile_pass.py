"""A pass over the tiles of a catalogue, and what runs it: threads of this process, or an executor on many machines.

A pass makes an answer of each tile, in any order; answers are joined in any order, to the same bits. So an executor
may read groups of tiles anywhere, as long as it sees the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from catalogs.parallel import MOST_THREADS, in_threads, one_core
from catalogs.store import rows
from catalogs.store.backend import Snapshot

Answer = TypeVar("Answer")


class TilePass(Protocol[Answer]):
    """Work on each tile of a snapshot. It travels to other processes, so it can be pickled."""

    def read(self, snapshot: Snapshot, number: int) -> Iterator[Answer]:
        """Yield what is made of the tile ``number`` of the snapshot.

        Raises:
            ScannerError: ``tile.damaged``.
        """

    def join(self, answers: Sequence[Answer]) -> Answer:
        """Make one answer of one or more, whatever their order."""


class Executor(Protocol):
    """Runs a pass over all tiles of a snapshot."""

    def run(self, snapshot: Snapshot, work: TilePass[Answer]) -> Iterator[Answer]:
        """Yield answers of all tiles, one by one or joined, in any order. Damaged tiles are skipped with a warning."""


class Threads:
    """An executor in threads of this process, ``most`` at a time. Answers are in the order of the tiles."""

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._most = most

    def run(self, snapshot: Snapshot, work: TilePass[Answer]) -> Iterator[Answer]:
        """Yield what the pass makes of each tile, in order."""
        numbers = range(len(snapshot.footers))
        for answers in in_threads(lambda number: read_tile(snapshot, work, number), numbers, self._most):
            yield from answers


HERE = Threads()
"""The executor where nothing else is asked for."""


# So scores have the same bits on machines with more or fewer cores.
@one_core()
def read_tile(snapshot: Snapshot, work: TilePass[Answer], number: int) -> list[Answer]:
    """Collect what a pass makes of a tile; one that is damaged is skipped with a warning, from the damage on."""
    answers: list[Answer] = []
    with rows.damage_logged():
        for answer in work.read(snapshot, number):
            # Of a damaged tile, what was made of the row groups before the damage counts.
            answers.append(answer)
    return answers

"""The rows that may answer a search, ranked: all compared where that is quick enough, through the index elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from catalogs.index.coverage import covering
from catalogs.index.searcher import Searcher
from catalogs.index.shards import Shard
from catalogs.parallel import in_threads
from catalogs.search import full_pass
from catalogs.search.full_pass import Block
from catalogs.search.hits import Hits
from catalogs.store import rows, tile_reader
from catalogs.store.footers import Footer
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import Snapshot
from catalogs.store.vectors import Vectors, products

log = logging.getLogger(__name__)

EXACT_NUMBERS = 400_000_000  # rows x dimensions up to which all are compared: 0.2 s on one core, 0.8 GB mapped
FEW_ROWS = 20_000  # of a shard, left by a filter: comparing them takes what asking the index does, a millisecond
FEW_SHARE = 0.1  # of a shard, left by a filter: below it the index would have to be asked for ten times as many
MOST = 10_000  # candidates above which an index has nothing to save

Numbers = NDArray[np.int64]
Part = tuple[list[Hits], int, int]
"""The best rows for each direction, how many rows were compared, and for how many an engine answered."""


class Candidates:
    """One question to tiles of a catalogue: Q unit vectors [Q, D], and the selection of rows that may answer.

    ``way`` is ``auto``, or ``exact`` or ``index`` to have it so whatever the size; ``indexed_only`` leaves out tiles
    that no shard covers. After ``best``, ``exactly`` and ``by_index`` count the rows that were compared and those that
    an engine answered for.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        directions: Vectors,
        chosen: Selection = tile_reader.EVERYTHING,
        *,
        way: str = "auto",
        indexed_only: bool = False,
    ) -> None:
        self._directions, self._chosen = directions, chosen
        self._way, self._indexed_only = way, indexed_only
        self.snapshot = snapshot.touching(chosen.near)
        self._numbers = {footer.tile: number for number, footer in enumerate(self.snapshot.footers)}
        self.exactly = self.by_index = 0

    @property
    def large(self) -> bool:
        """Whether the tiles asked hold so many numbers that comparing all takes too long."""
        return sum(footer.rows for footer in self.snapshot.footers) * self.snapshot.catalogue.info.dim > EXACT_NUMBERS

    def best(self, count: int) -> list[Hits]:
        """For each direction the ``count`` best rows, best first, copies on the sky included."""
        best = [Hits.joined([]) for _ in self._directions]
        self.exactly = self.by_index = 0
        covered: set[str] = set()
        pairs = [
            (shard, tiles) for shard, tiles in covering(self.snapshot.catalogue, self.snapshot.footers) if any(tiles)
        ]
        for (_, tiles), part in zip(pairs, in_threads(lambda pair: self._shard(*pair, count), pairs), strict=True):
            if part is not None:
                best = self._with(best, part, count)
                covered |= {tile.tile for tile in tiles if tile}
        rest = [footer for footer in self.snapshot.footers if footer.tile not in covered]
        for part in self._compared([] if self._indexed_only else rest, count):
            best = self._with(best, part, count)
        return best

    def _with(self, best: list[Hits], part: Part, count: int) -> list[Hits]:
        self.exactly, self.by_index = self.exactly + part[1], self.by_index + part[2]
        return [Hits.joined([one, other]).best(count) for one, other in zip(best, part[0], strict=True)]

    def _shard(self, shard: Shard, tiles: Sequence[Footer | None], count: int) -> Part | None:
        """The best of one shard; None where it went away meanwhile."""
        if not shard.rows:
            return [Hits.joined([]) for _ in self._directions], 0, 0
        try:
            searcher = Searcher(shard, self.snapshot.catalogue.path / "index")
            left = self._left(shard, tiles, searcher.items)
            if left is not None and not len(left):
                return [Hits.joined([]) for _ in self._directions], 0, 0
            return self._searched(searcher, tiles, left, count)
        except (OSError, ValueError) as error:
            log.warning("The index file %s cannot be read (%s). Its tiles are searched exactly.", shard.name, error)
            return None

    def _searched(self, searcher: Searcher, tiles: Sequence[Footer | None], left: Numbers | None, count: int) -> Part:
        """Through the engine where that pays, and exactly for those directions to which it has too little to say."""
        remaining = len(searcher.items) if left is None else len(left)
        hits: list[Hits | None] = [None] * len(self._directions)
        by_engine = self._pays(len(searcher.items), remaining, count)
        if by_engine:
            hits = self._asked(searcher, tiles, left, count)
        missing = [number for number, found in enumerate(hits) if found is None]
        if missing:
            exact = searcher.best(self._directions[missing], count, left)
            for number, (items, cosine) in zip(missing, exact, strict=True):
                hits[number] = self._hits(searcher, tiles, items, cosine).best(count)
        indexed = by_engine and len(missing) < len(hits)
        return [found for found in hits if found is not None], 0 if indexed else remaining, remaining if indexed else 0

    def _pays(self, total: int, remaining: int, count: int) -> bool:
        if self._way != "auto":
            return self._way == "index"
        if not self.large or count * total / remaining > MOST:
            return False
        return remaining == total or (remaining > FEW_ROWS and remaining >= FEW_SHARE * total)

    def _asked(
        self, searcher: Searcher, tiles: Sequence[Footer | None], left: Numbers | None, count: int
    ) -> list[Hits | None]:
        """The engine's candidates with their exact cosines: more of them where a filter will drop some.

        None for a direction of which fewer than ``count`` passed the filter: those near it are what it drops.
        """
        total = len(searcher.items)
        share = 1.0 if left is None else len(left) / total
        full_pass = None if left is None else np.bincount(left, minlength=total).astype(bool)
        recipe = searcher.settings
        wanted = max(recipe.candidates, count)
        times = wanted / recipe.candidates / share
        found: list[Hits | None] = []
        try:
            for direction in self._directions:
                items, cosine = searcher.candidates(direction, int(wanted / share), int(recipe.effort * times))
                if full_pass is not None:
                    items, cosine = items[full_pass[items]], cosine[full_pass[items]]
                enough = len(items) >= min(count, round(share * total))
                found.append(self._hits(searcher, tiles, items, cosine) if enough else None)
        except ScannerError as error:
            log.warning("%s Searching exactly. %s", error.message, error.hint)
            return [None] * len(self._directions)
        return found

    def _hits(self, searcher: Searcher, tiles: Sequence[Footer | None], items: Numbers, cosine: Vectors) -> Hits:
        numbers = np.array([self._numbers[tile.tile] if tile else -1 for tile in tiles])
        item = searcher.items[items]
        return Hits(
            cosine, item["object_id"], item["ra"], item["dec"], numbers[item["tile"]], item["row"].astype(np.int64)
        )

    def _left(self, shard: Shard, tiles: Sequence[Footer | None], items: NDArray[np.void]) -> Numbers | None:
        """Which items of a shard may answer, ascending: those of tiles that are as they were, and pass the filter.

        None for all. A region is decided by the positions at hand; a filter takes its columns of the tiles' files.
        """
        if self._chosen.everything and all(tiles):
            return None
        starts = np.cumsum([0, *(tile.rows for tile in shard.tiles)])
        parts = [np.zeros(0, np.int64)]
        for number, footer in enumerate(tiles):
            if footer is not None:
                passing = self._passing(footer, items[starts[number] : starts[number + 1]])
                parts.append(np.flatnonzero(passing) + starts[number])
        return np.concatenate(parts)

    def _passing(self, footer: Footer, items: NDArray[np.void]) -> NDArray[np.bool_]:
        if self._chosen.row_filter is None:
            near = self._chosen.near
            return near.contains(items["ra"], items["dec"]) if near else np.ones(len(items), bool)
        passing = np.zeros(footer.rows, bool)
        for table in rows.tile_groups(self.snapshot, footer, (), self._chosen):
            passing[table.column(tile_reader.ROW).to_numpy()] = True
        chosen: NDArray[np.bool_] = passing[items["row"]]
        return chosen

    def _compared(self, footers: Sequence[Footer], count: int) -> Iterator[Part]:
        """The best rows of each row group of tiles that no shard covers."""
        numbers = np.array([self._numbers[footer.tile] for footer in footers], np.int64)

        def compared(block: Block) -> Part:
            cosines = block.scored(lambda vectors, length: products(vectors, self._directions) / length[:, None])
            best = [block.best(cosine, count) for cosine in cosines.T]
            return [replace(hits, tile=numbers[hits.tile]) for hits in best], len(block), 0

        return full_pass.over(self.snapshot.only(footers), self._chosen, compared)

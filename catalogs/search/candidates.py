"""The candidates of a search, ranked: by a comparison with all rows where that is fast, by the index elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from catalogs.index import ranges
from catalogs.index.coverage import covering
from catalogs.index.searcher import Searcher
from catalogs.index.shards import Shard
from catalogs.parallel import in_threads
from catalogs.search import full_pass
from catalogs.search.full_pass import Block
from catalogs.search.hits import Hits
from catalogs.store import rows, tile_reader
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import TileStore, need_folder
from catalogs.store.vectors import Vectors, along, from_arrow, products

log = logging.getLogger(__name__)

# Limits between the two ways to search. Each is where both take about the same time.
EXACT_NUMBERS = 400_000_000  # rows x dimensions up to which all rows are compared
FEW_ROWS = 20_000  # rows of a shard that pass a filter, up to which they are compared
FEW_SHARE = 0.1  # share of a shard's rows that pass a filter, up to which they are compared
MOST = 10_000  # candidates of a shard, beyond which the engine saves nothing

Numbers = NDArray[np.int64]
Answer = tuple[Numbers, Vectors]
"""Items of a shard, and their exact cosines with a direction."""


@dataclass(frozen=True)
class Part:
    """The best rows for each direction, the number of rows compared, and of rows that an engine answered for."""

    best: list[Hits]
    exactly: int
    by_index: int


class Candidates:
    """A search for Q unit vectors [Q, D] among the selected rows of a snapshot.

    ``way`` is ``auto``, or ``exact`` or ``index`` to force one whatever the size; ``indexed_only`` leaves out tiles
    that no shard covers. A backend with an index of its own proposes rows instead, unless all are to be compared. After
    ``best``, ``exactly`` counts the rows that were compared, and ``by_index`` those that an engine answered for.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        directions: Vectors,
        selection: Selection = tile_reader.EVERYTHING,
        *,
        way: str = "auto",
        indexed_only: bool = False,
    ) -> None:
        self.snapshot = snapshot.touching(selection.near)
        self._directions, self._selection = directions, selection
        self._way, self._indexed_only = way, indexed_only
        self._numbers = {footer.tile: number for number, footer in enumerate(self.snapshot.footers)}
        self.exactly = self.by_index = 0

    @property
    def large(self) -> bool:
        """Whether the tiles hold so many numbers that a comparison with all takes too long."""
        numbers = sum(footer.rows for footer in self.snapshot.footers) * self.snapshot.catalogue.info.dim
        return numbers > min(EXACT_NUMBERS, self.snapshot.catalogue.exact_numbers)

    def best(self, count: int) -> list[Hits]:
        """Find for each direction the ``count`` best rows, best first, copies on the sky included."""
        if self._way != "exact":
            proposals = self.snapshot.catalogue.propose(self._directions, self._selection, count)
            if proposals is not None:
                self.exactly, self.by_index = proposals.exactly, proposals.by_index
                pairs = zip(self._directions, proposals.tables, strict=True)
                return [self._rank(direction, table).best(count) for direction, table in pairs]
        best = [Hits.join([]) for _ in self._directions]
        self.exactly = self.by_index = 0

        def add(part: Part) -> None:
            best[:] = [Hits.join([one, other]).best(count) for one, other in zip(best, part.best, strict=True)]
            self.exactly, self.by_index = self.exactly + part.exactly, self.by_index + part.by_index

        covered: set[str] = set()
        catalogue = self.snapshot.catalogue
        standing = covering(catalogue, self.snapshot.footers) if isinstance(catalogue, TileStore) else ()
        # A shard whose tiles have all changed has nothing to answer.
        shards = [(shard, tiles) for shard, tiles in standing if any(tiles)]
        parts = in_threads(lambda one: self._search_shard(*one, count), shards)
        for (_, tiles), part in zip(shards, parts, strict=True):
            # Tiles of a shard that could not be read stay uncovered, so they are searched below.
            if part is not None:
                add(part)
                covered |= {tile.tile for tile in tiles if tile}
        if not self._indexed_only:
            for part in self._search_tiles([one for one in self.snapshot.footers if one.tile not in covered], count):
                add(part)
        return best

    def _rank(self, direction: Vectors, table: pa.Table) -> Hits:
        """Score proposed rows by their vectors, in double precision; what does not pass the selection is dropped.

        The backend chooses by a translation of the filter: the filter itself decides.
        """
        if self._selection.row_filter:
            table = self._selection.row_filter.apply(table)
        embedding = from_arrow(table.column(EMBEDDING)).astype(np.float64)
        length = np.linalg.norm(embedding, axis=1)
        # Rows of tiles that the snapshot leaves out do not count.
        names = table.column("tile").combine_chunks().dictionary_encode()
        numbers = np.array([self._numbers.get(name, -1) for name in names.dictionary.to_pylist()], np.int64)
        tile = numbers[names.indices.to_numpy()] if len(numbers) else np.zeros(0, np.int64)
        identity, ra, dec, row = (table.column(name).to_numpy() for name in (*full_pass.COLUMNS, tile_reader.ROW))
        known = np.isfinite(length) & (length > 0) & (tile >= 0)
        if self._selection.near:
            known &= self._selection.near.contains(ra, dec)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = along(embedding, direction.astype(np.float64)) / length
        return Hits(cosine, identity, ra, dec, tile, row)[known]

    def _search_shard(self, shard: Shard, tiles: Sequence[Footer | None], count: int) -> Part | None:
        """Find the best rows of one shard; None if its files were removed meanwhile."""
        nothing = Part([Hits.join([]) for _ in self._directions], 0, 0)
        if not shard.rows:
            return nothing
        try:
            searcher = Searcher(shard, need_folder(self.snapshot.catalogue).path / "index")
            total = len(searcher.items)
            allowed = self._allowed(shard, tiles, searcher.items)
            remaining = total if allowed is None else len(allowed)
            if not remaining:
                return nothing

            # The engine answers where that is faster. It gives None for a direction that it has too few rows for.
            share = remaining / total
            faster = share == 1 or (remaining > FEW_ROWS and share >= FEW_SHARE)
            auto = self.large and count / share <= MOST and faster
            answers: list[Answer | None] = [None] * len(self._directions)
            if self._way == "index" or (self._way == "auto" and auto):
                answers = self._ask_engine(searcher, allowed, count)

            # All other directions are compared with the remaining rows, in one pass over the memory map.
            missing = [number for number, answer in enumerate(answers) if answer is None]
            exact = searcher.best(self._directions[missing], count, allowed) if missing else []
            for number, answer in zip(missing, exact, strict=True):
                answers[number] = answer
            numbers = np.array([self._numbers[tile.tile] if tile else -1 for tile in tiles])
            best = [self._hits(searcher.items, numbers, *answer).best(count) for answer in answers if answer]
        except (OSError, ValueError, IndexError) as error:
            log.warning("The index file %s cannot be read (%s). Its tiles are searched exactly.", shard.name, error)
            return None
        indexed = len(missing) < len(answers)
        return Part(best, 0 if indexed else remaining, remaining if indexed else 0)

    def _ask_engine(self, searcher: Searcher, allowed: Numbers | None, count: int) -> list[Answer | None]:
        """Ask the engine for candidates of each direction: items of the shard and their exact cosines.

        It is None for a direction of which fewer than ``count`` are allowed: the filter drops what is near it.
        """
        total, settings = len(searcher.items), searcher.settings
        # A filter drops some of the candidates, so as many more are asked for, with as much more effort.
        share = 1.0 if allowed is None else len(allowed) / total
        passing = None if allowed is None else np.bincount(allowed, minlength=total).astype(bool)
        target = max(settings.candidates, count)
        effort = int(settings.effort * (target / settings.candidates / share))
        answers: list[Answer | None] = []
        try:
            for direction in self._directions:
                items, cosine = searcher.candidates(direction, int(target / share), effort)
                if passing is not None:
                    items, cosine = items[passing[items]], cosine[passing[items]]
                answers.append((items, cosine) if len(items) >= min(count, round(share * total)) else None)
        except ScannerError as error:
            log.warning("%s Searching exactly. %s", error.message, error.hint)
            return [None] * len(self._directions)
        return answers

    def _allowed(self, shard: Shard, tiles: Sequence[Footer | None], items: NDArray[np.void]) -> Numbers | None:
        """List the items of a shard that may answer, ascending; None for all of them.

        They are those of tiles that did not change since, and that are selected.
        """
        if self._selection.everything and all(tiles):
            return None
        starts = np.cumsum([0, *(tile.rows for tile in shard.tiles)])
        parts = [np.zeros(0, np.int64)]
        # Of a tile that has not changed, the ranges beside the index tell whether a row can pass.
        may_pass = ranges.may_pass(shard, need_folder(self.snapshot.catalogue).path / "index", self._selection)
        for footer, passes, start, stop in zip(tiles, may_pass, starts[:-1], starts[1:], strict=True):
            if footer is None or not passes:
                continue
            mine = items[start:stop]
            if self._selection.row_filter is not None:
                # A filter reads its columns, and those of the region, from the tile's file.
                passing = np.zeros(footer.rows, bool)
                for table in rows.tile_groups(self.snapshot, footer, (), self._selection):
                    passing[table.column(tile_reader.ROW).to_numpy()] = True
                # Items leave out rows without a valid vector, so the choice of rows is mapped to them.
                passing = passing[mine["row"]]
            elif self._selection.near is not None:
                passing = self._selection.near.contains(mine["ra"], mine["dec"])
            else:
                passing = np.ones(len(mine), bool)
            parts.append(np.flatnonzero(passing) + start)
        return np.concatenate(parts)

    def _search_tiles(self, footers: Sequence[Footer], count: int) -> Iterator[Part]:
        """Find the best rows of each row group of tiles that no shard covers."""
        numbers = np.array([self._numbers[footer.tile] for footer in footers], np.int64)

        def search(block: Block) -> Part:
            cosines = block.scored(lambda vectors, length: products(vectors, self._directions) / length[:, None])
            best = [block.best(cosine, count) for cosine in cosines.T]
            # The pass numbers the tiles that it was given; the answer numbers those of the snapshot.
            return Part([replace(hits, tile=numbers[hits.tile]) for hits in best], len(block), 0)

        return full_pass.over(self.snapshot.only(footers), self._selection, search)

    @staticmethod
    def _hits(items: NDArray[np.void], numbers: Numbers, places: Numbers, cosine: Vectors) -> Hits:
        """Make hits of chosen items; ``numbers`` are those of the shard's tiles in the snapshot."""
        item = items[places]
        tile, row = numbers[item["tile"]], item["row"].astype(np.int64)
        return Hits(cosine, item["object_id"], item["ra"], item["dec"], tile, row)

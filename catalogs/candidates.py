"""The rows that may answer a search, ranked: through the index where it vouches for them, all compared elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs import index, reading, rows, vectors
from catalogs.footers import Footer
from catalogs.hits import Hits
from catalogs.reading import Selection
from catalogs.schema import EMBEDDING
from catalogs.shards import Searcher, Shard
from catalogs.threads import in_threads
from catalogs.vectors import Vectors

if TYPE_CHECKING:
    from catalogs.store import Catalogue

log = logging.getLogger(__name__)

EXACT_ROWS = 200_000  # rows up to which all are compared, index or not: 0.7 CPU-seconds at 384 dimensions
SEARCH_K = 20_000  # nodes that Annoy inspects in each shard: recall@10 of 0.999 measured, with 10,000 of 0.987
MOST = 10_000  # candidates above which Annoy has nothing to save
COLUMNS = ("object_id", "ra", "dec", EMBEDDING)


class Candidates:
    """One question to one catalogue: Q unit vectors [Q, D], and the selection of rows that may answer.

    After ``best``, ``exactly`` and ``by_index`` count the rows that were compared and those that Annoy answered for.
    """

    def __init__(self, catalogue: Catalogue, directions: Vectors, chosen: Selection) -> None:
        self._catalogue, self._directions, self._chosen = catalogue, directions, chosen
        self.footers = [footer for footer in catalogue.footers(chosen.near) if footer.rows]
        self.numbers = {footer.tile: number for number, footer in enumerate(self.footers)}
        self.exactly = self.by_index = 0

    def best(self, count: int) -> list[Hits]:
        """For each direction the ``count`` best rows, best first, copies on the sky included."""
        best = [Hits.joined([]) for _ in self._directions]
        self.exactly = self.by_index = 0
        indexed: set[str] = set()
        if self._use_index(count):
            best, indexed = self._by_index(count)
        rest = [footer for footer in self.footers if footer.tile not in indexed]
        for hits, compared in in_threads(lambda footer: self._read(footer, count), rest):
            best = _merged(best, hits, count)
            self.exactly += compared
        return best

    def _use_index(self, count: int) -> bool:
        total = sum(footer.rows for footer in self.footers)
        return self._chosen.everything and count <= MOST and total > EXACT_ROWS

    def _by_index(self, count: int) -> tuple[list[Hits], set[str]]:
        """The best of all sound shards, and the names of the tiles that they answered for."""
        best, indexed = [Hits.joined([]) for _ in self._directions], set[str]()
        covering = list(index.covering(self._catalogue, self.footers))
        answers = in_threads(lambda pair: self._asked(pair[0], pair[1], count), covering)
        for (shard, tiles), answer in zip(covering, answers, strict=True):
            if answer is not None:
                best = _merged(best, answer, count)
                indexed |= {tile.tile for tile in tiles if tile}
                self.by_index += sum(c.rows for c, t in zip(shard.tiles, tiles, strict=True) if t)
        return best, indexed

    def _asked(self, shard: Shard, tiles: Sequence[Footer | None], count: int) -> list[Hits] | None:
        """Annoy's candidates of one shard with their exact cosines; None where the shard went away meanwhile."""
        if not shard.rows:
            return [Hits.joined([]) for _ in self._directions]
        try:
            searcher = Searcher(shard, self._catalogue.path / "index")
        except OSError as error:
            log.warning("The index file %s cannot be read (%s). Its tiles are searched exactly.", shard.name, error)
            return None
        numbers = np.array([self.numbers[tile.tile] if tile else -1 for tile in tiles])
        answers = []
        for direction in self._directions:
            found, cosine = searcher.nearest(direction, count, SEARCH_K)
            item = searcher.items[found]
            tile = numbers[item["tile"]]
            hits = Hits(cosine, item["object_id"], item["ra"], item["dec"], tile, item["row"].astype(np.int64))
            answers.append(hits[tile >= 0])
        return answers

    def _read(self, footer: Footer, count: int) -> tuple[list[Hits], int]:
        """The best rows of one tile for each direction, and how many were compared."""
        best, compared = [Hits.joined([]) for _ in self._directions], 0
        for table in rows.tile_groups(self._catalogue, footer, COLUMNS, self._chosen):
            best = _merged(best, self._compared(table, self.numbers[footer.tile], count), count)
            compared += table.num_rows
        return best, compared

    def _compared(self, table: pa.Table, tile: int, count: int) -> list[Hits]:
        """The best rows of one row group for each direction."""
        embedding = vectors.from_arrow(table.column(EMBEDDING))
        sound = np.flatnonzero(vectors.sound(embedding))
        if len(sound) < len(embedding):
            embedding = embedding[sound]
        length = np.sqrt(np.einsum("nd,nd->n", embedding, embedding))
        cosines = embedding @ self._directions.T / length[:, None]
        names = ("object_id", "ra", "dec", reading.ROW)
        object_id, ra, dec, row = (table.column(name).to_numpy()[sound] for name in names)
        number = np.full(len(sound), tile)
        return [Hits(cosine, object_id, ra, dec, number, row).best(count) for cosine in cosines.T]


def _merged(best: Sequence[Hits], more: Sequence[Hits], count: int) -> list[Hits]:
    return [Hits.joined([one, other]).best(count) for one, other in zip(best, more, strict=True)]

"""Ranking: how fast a catalogue streams through it, beside nothing but reading the embedding column."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.harness import rows
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.harness.timing import Cost, cost, in_turns, middle
from catalogs.catalogue import Catalogue
from catalogs.parallel import in_threads
from catalogs.ranking import BY_EXAMPLES, methods, outliers, rank
from catalogs.search import full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.matching import match
from catalogs.store import vectors
from catalogs.store.rows import primary
from catalogs.store.schema import EMBEDDING
from scanner.encoder.encoder import Encoder

ROWS, FEW_ROWS = 200_000, 3_000
EXAMPLES, K = 20, 100
TURNS = 5
"""For each run of the others: a pass takes a fifth of a second, and one disturbance is much of that."""


def measure(setup: Setup) -> dict[str, Any]:
    """``rank_bandwidth``: reading alone takes this share of the time of the pass of ``auto`` over the same rows.

    Reading and passes use the same threads, and files in the page cache: on a slower disk the share is higher. Sample
    and answer of a whole ``rank`` read up to 32 and up to 100 tiles besides, which ``rank_s`` has and a survey of
    20,000 tiles does not notice.
    """
    with Encoder(setup.model, device="cpu") as encoder:
        dim = encoder.contract.embedding_dim
    count = FEW_ROWS if setup.quick else ROWS
    with setup.scratch() as folder:
        filled = rows.catalogue(folder, Cloud(dim, count).draw(count))
        like = _examples(filled)
        works = {"read": partial(_read, filled), **_passes(filled, like), "whole": partial(_whole, filled, like)}
        for work in works.values():
            work()
        turns = 1 if setup.quick else TURNS * setup.runs
        costs = in_turns({name: partial(cost, work) for name, work in works.items()}, turns)
    read = middle(costs["read"])
    bandwidth = {name: _share(costs["read"], spent) for name, spent in costs.items() if name != "read"}
    return {
        "rank_bandwidth": bandwidth[methods.choose_by_examples(EXAMPLES)],
        "embedding_dim": dim,
        "rows": count,
        "examples": EXAMPLES,
        # A number of an embedding has 4 bytes.
        "read_gb_per_s": 4e-9 * dim * count / read.wall,
        "read_s": read.wall,
        "rank_s": middle(costs["whole"]).wall,
        "runs": turns,
        "passes": [_row(name, bandwidth[name], costs[name], dim * count) for name in bandwidth],
    }


def _examples(filled: Catalogue) -> Examples:
    table = filled.table(["ra", "dec"], where="is_primary")
    some = table[:: max(len(table) // EXAMPLES, 1)][:EXAMPLES]
    return match(filled.snapshot(), some["ra"].tolist(), some["dec"].tolist())


def _read(filled: Catalogue) -> int:
    """Every embedding, as an array of each row group."""

    def tile(name: str) -> int:
        with pq.ParquetFile(filled.tile_path(name)) as file:
            groups = (file.read_row_group(group, columns=[EMBEDDING]) for group in range(file.num_row_groups))
            return sum(len(vectors.from_arrow(group.column(0))) for group in groups)

    return sum(in_threads(tile, filled.tiles()))


def scores_of(filled: Catalogue, like: Examples | None = None) -> dict[str, full_pass.Scores]:
    """Scores by each method, fitted to some objects of the catalogue."""
    like = like or _examples(filled)
    ordinary = random_sample.draw(filled.snapshot(), primary(filled, None), rank.SAMPLE)
    scores: dict[str, full_pass.Scores] = {
        method: methods.fit_scorer(method, like.vectors, ordinary.vectors[:0], ordinary.vectors)
        for method in BY_EXAMPLES
    }
    scores["outliers"] = outliers.fit_distance("mahalanobis", ordinary, outliers.NEIGHBOUR)
    return scores


def _passes(filled: Catalogue, like: Examples) -> dict[str, partial[object]]:
    selection, snapshot = primary(filled, None), filled.snapshot()
    by_block = {name: full_pass.BlockScores(one) for name, one in scores_of(filled, like).items()}
    return {name: partial(full_pass.best, snapshot, selection, one, 4 * K + 64) for name, one in by_block.items()}


def _whole(filled: Catalogue, like: Examples) -> None:
    rank.rank(filled, like, k=K)


def _share(read: tuple[Cost, ...], spent: tuple[Cost, ...]) -> float:
    """What share of a pass reading alone takes: the median over the turns."""
    return float(np.median([one.wall / other.wall for one, other in zip(read, spent, strict=True)]))


def _row(name: str, bandwidth: float, spent: tuple[Cost, ...], numbers: int) -> dict[str, Any]:
    used = middle(spent)
    rate = 4e-9 * numbers / used.wall
    return {"pass": name, "bandwidth": bandwidth, "gb_per_s": rate, "wall_s": used.wall, "cpu_s": used.cpu}

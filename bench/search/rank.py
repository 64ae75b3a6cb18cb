"""Ranking: how fast a catalogue streams through it, beside nothing but reading the embedding column.

And outliers by distances to a sample, beside scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.harness import rows
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.harness.timing import Cost, cost, in_turns, median_ratio, middle
from catalogs.catalogue import Catalogue
from catalogs.parallel import in_threads
from catalogs.ranking import BY_EXAMPLES, methods, outliers, rank
from catalogs.search import full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.matching import match
from catalogs.store import vectors
from catalogs.store.rows import primary
from catalogs.store.schema import EMBEDDING
from catalogs.store.vectors import Vectors
from scanner.encoder.encoder import Encoder

ROWS, FEW_ROWS = 200_000, 3_000
EXAMPLES, K = 20, 100
TURNS = 5
"""For each run of the others: a pass takes a fifth of a second, and one disturbance is much of that."""


def measure(setup: Setup) -> dict[str, Any]:
    """``rank_bandwidth``: reading alone takes this share of the time of the pass of ``auto`` over the same rows.

    ``knn_vs_scikit_learn``: the pass of ``outliers --method knn`` is so many times as fast as the brute force of
    scikit-learn, which has all cores for each row group.

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
        by_distance = _compare_knn(filled, 1 if setup.quick else setup.runs)
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
        **by_distance,
    }


def _examples(filled: Catalogue) -> Examples:
    table = filled.table(["ra", "dec"], where="is_primary")
    some = table[:: max(len(table) // EXAMPLES, 1)][:EXAMPLES]
    return match(filled.snapshot(), some["ra"].tolist(), some["dec"].tolist())


def _groups(filled: Catalogue, tile: str) -> Iterator[Vectors]:
    """The embeddings of each row group of a tile."""
    with pq.ParquetFile(filled.tile_path(tile)) as file:
        for group in range(file.num_row_groups):
            yield vectors.from_arrow(file.read_row_group(group, columns=[EMBEDDING]).column(0))


def _read(filled: Catalogue) -> int:
    """Every embedding, as an array of each row group."""
    return sum(in_threads(lambda tile: sum(len(group) for group in _groups(filled, tile)), filled.tiles()))


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
    return {name: partial(_pass, filled, one) for name, one in scores_of(filled, like).items()}


def _pass(filled: Catalogue, scores: full_pass.Scores) -> None:
    full_pass.best(filled.snapshot(), primary(filled, None), full_pass.BlockScores(scores), 4 * K + 64)


def _compare_knn(filled: Catalogue, turns: int) -> dict[str, Any]:
    """Distances of all rows to the nearest of a sample, by the pass and by scikit-learn (of the extra ``training``)."""
    from sklearn.neighbors import NearestNeighbors

    sample = random_sample.draw(filled.snapshot(), primary(filled, None), outliers.SAMPLE)
    distance = outliers.fit_distance("knn", sample, outliers.NEIGHBOUR)
    # One more than of the pass, since an object of the sample is the nearest to itself.
    nearest = NearestNeighbors(n_neighbors=outliers.NEIGHBOUR + 1, algorithm="brute").fit(sample.vectors)
    works = {
        "outliers": partial(_pass, filled, distance),
        "scikit-learn": lambda: [nearest.kneighbors(g) for tile in filled.tiles() for g in _groups(filled, tile)],
    }
    costs = in_turns({name: partial(cost, work) for name, work in works.items()}, turns)
    used = {name: middle(some) for name, some in costs.items()}
    return {
        "knn_vs_scikit_learn": median_ratio(costs["outliers"], costs["scikit-learn"]),
        "knn_sample": len(sample),
        "knn": [{"by": name, "wall_s": one.wall, "cpu_s": one.cpu} for name, one in used.items()],
    }


def _whole(filled: Catalogue, like: Examples) -> None:
    rank.rank(filled, like, k=K)


def _share(read: tuple[Cost, ...], spent: tuple[Cost, ...]) -> float:
    """What share of a pass reading alone takes: the median over the turns."""
    return float(np.median([one.wall / other.wall for one, other in zip(read, spent, strict=True)]))


def _row(name: str, bandwidth: float, spent: tuple[Cost, ...], numbers: int) -> dict[str, Any]:
    used = middle(spent)
    rate = 4e-9 * numbers / used.wall
    return {"pass": name, "bandwidth": bandwidth, "gb_per_s": rate, "wall_s": used.wall, "cpu_s": used.cpu}

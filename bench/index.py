"""Search: what an exact answer costs, and what the index answers, how fast, and what it takes to have one.

Queries are drawn from the clusters of the catalogue but are not in it. Each is asked through ``neighbours``, files in
the page cache, once exactly and once through the index, in turns. Recall is of the ten ids of the exact answer. At or
below ``candidates.EXACT_ROWS`` rows users always get the exact answer: there the index is asked for by force.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bench import rows
from bench.cloud import Cloud
from bench.method import Work, cost, paired, repeated
from bench.setup import Setup
from catalogs import candidates, index, search, vectors
from catalogs.store import Catalogue
from scanner.encoder import Encoder

K = 10
EVERYTHING, NEVER = 0, 10**18
"""Values of ``candidates.EXACT_ROWS`` that ask the index for everything, and for nothing."""

SMALL, LARGE, FEW = 50_000, 210_000, 3_000
QUERIES, FEW_QUERIES = 100, 8
TIMED, FEW_TIMED = 9, 3
SHIFT = 3.0
"""Length of the common mean of uncentred embeddings: nine tenths of every vector point the same way."""


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``catalogues``; the numbers of the largest at the model's dimension stand by themselves too."""
    with Encoder(setup.model, device="cpu") as encoder:
        dim = encoder.contract.embedding_dim
    clouds = [Cloud(dim, LARGE), Cloud(384, LARGE), Cloud(384, SMALL), Cloud(384, SMALL, mean=SHIFT)]
    if setup.quick:
        clouds = [Cloud(dim, FEW)]
    measured = [_measured(setup, cloud) for cloud in dict.fromkeys(clouds)]
    kept = ("recall_at_10", "speedup_vs_exact", "bytes_per_row", "build_s_per_million_rows")
    return {
        **{name: measured[0][name] for name in kept},
        "exact_below_rows": candidates.EXACT_ROWS,
        "trees": index.TREES,
        "search_k": candidates.SEARCH_K,
        "catalogues": measured,
        "generators": [cloud.stated() for cloud in dict.fromkeys(clouds)],
    }


def _measured(setup: Setup, cloud: Cloud) -> dict[str, Any]:
    with setup.scratch() as folder:
        stored = cloud.draw(cloud.rows)
        queries = cloud.draw(FEW_QUERIES if setup.quick else QUERIES, stream=1)
        timed = queries[: FEW_TIMED if setup.quick else TIMED]
        filled = rows.catalogue(folder, stored)
        return {
            "embedding_dim": cloud.dim,
            "rows": cloud.rows,
            "mean_length": float(np.linalg.norm(stored.mean(axis=0))),
            "nearest_cosine": float(np.median((queries @ stored.T).max(axis=1))),
            **_built(filled),
            **_recall(filled, stored, queries),
            **_latency(filled, stored, timed),
        }


def _built(filled: Catalogue) -> dict[str, Any]:
    reports: list[index.IndexReport] = []
    spent = cost(lambda: reports.append(index.build(filled)))
    count = reports[0].rows
    files = [path for path in (filled.path / "index").iterdir() if path.name.startswith("shard-")]
    return {
        "shards": len(reports[0].built),
        "bytes_per_row": sum(path.stat().st_size for path in files) / count,
        "build_s_per_million_rows": 1e6 * spent.wall / count,
        "build_cpu_s_per_million_rows": 1e6 * spent.cpu / count,
    }


def _recall(filled: Catalogue, stored: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[str, Any]:
    """Shares of the ten nearest that come back, with the 95 % interval of the mean over the queries.

    ``exact_recall`` is that of the exact answer against a product in numpy, where ties that rounding made may differ.
    """
    exact, indexed = _ask(filled, queries, NEVER), _ask(filled, queries, EVERYTHING)
    shares = np.array([_shared(a["object_id"], b["object_id"]) for a, b in zip(exact, indexed, strict=True)])
    cosines = queries @ vectors.unit(vectors.round_mantissa(stored)).T
    nearest = np.argpartition(-cosines, K, axis=1)[:, :K]
    truths = [_ids(found) for found in nearest]
    half = 1.96 * shares.std() / np.sqrt(len(shares))
    return {
        "recall_at_10": float(shares.mean()),
        "recall_low": float(max(shares.mean() - half, 0)),
        "recall_high": float(min(shares.mean() + half, 1)),
        "exact_recall": float(np.mean([_shared(t, a["object_id"]) for t, a in zip(truths, exact, strict=True)])),
        "queries": len(queries),
    }


def _latency(filled: Catalogue, stored: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[str, Any]:
    """Milliseconds a query: median over queries, each asked both ways in turns; and of a bare product in memory."""
    for way in (EVERYTHING, NEVER):
        _ask(filled, queries[:1], way)
    pairs = [paired(_asking(filled, query, EVERYTHING), _asking(filled, query, NEVER), 1) for query in queries]
    product = repeated(lambda: stored @ queries[0], 5)
    return {
        "index_ms": 1000 * median(pair.a[0].wall for pair in pairs),
        "exact_ms": 1000 * median(pair.b[0].wall for pair in pairs),
        "product_ms": 1000 * product.wall,
        "index_cpu_ms": 1000 * float(np.mean([pair.a[0].cpu for pair in pairs])),
        "exact_cpu_ms": 1000 * float(np.mean([pair.b[0].cpu for pair in pairs])),
        "speedup_vs_exact": median(pair.wall_ratio for pair in pairs),
    }


def _asking(filled: Catalogue, query: NDArray[np.float32], exact_rows: int) -> Work:
    return lambda: cost(lambda: _ask(filled, query[None], exact_rows))


def _ask(filled: Catalogue, queries: NDArray[np.float32], exact_rows: int) -> list[Table]:
    """Ten neighbours of each query, all by index or none; ``RuntimeError`` where that is not what happened."""
    with patch.object(candidates, "EXACT_ROWS", exact_rows):
        found = search.neighbours_of_many(filled, queries, K)
    compared = found[0].meta["rows_exact"]
    if (compared == 0) != (exact_rows == EVERYTHING):
        raise RuntimeError(f"{compared} rows were compared exactly: not the way that was asked for")
    return found


def _ids(numbers: NDArray[np.int64]) -> list[int]:
    """Object ids of row numbers over all tiles."""
    tiles, places = numbers // rows.TILE_ROWS, numbers % rows.TILE_ROWS
    return [rows.object_id(rows.tile_name(int(t)), int(p)) for t, p in zip(tiles, places, strict=True)]


def _shared(truth: Sequence[int], found: Sequence[int]) -> float:
    return len(set(map(int, truth)) & set(map(int, found))) / K

"""Search: what an exact answer costs, and what the index answers, how fast, and what it takes to have one.

Queries are of the population of the catalogue but not in it. Each is asked exactly and through the index, in turns,
files in the page cache: the search alone, without reading the columns of the answer. Recall is of the ten ids of the
exact answer. ``recall_at_10`` is that of the default, which is exact below ``candidates.EXACT_NUMBERS``;
``index_recall_at_10`` that of the index, asked by force there.

The largest catalogue has 2 M rows of 192 dimensions, which are those of the shipped model (``bench.search.large`` has
ten). It is indexed at its first million and again when it is whole: CPU-seconds a row of all over those of the first
million are ``build_cost_vs_first``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import catalogs
from bench.harness import rows, tiles
from bench.harness.embeddings import Cloud, Repeated, Source, Vectors
from bench.harness.setup import Setup
from bench.harness.timing import Cost, cost
from bench.search import latency, rivals
from catalogs.catalogue import Catalogue
from catalogs.index.build import IndexOptions, IndexReport, build_index
from catalogs.search import candidates
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.run import make_run, scan_tiles
from scanner.system.resources import usable_cores

LARGE, MIDDLE, SMALL, FEW = 2_000_000, 500_000, 50_000, 3_000
PEERS, FEW_PEERS = 100_000, 2_000
"""Vectors on which libraries are compared, of each of the first two sources: graphs take minutes to build."""
QUERIES, FEW_QUERIES = 100, 8
SHIFT = 3.0
"""Length of the common mean of uncentred embeddings: nine tenths of every vector point the same way."""
BLOCK = 5 * rows.TILE_ROWS
FIRST = 52 * rows.TILE_ROWS
"""Rows, about a million, that fill one shard: the rest goes into others."""

BARS = ("recall_at_10", "speedup_vs_exact", "bytes_per_row", "build_s_per_million_rows", "build_cost_vs_first")


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``catalogues``, ``variants``, ``peers``; the numbers of the largest catalogue stand by themselves too."""
    with Encoder(setup.model, device="cpu") as encoder:
        real = embeddings(setup, encoder)
    dim = real.shape[1]
    sources: list[Source] = [
        Cloud(dim, LARGE),
        Repeated(real, MIDDLE),
        Cloud(384, SMALL),
        Cloud(384, SMALL, mean=SHIFT),
    ]
    if setup.quick:
        sources = [Cloud(dim, FEW), Repeated(real, FEW)]
    queries = FEW_QUERIES if setup.quick else QUERIES
    measured = []
    for source in sources:
        with setup.step(f"{source.rows:,} {source.stated()['embeddings']}"), setup.scratch() as folder:
            measured.append(catalogue(folder, source, queries, in_steps=source is sources[0]))
    with setup.step("settings of the index"):
        settings = rivals.measure_settings(setup, sources[1])
    with setup.step("peers"):
        count = FEW_PEERS if setup.quick else PEERS
        compared = [row for source in sources[:2] for row in rivals.measure_libraries(setup, source, count)]
    return {
        **{name: measured[0][name] for name in BARS},
        "worst_index_recall_at_10": min(row["index_recall_at_10"] for row in measured),
        "exact_below_numbers": candidates.EXACT_NUMBERS,
        "catalogues": measured,
        "variants": settings,
        "peers": compared,
        "generators": [source.stated() for source in sources],
    }


def catalogue(folder: Path, source: Source, queries: int, in_steps: bool) -> dict[str, Any]:
    """Fill a catalogue in ``folder`` from ``source``, index it (``in_steps``: first a million rows), ask it."""
    filled = catalogs.create(folder, rows.run(source.dim))
    steps = [*([FIRST] if in_steps and source.rows > FIRST else []), source.rows]
    spent, start, reports = [], 0, []
    for end in steps:
        for first, vectors in draw_blocks(source, start, end):
            rows.extend(filled, first, vectors)
        spent.append(_indexing(filled, reports))
        start = end
    questions = source.draw(queries, stream=1)
    return {
        "embeddings": source.stated()["embeddings"],
        "rows": source.rows,
        "embedding_dim": source.dim,
        **_built(filled, source.rows, steps, spent, reports),
        **latency.recall(filled, questions),
        **latency.latency(filled, questions),
        **latency.cold(filled, questions),
        **latency.filtered(filled, questions),
    }


def embeddings(setup: Setup, encoder: Encoder) -> Vectors:
    """Real ones [M, D]: those of the catalogue that was given, else of the packaged tile, scanned now."""
    if setup.embeddings is not None:
        return _read(catalogs.open(setup.embeddings))
    with setup.scratch() as folder:
        listed = tiles.made(setup.folder, setup.pixels, "raw", count=1)
        options = ScanOptions()
        run = make_run(tiles.SURVEY, encoder, options)
        filled = catalogs.create(folder / "embeddings", run)
        scan_tiles(listed, tiles.SURVEY, encoder, filled, run, options, Quiet())
        return _read(filled)


def _read(filled: Catalogue) -> Vectors:
    return np.asarray(filled.table(["embedding"])["embedding"], np.float32)


def draw_blocks(source: Source, start: int, end: int) -> Iterator[tuple[int, Vectors]]:
    """Blocks of five tiles, with the number of the first."""
    for first in range(start, end, BLOCK):
        yield first // rows.TILE_ROWS, source.draw(min(BLOCK, end - first), stream=100 + first // rows.TILE_ROWS)


def _indexing(filled: Catalogue, reports: list[IndexReport]) -> Cost:
    return cost(lambda: reports.append(build_index(filled, IndexOptions(jobs=usable_cores()))))


def _built(
    filled: Catalogue, count: int, steps: list[int], spent: list[Cost], reports: list[IndexReport]
) -> dict[str, Any]:
    """Costs of building; of shards that were built again for the second half, too."""
    settings = reports[-1].recipe
    # The folder also holds locks and the cache of footers, which are not of the index.
    files = [path for path in (filled.path / "index").iterdir() if path.name.startswith("shard-")]
    wall, cpu = sum(one.wall for one in spent), sum(one.cpu for one in spent)
    return {
        "index_dims": settings.dims if settings else None,
        "trees": settings.trees if settings else None,
        "search_k": settings.effort if settings else None,
        "shards": len(reports[-1].built) + len(reports[-1].kept),
        "bytes_per_row": sum(path.stat().st_size for path in files) / count,
        "build_s_per_million_rows": 1e6 * wall / count,
        "build_cpu_s_per_million_rows": 1e6 * cpu / count,
        "build_cost_vs_first": (cpu / count) / (spent[0].cpu / steps[0]),
    }

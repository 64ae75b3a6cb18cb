"""Settings of the Annoy index, one after the other on the same vectors: what trees, effort and dimensions buy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.harness.embeddings import Source, Vectors
from bench.harness.setup import Setup
from bench.harness.timing import Work, cost, paired
from catalogs.estimate import measure_recall
from catalogs.index import annoy_engine, half_vectors
from catalogs.index.build import CANDIDATES, DIMS, SEED
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ITEM

DEFAULT = IndexSettings("annoy", DIMS, annoy_engine.TREES[0], SEED, annoy_engine.EFFORT, CANDIDATES)
BUILDS = ((6, 64), (4, 64), (10, 64), (6, 48))
"""Trees and dimensions; the first is the default, and is asked with each of ``EFFORTS``."""
EFFORTS = (2000, 5000, 10_000)
QUERIES, FEW_QUERIES, TIMED = 100, 8, 15


def measure(setup: Setup, source: Source) -> list[dict[str, Any]]:
    """A row for each setting; ``speedup`` is against exact search over the float16 map, in turns."""
    queries = source.draw(FEW_QUERIES if setup.quick else QUERIES, stream=1)
    found = []
    with setup.scratch() as folder:
        rows = stored(folder / "rows.f16", source)
        # ``best`` returns its rows in no order.
        truth = [answer[0][np.argsort(-answer[1])] for answer in rows.best(queries, 100)]
        for trees, dims in BUILDS:
            made = replace(DEFAULT, trees=trees, dims=min(dims, rows.dim))
            built = cost(lambda made=made: annoy_engine.build(folder / "annoy", rows, made, on_disk=False))
            size = (folder / "annoy").stat().st_size + (folder / "rows.f16").stat().st_size
            for effort in EFFORTS if made == DEFAULT else (made.effort,):
                found.append(
                    {
                        "embeddings": source.stated()["embeddings"],
                        "rows": len(rows),
                        "trees": trees,
                        "dims": made.dims,
                        "search_k": effort,
                        **_asked(folder / "annoy", rows, replace(made, effort=effort), queries, truth),
                        # A shard also has ids and positions of its rows.
                        "bytes_per_row": size / len(rows) + ITEM.itemsize,
                        "build_cpu_s_per_million_rows": 1e6 * built.cpu / len(rows),
                    }
                )
    return found


def stored(path: Path, source: Source) -> HalfVectors:
    """All vectors of a source, in a float16 map."""
    with path.open("wb") as file:
        for number, start in enumerate(range(0, source.rows, 100_000)):
            some = source.draw(min(100_000, source.rows - start), stream=100 + number)
            file.write(half_vectors.pack(some).data)
    return HalfVectors(path, source.dim)


def _asked(
    path: Path, rows: HalfVectors, settings: IndexSettings, queries: Vectors, truth: list[Any]
) -> dict[str, float]:
    loaded = annoy_engine.load(path, settings)

    def answer(query: Vectors) -> Any:
        numbers = annoy_engine.nearest(loaded, query[: settings.dims], settings.candidates, settings.effort)
        return numbers[np.argsort(-rows.cosines(numbers, query))]

    def timed(query: Vectors) -> tuple[Work, Work]:
        return lambda: cost(lambda: answer(query)), lambda: cost(lambda: rows.best(query[None], 100))

    answers = [answer(query) for query in queries]
    pairs = [paired(*timed(query), 1) for query in queries[:TIMED]]
    return {
        "recall_at_10": float(np.mean([measure_recall(t[:10], a[:10]) for t, a in zip(truth, answers, strict=True)])),
        "recall_at_100": float(np.mean([measure_recall(t, a[:100]) for t, a in zip(truth, answers, strict=True)])),
        "cpu_ms": 1000 * median(pair.a[0].cpu for pair in pairs),
        "speedup": median(pair.wall_ratio for pair in pairs),
    }

"""The same vectors in other libraries, and in an index of other settings: what each costs to
build, to store and to ask.

Each is asked one query at a time, by one thread. Peers index all dimensions at full precision unless their name says
else. ``annoy`` and ``faiss`` are the engines of the index, over leading dimensions, ranked again at half precision, the
bytes of that included. A library that is not installed has a row that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness.embeddings import Source, Vectors
from bench.harness.setup import Setup
from bench.harness.timing import Work, cost, now, paired
from catalogs.estimate import measure_recall
from catalogs.index import annoy_engine, half_vectors
from catalogs.index.build import CANDIDATES, DIMS, SEED
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import ITEM

Search = Callable[[Vectors], Any]
"""A query [D] to the numbers of its ten nearest."""
K = 10
QUERIES, FEW_QUERIES = 100, 8
BLOCK = 100_000
"""Vectors that are packed at a time."""

DEFAULT = IndexSettings("annoy", DIMS, annoy_engine.TREES[0], SEED, annoy_engine.EFFORT, CANDIDATES)
BUILDS = ((6, 64), (4, 64), (10, 64), (6, 48))
"""Trees and dimensions; the first is the default, and is asked with each of ``EFFORTS``."""
EFFORTS = (2000, 5000, 10_000)
TIMED = 15
"""Queries that are timed beside the exact search."""


def measure_libraries(setup: Setup, source: Source, count: int) -> list[dict[str, Any]]:
    """A row for each library and setting."""
    stored, queries = source.draw(count, stream=100), source.draw(FEW_QUERIES if setup.quick else QUERIES, stream=1)
    truth = np.argsort(-(queries @ stored.T), axis=1)[:, :K]
    table = []
    with setup.scratch() as folder:
        for library, make in (
            (None, _exact),
            ("annoy", _engine("annoy")),
            ("faiss", _engine("faiss")),
            ("faiss", _faiss),
            ("usearch", _usearch),
            ("hnswlib", _hnswlib),
        ):
            if library and find_spec(library) is None:
                table.append({"embeddings": source.stated()["embeddings"], "index": f"{library}: not installed"})
                continue
            began = now()
            for name, size, search in make(folder, stored):
                built = now() - began
                table.append(
                    {
                        "embeddings": source.stated()["embeddings"],
                        "index": name,
                        "rows": count,
                        **_ask(search, queries, truth),
                        "build_cpu_s": built.cpu,
                        "bytes_per_row": size / count,
                    }
                )
                # The next setting is built when the generator is resumed.
                began = now()
    return table


def _ask(search: Search, queries: Vectors, truth: NDArray[np.int64]) -> dict[str, float]:
    shares = [measure_recall(nearest, search(query)) for nearest, query in zip(truth, queries, strict=True)]
    took = [cost(partial(search, query)).wall for query in queries]
    return {"recall_at_10": float(np.mean(shares)), "ms": 1000 * median(took)}


def _exact(folder: Path, stored: Vectors) -> Iterator[tuple[str, int, Search]]:
    rows = _half_vectors(folder, stored)
    size = (folder / "rows.f16").stat().st_size
    yield "exact, float16 map", size, lambda q: _first(*rows.best(q[None], K)[0])
    yield "exact, numpy float32", stored.nbytes, lambda q: np.argpartition(-(stored @ q), K)[:K]


def _engine(name: str) -> Callable[[Path, Vectors], Iterator[tuple[str, int, Search]]]:
    def made(folder: Path, stored: Vectors) -> Iterator[tuple[str, int, Search]]:
        rows, engine = _half_vectors(folder, stored), find_engine(name)
        settings = IndexSettings(name, min(64, rows.dim), engine.TREES[0], 1, engine.EFFORT, 500)
        path = folder / name
        engine.build(path, rows, settings, on_disk=False)
        loaded = engine.load(path, settings)
        size = path.stat().st_size + (folder / "rows.f16").stat().st_size

        def search(query: Vectors, effort: int) -> Any:
            numbers = engine.nearest(loaded, query[: settings.dims], settings.candidates, effort)
            return _first(numbers, rows.cosines(numbers, query))

        for effort in (engine.EFFORT // 4, engine.EFFORT):
            at = replace(settings, effort=effort)
            yield f"{name} engine, {at.dims} dims, effort {effort}", size, lambda q, effort=effort: search(q, effort)

    return made


def _faiss(folder: Path, stored: Vectors) -> Iterator[tuple[str, int, Search]]:
    import faiss

    faiss.omp_set_num_threads(1)
    lists = max(int(4 * np.sqrt(len(stored))) // 2, 1)
    for kind in ("Flat", f"IVF{lists},Flat", f"IVF{lists},SQ8"):
        index = faiss.index_factory(stored.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        index.train(stored[: 64 * lists])
        index.add(stored)
        faiss.write_index(index, str(folder / "peer"))
        if kind != "Flat":
            index.nprobe = 16
        yield f"faiss {kind}", (folder / "peer").stat().st_size, lambda q, index=index: index.search(q[None], K)[1][0]


def _usearch(folder: Path, stored: Vectors) -> Iterator[tuple[str, int, Search]]:
    from usearch.index import Index

    index = Index(ndim=stored.shape[1], metric="cos", dtype="f16")
    index.add(np.arange(len(stored)), stored, threads=1)
    index.save(str(folder / "peer"))
    yield "usearch f16", (folder / "peer").stat().st_size, lambda q: index.search(q, K, threads=1).keys


def _hnswlib(folder: Path, stored: Vectors) -> Iterator[tuple[str, int, Search]]:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=stored.shape[1])
    index.init_index(max_elements=len(stored), ef_construction=100, M=16, random_seed=1)
    index.add_items(stored, num_threads=1)
    index.set_ef(64)
    index.save_index(str(folder / "peer"))
    yield "hnswlib f32", (folder / "peer").stat().st_size, lambda q: index.knn_query(q, k=K, num_threads=1)[0][0]


def _half_vectors(folder: Path, stored: Vectors) -> HalfVectors:
    path = folder / "rows.f16"
    if path.exists():
        return HalfVectors(path, stored.shape[1])
    return write_half_vectors(path, (stored[start : start + BLOCK] for start in range(0, len(stored), BLOCK)))


def write_half_vectors(path: Path, blocks: Iterable[Vectors]) -> HalfVectors:
    """Write blocks of vectors [N, D] to a float16 map."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(half_vectors.pack(block).data)
            dim = block.shape[1]
    return HalfVectors(path, dim)


def _first(numbers: NDArray[np.int64], cosine: Vectors) -> NDArray[np.int64]:
    return numbers[np.argsort(-cosine)[:K]]


def measure_settings(setup: Setup, source: Source) -> list[dict[str, Any]]:
    """A row for each setting; ``speedup`` is against exact search over the float16 map, in turns."""
    queries = source.draw(FEW_QUERIES if setup.quick else QUERIES, stream=1)
    table = []
    with setup.scratch() as folder:
        starts = enumerate(range(0, source.rows, BLOCK))
        blocks = (source.draw(min(BLOCK, source.rows - start), stream=100 + number) for number, start in starts)
        rows = write_half_vectors(folder / "rows.f16", blocks)
        # ``best`` returns its rows in no order.
        truth = [answer[0][np.argsort(-answer[1])] for answer in rows.best(queries, 100)]
        for trees, dims in BUILDS:
            made = replace(DEFAULT, trees=trees, dims=min(dims, rows.dim))
            built = cost(lambda made=made: annoy_engine.build(folder / "annoy", rows, made, on_disk=False))
            size = (folder / "annoy").stat().st_size + (folder / "rows.f16").stat().st_size
            for effort in EFFORTS if made == DEFAULT else (made.effort,):
                table.append(
                    {
                        "embeddings": source.stated()["embeddings"],
                        "rows": len(rows),
                        "trees": trees,
                        "dims": made.dims,
                        "search_k": effort,
                        **_compare_with_exact(folder / "annoy", rows, replace(made, effort=effort), queries, truth),
                        # A shard also has ids and positions of its rows.
                        "bytes_per_row": size / len(rows) + ITEM.itemsize,
                        "build_cpu_s_per_million_rows": 1e6 * built.cpu / len(rows),
                    }
                )
    return table


def _compare_with_exact(
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

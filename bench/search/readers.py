"""One exact question to a catalogue, by the readers of docs/guide/search.md; and what the float16 map spares.

The statements timed are those of the docs, word for word. All readers take turns, files in the page cache; CPU-seconds
are of all threads, so they can be compared whatever a reader does with the cores. ``agrees`` is the share of
``scanner``'s answer that a reader finds too.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import catalogs
from bench.harness import rows
from bench.harness.embeddings import Cloud, Vectors
from bench.harness.setup import Setup
from bench.harness.timing import cost, in_turns, middle
from catalogs.catalogue import Catalogue
from catalogs.estimate import measure_recall
from catalogs.index import half_vectors
from catalogs.index.build import build_index
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.shards import VECTORS
from catalogs.search.candidates import Candidates
from catalogs.store import vectors
from catalogs.store.schema import EMBEDDING
from scanner.encoder.encoder import Encoder

ROWS, FEW_ROWS = 100_000, 3_000
K = 20
CANDIDATES = 500
DOCS = Path(__file__).parents[2] / "docs" / "guide" / "search.md"
SECTION = "## Search without this package"

Answer = Callable[[], Sequence[int]]
"""Ids of the objects most like the one asked about, best first."""


def measure(setup: Setup) -> dict[str, Any]:
    """``readers``: CPU-seconds of the whole question. The rest is of the search alone, in CPU-milliseconds."""
    with Encoder(setup.model, device="cpu") as encoder:
        dim = encoder.contract.embedding_dim
    count = FEW_ROWS if setup.quick else ROWS
    cloud = Cloud(dim, count)
    with setup.scratch() as folder:
        plain = rows.catalogue(folder / "embeddings", cloud.draw(count))
        shutil.copytree(plain.path, folder / "indexed")
        indexed = catalogs.open(folder / "indexed")
        build_index(indexed)
        object_id = int(plain.table(["object_id"])["object_id"].min())
        # The statements of the docs name the catalogue relative to the working folder.
        with chdir(folder):
            readers = _readers(object_id, plain, indexed)
        mapped = _mapped(plain, indexed, cloud.draw(1, stream=1), setup.runs)
        with chdir(folder):
            table = _timed(readers, object_id, setup.runs)
    return {"rows": count, "embedding_dim": dim, "runs": setup.runs, **mapped, "readers": table}


def _readers(object_id: int, plain: Catalogue, indexed: Catalogue) -> dict[str, Answer | None]:
    """None for a reader that is not installed. Catalogues are opened anew, as a program that has just started does."""
    sql, code = _documented()
    return {
        "DuckDB": partial(_duckdb, sql) if find_spec("duckdb") else None,
        "polars": partial(_polars, code) if find_spec("polars") else None,
        "pyarrow and a numpy product": partial(_numpy, plain.path, object_id),
        "scanner, no index": partial(_scanner, plain.path, object_id),
        "scanner, index": partial(_scanner, indexed.path, object_id),
    }


def _documented() -> tuple[str, str]:
    """The SQL and the polars statement of the docs."""
    section = DOCS.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))
    return blocks["sql"], blocks["python"]


def _duckdb(sql: str) -> Sequence[int]:
    import duckdb

    return [row[0] for row in duckdb.connect().sql(sql).fetchall()]


def _polars(code: str) -> Sequence[int]:
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    return list(names["nearest"]["object_id"])


def _numpy(path: Path, object_id: int) -> Sequence[int]:
    table = pq.read_table(path / "tiles", columns=["object_id", EMBEDDING], use_threads=False)
    embedding, identity = vectors.from_arrow(table.column(EMBEDDING)), table.column("object_id").to_numpy()
    cosine = embedding @ embedding[identity == object_id][0]
    return list(identity[np.argsort(-cosine)[:K]])


def _scanner(path: Path, object_id: int) -> Sequence[int]:
    return list(
        catalogs.open(path).neighbours(object_id=object_id, k=K, columns=["object_id", "ra", "dec"])["object_id"]
    )


def _timed(readers: dict[str, Answer | None], object_id: int, runs: int) -> list[dict[str, Any]]:
    there = {name: answer for name, answer in readers.items() if answer}
    answers = {name: [one for one in answer() if one != object_id] for name, answer in there.items()}
    # Without the object itself, K - 1 others remain.
    truth = answers["scanner, no index"][: K - 1]
    spent = in_turns({name: partial(cost, answer) for name, answer in there.items()}, runs)
    return [
        {"reader": name, "cpu_s": middle(spent[name]).cpu, "wall_s": middle(spent[name]).wall,
         "agrees": measure_recall(truth, answers[name])}
        if name in there
        else {"reader": f"{name}: not installed"}
        for name in readers
    ]  # fmt: skip


def _mapped(plain: Catalogue, indexed: Catalogue, query: Vectors, runs: int) -> dict[str, float]:
    """Exact search, and ranking candidates again: from the map, and from rows of Parquet."""
    path = next((indexed.path / "index").glob(f"*{VECTORS}"))
    dim = indexed.info.dim
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(path.stat().st_size // half_vectors.record_type(dim).itemsize, CANDIDATES, replace=False))
    works: dict[str, Callable[[], object]] = {
        "exact_map": lambda: Candidates(indexed.snapshot(), query, way="exact").best(K),
        "exact_parquet": lambda: Candidates(plain.snapshot(), query).best(K),
        "again_map": lambda: HalfVectors(path, dim).cosines(some, query[0]),
        "again_parquet": lambda: _from_parquet(plain, some) @ query[0],
    }
    for work in works.values():
        work()
    spent = in_turns({name: partial(cost, work) for name, work in works.items()}, runs)
    cpu = {f"{name}_cpu_ms": 1000 * middle(costs).cpu for name, costs in spent.items()}
    return {**cpu, "map_gain": cpu["exact_parquet_cpu_ms"] / cpu["exact_map_cpu_ms"]}


def _from_parquet(plain: Catalogue, some: np.ndarray[Any, np.dtype[np.int64]]) -> Vectors:
    """Vectors of rows that are numbered through the tiles."""
    parts = []
    for number, footer in enumerate(plain.snapshot().footers):
        here = some[some // rows.TILE_ROWS == number] % rows.TILE_ROWS
        if len(here):
            with plain.open_tile(footer.tile) as file:
                table = file.take([EMBEDDING], here)
            parts.append(vectors.from_arrow(table.column(EMBEDDING)))
    return np.concatenate(parts)

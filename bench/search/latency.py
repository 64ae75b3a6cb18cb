"""Questions to an indexed catalogue, exactly and through the index: what comes back, and how long it takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from bench.harness.embeddings import Vectors
from bench.harness.timing import Cost, Work, cost, middle, paired
from catalogs.catalogue import Catalogue
from catalogs.estimate import Estimate, estimate_mean, measure_recall
from catalogs.index import searcher
from catalogs.search.candidates import Candidates
from catalogs.search.hits import Hits
from catalogs.store import rows, tile_reader
from catalogs.store.tile_reader import Selection

K, COUNT = 10, 104
"""Neighbours of an answer, and how many rows are ranked for it (copies on the sky included)."""
TIMED, ROUNDS = 15, 3
HALF, HUNDREDTH, NINTH = "mag_r < 20.09", "mag_r > 205", "mag_r < 5.89"
"""Of the invented magnitudes, which are log-normal."""


def ask(filled: Catalogue, queries: Vectors, way: str, selection: Selection = tile_reader.EVERYTHING) -> list[Hits]:
    """The best rows for each query, all by index or none; ``RuntimeError`` where that is not what happened."""
    search = Candidates(filled.snapshot(), queries, selection, way=way)
    hits = search.best(COUNT)
    if way != "auto" and (search.exactly == 0) != (way == "index"):
        raise RuntimeError(f"{search.exactly} rows were compared exactly: not the way that was asked for")
    return hits


def recall(filled: Catalogue, queries: Vectors) -> dict[str, Any]:
    """Shares of the ten nearest that come back, with the 95 % bootstrap interval over queries."""
    truth, answers, default = (ask(filled, queries, way) for way in ("exact", "index", "auto"))
    by_index, by_default = _recall(truth, answers), _recall(truth, default)
    return {
        "recall_at_10": by_default.value,
        "index_recall_at_10": by_index.value,
        "index_recall_low": by_index.low,
        "index_recall_high": by_index.high,
        "queries": len(queries),
        "nearest_cosine": float(np.median([hits.score[0] for hits in truth])),
    }


def latency(filled: Catalogue, queries: Vectors) -> dict[str, Any]:
    """Milliseconds a query, asked one after the other through the index, then exactly, in rounds.

    ``speedup_in_turns`` is that of each query asked both ways in turns: comparing all vectors drives the index out of
    the processor's caches, so it is slower then than in any sequence of questions to it.
    """
    some = queries[:TIMED]
    # The first questions map the files and fill the page cache, so they are not timed.
    for way in ("index", "exact"):
        ask(filled, queries[:3], way)
    rounds = paired(_asking(filled, some, "index"), _asking(filled, some, "exact"), ROUNDS)
    turns = [paired(_asking(filled, [one], "index"), _asking(filled, [one], "exact"), 1) for one in some]
    index, exact = middle(rounds.a), middle(rounds.b)
    return {
        "index_ms": 1000 * index.wall,
        "exact_ms": 1000 * exact.wall,
        "index_cpu_ms": 1000 * index.cpu,
        "exact_cpu_ms": 1000 * exact.cpu,
        "speedup_vs_exact": rounds.wall_ratio,
        "speedup_in_turns": median(pair.wall_ratio for pair in turns),
    }


def cold(filled: Catalogue, queries: Vectors) -> dict[str, Any]:
    """Milliseconds of the first query with nothing of the index in the page cache (None where that cannot be had)."""
    if not hasattr(os, "posix_fadvise"):
        return {"cold_index_ms": None, "cold_exact_ms": None}
    milliseconds = {}
    for name, way in (("cold_index_ms", "index"), ("cold_exact_ms", "exact")):
        _forget(filled)
        milliseconds[name] = 1000 * cost(partial(ask, filled, queries[:1], way)).wall
    return milliseconds


def filtered(filled: Catalogue, queries: Vectors) -> dict[str, Any]:
    """Milliseconds of a query with a filter that leaves a half or a hundredth, and how much comes back of the half.

    ``ninth``: with filters that leave 11 %, of a magnitude and of ids. Ids lie together, so that ranges of columns rule
    out the other tiles; ``ranges_gain`` is how many times longer the query takes without the ranges, in turns.
    """
    half, hundredth = (rows.selection(filled, text, None) for text in (HALF, HUNDREDTH))
    some = queries[:TIMED]
    truth, answers = ask(filled, some, "exact", half), ask(filled, some, "index", half)
    return {
        "half_left_recall_at_10": _recall(truth, answers).value,
        "half_left_ms": _median_ms(filled, some, half),
        "hundredth_left_ms": _median_ms(filled, some, hundredth),
        **ninth(filled, some),
    }


def ninth(filled: Catalogue, queries: Vectors) -> dict[str, Any]:
    """Milliseconds of a query with a filter that leaves 11 %, with the ranges beside the index and without them."""
    ids = np.sort(filled.table(["object_id"])["object_id"])
    filters = {"magnitude": NINTH, "ids": f"object_id < {ids[int(0.11 * len(ids))]}"}
    figures: dict[str, Any] = {}
    for name, text in filters.items():
        chosen = rows.selection(filled, text, None)

        def asked(chosen: Selection = chosen) -> Cost:
            return cost(lambda: [ask(filled, query[None], "auto", chosen) for query in queries[:5]]).per(5)

        def without(asked: Work = asked) -> Cost:
            hidden = [path.rename(path.with_suffix(".hidden")) for path in (filled.path / "index").glob("*.ranges")]
            try:
                return asked()
            finally:
                for path in hidden:
                    path.rename(path.with_suffix(".ranges"))

        asked(), without()
        pair = paired(asked, without, ROUNDS)
        figures[f"ninth_by_{name}_ms"] = 1000 * middle(pair.a).wall
        figures[f"ninth_by_{name}_cpu_ms"] = 1000 * middle(pair.a).cpu
        figures[f"ninth_by_{name}_ranges_gain"] = pair.wall_ratio
    return figures


def _recall(truth: list[Hits], answers: list[Hits]) -> Estimate:
    shares = [measure_recall(t.object_id[:K], f.object_id[:K]) for t, f in zip(truth, answers, strict=True)]
    return estimate_mean(np.array(shares))


def _median_ms(filled: Catalogue, queries: Vectors, selection: Selection) -> float:
    return 1000 * median(cost(partial(ask, filled, query[None], "auto", selection)).wall for query in queries[:5])


def _asking(filled: Catalogue, queries: Sequence[Vectors], way: str) -> Work:
    """What one of the queries costs, asked one by one."""

    def one_by_one() -> None:
        for query in queries:
            ask(filled, query[None], way)

    return lambda: cost(one_by_one).per(len(queries))


def _forget(filled: Catalogue) -> None:
    """Have the system drop the index's files from memory; what is mapped stays, so it is let go first."""
    searcher.close_all()
    for path in (filled.path / "index").iterdir():
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

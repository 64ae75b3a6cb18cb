"""Search through a Lance dataset beside our own index, over the same rows, in turns, files in the page cache.

What is timed is the search, from question to ranked rows, without reading the columns of the answer: on our side as
``bench.search.index`` does it, on the other with the vectors that Lance returns and the cosines computed here. Recall
is of the ten ids of a comparison with all rows of the dataset. ``time_vs_annoy`` and ``filtered_time_vs_ours`` are
ratios of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import catalogs
from bench.harness.embeddings import Cloud, Vectors
from bench.harness.setup import Setup
from bench.harness.timing import Work, cost, middle, paired
from bench.search import clouds
from catalogs.catalogue import Catalogue, LanceCatalogue
from catalogs.estimate import estimate_mean, measure_recall
from catalogs.index.build import IndexOptions, build_index
from catalogs.lance.export import LanceOptions, LanceReport, export
from catalogs.search.candidates import Candidates
from catalogs.search.hits import Hits
from catalogs.store.rows import selection
from catalogs.store.tile_reader import EVERYTHING, Selection
from scanner.system.resources import usable_cores

SIZES, FEW = (500_000, 2_000_000), 24_000
QUERIES, FEW_QUERIES = 100, 8
TIMED, ROUNDS = 15, 3
K, COUNT = 10, 104
ELEVENTH = "mag_r < 5.9"
"""Of the invented magnitudes, which are log-normal, 11 % are brighter."""


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``catalogues``, smallest first; the numbers of the bars stand by themselves too.

    Catalogues, indexes and datasets are kept in the folder for the next run.
    """
    measured = []
    for count in (FEW,) if setup.quick else SIZES:
        with setup.step(f"{count:,} rows"):
            source = Cloud(clouds.DIM, count)
            filled = clouds.catalogue(setup.folder, source)
            build_index(filled, IndexOptions(jobs=usable_cores()))
            measured.append(compare(filled, source.draw(FEW_QUERIES if setup.quick else QUERIES, stream=1)))
    return {
        "recall_at_10": min(row["recall_at_10"] for row in measured),
        "time_vs_annoy": measured[-1]["time_vs_annoy"],
        "filtered_time_vs_ours": measured[0]["filtered_time_vs_ours"],
        "bytes_per_row": measured[-1]["bytes_per_row"],
        "catalogues": measured,
    }


def compare(filled: Catalogue, questions: Vectors) -> dict[str, Any]:
    """Export an indexed catalogue, unless that is done, and ask both."""
    out, took = clouds.dataset(filled)
    # It is complete by now, so this only describes it.
    report = export(filled, out, LanceOptions())
    dataset = catalogs.open(f"lance:{out}")
    assert isinstance(dataset, LanceCatalogue)
    return {**_built(report, took), **ask_both(filled, dataset, questions)}


def _built(report: LanceReport, took: clouds.ExportCost | None) -> dict[str, Any]:
    search = report.search
    return {
        "rows": report.rows,
        "lists": search.lists if search else None,
        "probes": search.probes if search else None,
        "refine": search.refine if search else None,
        "data_bytes_per_row": report.data_bytes / report.rows,
        "index_bytes_per_row": report.index_bytes / report.rows,
        "bytes_per_row": (report.data_bytes + report.index_bytes) / report.rows,
        "export_s_per_million_rows": 1e6 * took.wall / report.rows if took else None,
        "export_cpu_s_per_million_rows": 1e6 * took.cpu / report.rows if took else None,
        "export_peak_gb": took.peak_gb if took else None,
        "export_peak_own_gb": took.peak_own_gb if took else None,
    }


def ask_both(filled: Catalogue, dataset: LanceCatalogue, questions: Vectors) -> dict[str, Any]:
    """Recall of the dataset, and times of both, without a filter and with one that 11 % pass."""
    few = questions[:TIMED]
    eleventh = selection(dataset, ELEVENTH, None)
    for one in (filled, dataset):
        _ask(one, questions[:3], "auto", EVERYTHING)
    by_annoy = paired(_asking(dataset, few, "auto", EVERYTHING), _asking(filled, few, "index", EVERYTHING), ROUNDS)
    # Our default exactly compares the rows that pass where they are few; the filter is pushed down.
    by_filter = paired(_asking(dataset, few, "auto", eleventh), _asking(filled, few, "auto", eleventh), ROUNDS)
    answers = _ask(dataset, questions, "auto", EVERYTHING), _ask(dataset, questions, "auto", eleventh)
    truths = _ask(dataset, questions, "exact", EVERYTHING), _ask(dataset, questions, "exact", eleventh)
    recall, filtered = (_recall(truth, answer) for truth, answer in zip(truths, answers, strict=True))
    return {
        "recall_at_10": recall[0],
        "recall_low": recall[1],
        "filtered_recall_at_10": filtered[0],
        "lance_ms": 1000 * middle(by_annoy.a).wall,
        "annoy_ms": 1000 * middle(by_annoy.b).wall,
        "lance_cpu_ms": 1000 * middle(by_annoy.a).cpu,
        "annoy_cpu_ms": 1000 * middle(by_annoy.b).cpu,
        "time_vs_annoy": 1 / by_annoy.wall_ratio,
        "filtered_lance_ms": 1000 * middle(by_filter.a).wall,
        "filtered_ours_ms": 1000 * middle(by_filter.b).wall,
        "filtered_lance_cpu_ms": 1000 * middle(by_filter.a).cpu,
        "filtered_ours_cpu_ms": 1000 * middle(by_filter.b).cpu,
        "filtered_time_vs_ours": 1 / by_filter.wall_ratio,
        "nearest_cosine": float(np.median([hits.score[0] for hits in truths[0]])),
    }


def _ask(one: Catalogue | LanceCatalogue, questions: Vectors, way: str, chosen: Selection) -> list[Hits]:
    return Candidates(one.snapshot(), questions, chosen, way=way).best(COUNT)


def _asking(one: Catalogue | LanceCatalogue, questions: Sequence[Vectors], way: str, chosen: Selection) -> Work:
    """What one of the questions costs, asked one by one."""

    def one_by_one() -> None:
        for question in questions:
            _ask(one, question[None], way, chosen)

    return lambda: cost(one_by_one).per(len(questions))


def _recall(truth: list[Hits], answers: list[Hits]) -> tuple[float, float]:
    shares = [measure_recall(t.object_id[:K], f.object_id[:K]) for t, f in zip(truth, answers, strict=True)]
    found = estimate_mean(np.array(shares))
    return found.value, found.low

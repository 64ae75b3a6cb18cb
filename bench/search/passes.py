"""Passes on Dask workers: one worker and two, in turns, over the same rows.

Wall-clock time says little while others hold the cores: ``cpu_speedup`` is the CPU-seconds of the one worker over those
of the busier of the two, which bounds the pass where each has a core. Workers are started before, as a command does
once; what that takes is ``start_s``.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from bench.harness import memory
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup
from bench.harness.timing import Cost, cost, in_turns, median_ratio, middle
from bench.search import clouds
from bench.search import rank as rank_bench
from catalogs.catalogue import Catalogue
from catalogs.search import full_pass
from catalogs.store.rows import primary
from scanner.cluster.job import WorkerSource
from scanner.cluster.passes import DaskExecutor

ROWS, FEW_ROWS = 2_000_000, 3_000
WORKERS = (1, 2)
TURNS = 5


def measure(setup: Setup) -> dict[str, Any]:
    """Pass over a catalogue, which is kept for the next run; a row for each number of workers and for one process."""
    count = FEW_ROWS if setup.quick else ROWS
    with setup.step(f"{count:,} rows"):
        filled = clouds.catalogue(setup.folder, Cloud(clouds.DIM, count))
        return compare(filled, 1 if setup.quick else TURNS)


def compare(filled: Catalogue, turns: int) -> dict[str, Any]:
    """Pass over a catalogue with one worker, with two, and with the threads of this process, in turns."""
    scores = rank_bench.scores_of(filled)["probe"]
    snapshot, selection = filled.snapshot(), primary(filled, None)
    best = partial(full_pass.best, snapshot, selection, full_pass.BlockScores(scores), 4 * rank_bench.K + 64)
    with ExitStack() as stack:
        executors, busiest, start_s = {}, {count: list[float]() for count in WORKERS}, {}
        for count in WORKERS:
            executors[count] = stack.enter_context(DaskExecutor(WorkerSource(workers=count)))
            # The first pass starts the workers, and reads the files into the page cache.
            start_s[count] = cost(partial(best, executor=executors[count])).wall

        def on_workers(count: int) -> Cost:
            before = _worked()
            spent = cost(partial(best, executor=executors[count]))
            used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in _worked().items()}
            # The clock of /proc is that of the scheduler, 10 ms.
            busiest[count].append(max([0.01, *used.values()]))
            # What the workers used is not of this process or of a child that has ended.
            return Cost(spent.wall, spent.cpu + sum(used.values()))

        works = {f"{count} workers": partial(on_workers, count) for count in WORKERS}
        costs = in_turns({**works, "this process": partial(cost, best)}, turns)
    one, two = (costs[f"{count} workers"] for count in WORKERS)
    return {
        "wall_speedup": median_ratio(two, one),
        "cpu_speedup": median(a / b for a, b in zip(*(busiest[count] for count in WORKERS), strict=True)),
        "rows": sum(footer.rows for footer in snapshot.footers),
        "embedding_dim": filled.info.dim,
        "start_s": start_s[WORKERS[-1]],
        "turns": turns,
        "by": [
            {"run by": name, "wall_s": middle(some).wall, "cpu_s": middle(some).cpu} for name, some in costs.items()
        ],
    }


def _worked() -> dict[int, float]:
    """CPU-seconds of each process that this one has started; none without /proc."""
    seconds: dict[int, float] = {}
    for pid in memory.family(os.getpid())[1:]:
        fields = memory.text(f"/proc/{pid}/stat").rpartition(") ")[2].split()
        if fields:
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds or {0: 0.0}

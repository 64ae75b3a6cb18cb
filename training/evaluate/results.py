"""Results of tasks and models, and their rows in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from catalogs.estimate import PairedEstimate, average
from training.evaluate.statistics.metrics import Floats


@dataclass
class TaskResult:
    """``estimates`` of a task by measure, in the order of the table; ``curves`` of recall against rank by title."""

    estimates: dict[str, PairedEstimate] = field(default_factory=dict)
    curves: dict[str, Floats] = field(default_factory=dict)


Results = Mapping[str, TaskResult]
"""By task."""


def average_seeds(seeds: list[dict[str, TaskResult]]) -> dict[str, TaskResult]:
    """Average the results of several seeds of one baseline, and keep the spread between them."""
    if len(seeds) == 1:
        return seeds[0]
    joined = {}
    for task, first in seeds[0].items():
        estimates = {name: average([seed[task].estimates[name] for seed in seeds]) for name in first.estimates}
        curves = {name: np.mean([seed[task].curves[name] for seed in seeds], axis=0) for name in first.curves}
        joined[task] = TaskResult(estimates, curves)
    return joined


def rows(results: Mapping[str, Results]) -> Iterator[tuple[str, str, list[PairedEstimate | None]]]:
    """Yield task, measure, and an estimate (or None) for each column, in the order of first occurrence."""
    tasks = list(dict.fromkeys(task for result in results.values() for task in result))
    for task in tasks:
        columns = [result[task].estimates if task in result else {} for result in results.values()]
        for measure in dict.fromkeys(name for column in columns for name in column):
            yield task, measure, [column.get(measure) for column in columns]

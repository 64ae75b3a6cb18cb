"""Results of tasks and models, and their rows in a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Yield task, measure with its n, and an estimate (or None) for each column, in the order of first occurrence."""
    tasks = list(dict.fromkeys(task for result in results.values() for task in result))
    for task in tasks:
        columns = [result[task].estimates if task in result else {} for result in results.values()]
        for measure in dict.fromkeys(name for column in columns for name in column):
            estimates = [column.get(measure) for column in columns]
            yield task, with_counts(measure, [one.counts for one in estimates if one]), estimates


def with_counts(measure: str, counts: Iterable[Sequence[int]]) -> str:
    """Add to the name of a measure the number of objects of a share, or the two numbers of an area under a curve.

    ``counts`` are those of each column, which differ only where the columns are of other objects.
    """
    different = dict.fromkeys(" + ".join(f"{number:,}" for number in one) for one in counts if one)
    return f"{measure} (n = {' or '.join(different)})" if different else measure

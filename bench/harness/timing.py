"""How a comparison is made: variants take turns in one process, and what counts is the ratio within a turn.

A shared machine changes by the minute. Two variants that run right after each other see the same machine, so their
ratio keeps its meaning where seconds do not; CPU-seconds (of this process and of the children it waited for) keep
theirs even while others hold the cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.harness.memory import family

TICK = 1 / float(os.sysconf("SC_CLK_TCK"))
"""Step of the clock of processes, in seconds."""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock and of CPU, user and system, threads and finished children included."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def per(self, count: float) -> Cost:
        """The cost of one of ``count``."""
        return Cost(self.wall / count, self.cpu / count)


Work = Callable[[], Cost]


def now() -> Cost:
    """A reading of both clocks; the difference of two is a cost."""
    used = os.times()  # of children in steps of 10 ms; this process has a finer clock
    return Cost(time.perf_counter(), time.process_time() + used.children_user + used.children_system)


def family_cpu() -> float:
    """CPU-seconds of this process, of all that it started and that still run, and of those that have ended.

    In steps of 10 ms; without /proc those that still run are left out.
    """
    used = os.times()
    ticks = sum(sum(_ticks(pid)) for pid in family(os.getpid())[1:])
    own = used.user + used.system + used.children_user + used.children_system
    return own + ticks / float(os.sysconf("SC_CLK_TCK"))


def family_cpu_since(before: float) -> float:
    """CPU-seconds since ``family_cpu`` was ``before``: a step of its clock at least.

    What a process used whose parent never waited for it is lost when it ends, so that the count may fall.
    """
    return max(family_cpu() - before, TICK)


def _ticks(pid: int) -> list[int]:
    """User and system time of a process, and of the children that it waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:  # it ended meanwhile, and is then counted as a child that has ended
        return []
    return [int(field) for field in text.rpartition(")")[2].split()[11:15]]


def cost(work: Callable[[], object]) -> Cost:
    """What one call costs."""
    began = now()
    work()
    return now() - began


def repeated(work: Callable[[], object], times: int) -> Cost:
    """What one call costs, on average over ``times`` of them: for what is too short to be timed once."""
    began = now()
    for _ in range(times):
        work()
    return (now() - began).per(times)


@dataclass(frozen=True)
class Pair:
    """Costs of two variants, turn by turn."""

    a: tuple[Cost, ...]
    b: tuple[Cost, ...]

    @property
    def wall_ratio(self) -> float:
        """How many times longer ``b`` takes than ``a``: the median over the turns."""
        return median(self.wall_ratios)

    @property
    def wall_ratios(self) -> list[float]:
        return [b.wall / a.wall for a, b in zip(self.a, self.b, strict=True)]


def in_turns(works: Mapping[str, Work], runs: int) -> dict[str, tuple[Cost, ...]]:
    """Every work ``runs`` times, each turn in the reverse order of the one before. Warm up what needs it first."""
    costs_of: dict[str, list[Cost]] = {name: [] for name in works}
    for turn in range(runs):
        # A steady drift of the machine cancels between a turn and its reverse.
        for name in list(works)[:: -1 if turn % 2 else 1]:
            costs_of[name].append(works[name]())
    return {name: tuple(costs) for name, costs in costs_of.items()}


def paired(a: Work, b: Work, runs: int) -> Pair:
    """Two works in turns, ``runs`` times each."""
    costs = in_turns({"a": a, "b": b}, runs)
    return Pair(costs["a"], costs["b"])


def median_ratio(a: tuple[Cost, ...], b: tuple[Cost, ...]) -> float:
    """How many times longer ``b`` takes than ``a`` in wall time: the median over the turns."""
    return Pair(a, b).wall_ratio


def middle(costs: tuple[Cost, ...]) -> Cost:
    """Medians of wall and of CPU, each for itself."""
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))

"""Loader: batches are made ahead of time by a thread, or by processes; the batches are the same either way."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

from training.loop.batches import Batch

AHEAD = 3
"""Batches that each thread or process makes ahead."""

Make = Callable[[int], Batch]


class Stream:
    """The endless stream ``make(first), make(first + 1), ...``; ``waited`` is the time spent on it, in seconds."""

    def __init__(self, make: Make, first: int, processes: int = 0) -> None:
        self.waited = 0.0
        self._batches = _by_processes(make, first, processes) if processes else prefetched(make, first, AHEAD)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        began = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - began
        return batch


def prefetched(make: Make, first: int, depth: int = AHEAD) -> Iterator[Batch]:
    """Make batches ahead in one thread, which numpy lets run while it copies."""
    with ThreadPoolExecutor(1) as pool:
        # A queue of futures keeps the order, and bounds how far the thread runs ahead.
        pending = deque(pool.submit(make, first + i) for i in range(depth))
        try:
            while True:
                pending.append(pool.submit(make, first + len(pending)))
                first += 1
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Numbered(Dataset[Batch]):
    def __init__(self, make: Make) -> None:
        self._make = make

    def __getitem__(self, number: int) -> Batch:
        return self._make(number)


def _by_processes(make: Make, first: int, processes: int) -> Iterator[Batch]:
    """Make batches ahead in forked processes, which share the mapped shards; they come back in order."""
    loader = DataLoader(
        _Numbered(make), batch_size=None, sampler=itertools.count(first), num_workers=processes, prefetch_factor=AHEAD,
        pin_memory=torch.cuda.is_available(), multiprocessing_context="fork",
    )  # fmt: skip
    return iter(loader)

"""Batches ahead of time: by a thread of this process, or by processes of their own; the same batches either way."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

from training.loop.batches import Batch

AHEAD = 3  # batches of every thread or process

Make = Callable[[int], Batch]


class Stream:
    """``make(first), make(first + 1), ...`` for ever. ``waited`` is how many seconds the reader has waited for them."""

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
    """Made ahead in one thread (numpy frees the GIL to copy)."""
    with ThreadPoolExecutor(1) as pool:
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
    """Forked processes share the mapped shards; batches come back in shared memory, in order."""
    loader = DataLoader(
        _Numbered(make), batch_size=None, sampler=itertools.count(first), num_workers=processes, prefetch_factor=AHEAD,
        pin_memory=torch.cuda.is_available(), multiprocessing_context="fork",
    )  # fmt: skip
    return iter(loader)

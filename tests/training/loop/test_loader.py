"""Batches come in order, the same ones whoever makes them, and errors come with them."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from training.config import Config
from training.loop.batches import Batch, open_cutouts
from training.loop.loader import Stream
from training.loop.processes import World
from training.loop.trainer import batches


def numbered(number: int) -> Batch:
    if number == 9:
        raise OSError("disk gone")
    return Batch(*(torch.full((2,), float(number)) for _ in Batch._fields))


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_come_in_order_and_errors_with_them(processes: int) -> None:
    stream = Stream(numbered, 5, processes)
    assert [int(batch.flux[0]) for batch in islice(stream, 4)] == [5, 6, 7, 8]
    with pytest.raises(OSError, match="disk gone"):
        next(stream)


def test_processes_make_the_batches_that_a_thread_makes(shards: Path, tiny: Config) -> None:
    cutouts = open_cutouts(shards, tiny)
    several = replace(tiny, run=replace(tiny.run, loaders=2))
    alone, apart = (batches(cutouts, config, World(), 3) for config in (tiny, several))
    for mine, theirs in zip(islice(alone, 8), islice(apart, 8), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_the_time_spent_waiting_is_told() -> None:
    def slow(number: int) -> Batch:
        time.sleep(0.05)
        return numbered(number)

    stream = Stream(slow, 0)
    next(stream)
    assert stream.waited > 0.04

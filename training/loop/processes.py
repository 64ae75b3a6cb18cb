"""Processes of a training run: their exchange under torchrun, and the signals that stop them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass
class World:
    """Process ``rank`` of ``size``, with one ``device``; under torchrun all of them act as one."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    stopped_by: int = 0  # number of the signal that stops the run

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that its backward pass averages gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [self.device] if self.device.type == "cuda" else None)

    def agree(self, number: float) -> float:
        """Find the largest ``number`` of all processes, so that they take the same decision."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor)

    def mean(self, numbers: Tensor) -> list[float]:
        """Average each of ``numbers`` [n] over the processes."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return [float(number) / self.size for number in numbers]


def gather_views(rows: Tensor, views: int) -> Tensor:
    """Gather ``rows`` [views n, D] of all processes to [views size n, D], ordered view after view.

    The gradient of a row goes back to its process, summed over the processes; ``World.wrap`` then averages. If all
    processes compute the same loss of all rows, they step as one process would.
    """
    if not dist.is_initialized():
        return rows
    gathered: Tensor = _Gather.apply(rows.unflatten(0, (views, -1)))  # (size, views, n, D)
    return gathered.transpose(0, 1).flatten(0, 2)


class _Gather(torch.autograd.Function):
    """Stack the tensors of all processes to [size, ...]; torch's own gather passes no gradient."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        # all_gather of torch.distributed cuts the graph, so forward and backward are written here.
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed[dist.get_rank()]


@contextmanager
def join_processes() -> Iterator[World]:
    """Join the processes of torchrun, if there are any; ``stopped_by`` notes SIGINT and SIGTERM."""
    world = World()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if world.device.type == "cuda":
            world.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(world.device)
        dist.init_process_group("nccl" if world.device.type == "cuda" else "gloo")
        world.rank, world.size = dist.get_rank(), dist.get_world_size()

    # A signal is only noted: the loop ends after a whole step, in all processes at the same one.
    def stop(number: int, frame: FrameType | None) -> None:
        world.stopped_by = number

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield world
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if dist.is_initialized():
            dist.destroy_process_group()

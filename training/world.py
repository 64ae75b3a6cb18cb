"""One process or many: what the training loop needs to know of torchrun, and of being told to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass
class World:
    """``rank`` of ``size`` processes, each with one ``device``. Under torchrun they act as one."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    stopped_by: int = 0  # number of the signal that asked to stop

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [self.device] if self.device.type == "cuda" else None)

    def agree(self, number: float) -> float:
        """The largest of every process's ``number``: they then take the same decision."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor)

    def mean(self, numbers: Tensor) -> list[float]:
        """The averages, over the processes, of every one of ``numbers`` [n]."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return [float(number) / self.size for number in numbers]


@contextmanager
def joined() -> Iterator[World]:
    """The world of this process: alone, or as torchrun's environment says. Catches SIGINT and SIGTERM meanwhile."""
    world = World()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if world.device.type == "cuda":
            world.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(world.device)
        dist.init_process_group("nccl" if world.device.type == "cuda" else "gloo")
        world.rank, world.size = dist.get_rank(), dist.get_world_size()

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

"""The same objects through other people's loops, from cutouts that were cut beforehand: PyTorch, and Hyrax."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.encoder import torch_loop
from bench.harness.setup import Setup
from bench.harness.timing import Cost, family_cpu, family_cpu_since, now
from bench.scan import hyrax_loop
from bench.scan.window import Turns
from scanner.encoder.encoder import Encoder
from scanner.windows.windows import Batch

IMAGES, FEW_IMAGES = 1024, 32

HALF, COMPILED, COMPILED_HALF = "bf16 PyTorch", "compiled PyTorch", "compiled bf16 PyTorch"
"""How the names of PyTorch's other loops begin; those of ``PyTorch`` are in fp32, as it runs them by itself."""

Work = Callable[[], Cost]
"""What a loop takes for one object."""


class Peers:
    """Loops over some windows: each turn notes what an object costs. ``lacking`` says which are not there."""

    def __init__(self, loops: dict[str, Work], lacking: list[str]) -> None:
        self.costs: dict[str, list[Cost]] = {name: [] for name in loops}
        self.lacking = lacking
        self._loops = loops
        for work in loops.values():  # kernels are chosen, processes started
            work()

    def take(self) -> None:
        """One turn of every loop."""
        for name, work in self._loops.items():
            self.costs[name].append(work())

    def ratio(self, ours: Turns, peers: str = "PyTorch") -> float | None:
        """Objects a second of a scan, reading and detection included, over those of the fastest loop of a name."""
        best = [min(cost.wall for cost in turn) for turn in self._turns(peers)]
        return median(part.rate * wall for part, wall in zip(ours.windows, best, strict=True)) if best else None

    def cpu_ratio(self, ours: Turns, peers: str = "PyTorch") -> float | None:
        """The same of CPU-seconds: those of the cheapest loop of a name for an object over those of the scan."""
        best = [min(cost.cpu for cost in turn) for turn in self._turns(peers)]
        return (
            median(cpu * part.objects / part.cpu for part, cpu in zip(ours.windows, best, strict=True))
            if best
            else None
        )

    def _turns(self, peers: str) -> list[tuple[Cost, ...]]:
        return list(zip(*(costs for name, costs in self.costs.items() if name.startswith(peers)), strict=True))

    def rows(self, scans: Sequence[tuple[str, Turns]]) -> list[dict[str, Any]]:
        """Objects a second of each loop, and how many times more the scans do."""
        rows: list[dict[str, Any]] = []
        for name, costs in self.costs.items():
            ratios = {f"scan_{scan}": self.ratio(turns, name) for scan, turns in scans}
            ratios |= {f"cpu_{scan}": self.cpu_ratio(turns, name) for scan, turns in scans}
            wall, cpu = (median(getattr(cost, clock) for cost in costs) for clock in ("wall", "cpu"))
            rows.append({"peer": name, "objects_per_s": 1 / wall, "cpu_s_per_1000": 1000 * cpu, **ratios})
        return [*rows, *({"peer": why} for why in self.lacking)]


@contextmanager
def loops(setup: Setup, encoder: Encoder, flux: Batch) -> Iterator[Peers]:
    """Those that are installed, over the first of ``flux`` [N, B, S, S], with a network of the encoder's sizes."""
    flux = flux[: FEW_IMAGES if setup.quick else IMAGES]
    if missing := torch_loop.missing():
        yield Peers({}, [f"PyTorch: not installed: {missing}"])
        return
    works: dict[str, Work] = {}
    plain = torch_loop.network(encoder.path, flux.shape[-1])
    networks = [("PyTorch", plain, False), (HALF, plain, True)]
    if not setup.quick:
        compiled = torch_loop.compiled(plain)
        networks += [(COMPILED, compiled, False), (COMPILED_HALF, compiled, True)]
    for workers in (0,) if setup.quick else (0, 1):
        for name, model, half in networks:
            run = torch_loop.loop(model, flux, "cpu", half=half, workers=workers)
            works[f"{name} DataLoader, {workers} workers"] = partial(_cost, run, len(flux))
    python = setup.hyrax or Path(sys.executable)
    if (setup.quick and setup.hyrax is None) or (version := hyrax_loop.version(python)) is None:
        yield Peers(works, [f"Hyrax: not installed in {python.name}; --hyrax names a Python that has it, and timm"])
        return
    with hyrax_loop.running(python, encoder.path, flux) as hyrax:
        works[f"Hyrax {version} infer, fp32"] = partial(hyrax.per_cutout, len(flux))
        yield Peers(works, [])


def _cost(run: torch_loop.Loop, count: int) -> Cost:
    """What a loop takes for one of ``count`` objects, that of its loading process included."""
    wall, cpu = now().wall, family_cpu()
    run()
    return Cost(now().wall - wall, family_cpu_since(cpu)).per(count)

"""The same objects through other people's loops, from cutouts that were cut beforehand: PyTorch, and Hyrax."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.encoder import torch_loop
from bench.harness.setup import Setup
from bench.harness.timing import cost
from bench.scan import hyrax_loop
from bench.scan.window import Turns
from scanner.encoder.encoder import Encoder
from scanner.windows.windows import Batch

IMAGES, FEW_IMAGES = 1024, 32

HALF = "bf16 PyTorch"
"""How the names of loops in bf16 begin; those of ``PyTorch`` are in fp32."""

Rate = Callable[[], float]


class Peers:
    """Loops over some windows: each turn notes their objects a second. ``lacking`` says which are not there."""

    def __init__(self, loops: dict[str, Rate], lacking: list[str]) -> None:
        self.rates: dict[str, list[float]] = {name: [] for name in loops}
        self.lacking = lacking
        self._loops = loops
        for rate in loops.values():  # kernels are chosen, processes started
            rate()

    def take(self) -> None:
        """One turn of every loop."""
        for name, rate in self._loops.items():
            self.rates[name].append(rate())

    def ratio(self, ours: Turns, peers: str = "PyTorch") -> float | None:
        """Objects a second of a scan, reading and detection included, over those of the fastest loop of a name."""
        loops = [rates for name, rates in self.rates.items() if name.startswith(peers)]
        if not loops:
            return None
        best = [max(turn) for turn in zip(*loops, strict=True)]
        return median(part.rate / rate for part, rate in zip(ours.windows, best, strict=True))

    def rows(self, scans: Sequence[tuple[str, Turns]]) -> list[dict[str, Any]]:
        """Objects a second of each loop, and how many times more the scans do."""
        rows: list[dict[str, Any]] = []
        for name, rates in self.rates.items():
            ratios = {f"scan_{scan}": self.ratio(turns, name) for scan, turns in scans}
            rows.append({"peer": name, "objects_per_s": median(rates), **ratios})
        return [*rows, *({"peer": why} for why in self.lacking)]


@contextmanager
def loops(setup: Setup, encoder: Encoder, flux: Batch) -> Iterator[Peers]:
    """Those that are installed, over the first of ``flux`` [N, B, S, S], with a network of the encoder's sizes."""
    flux = flux[: FEW_IMAGES if setup.quick else IMAGES]
    if missing := torch_loop.missing():
        yield Peers({}, [f"PyTorch: not installed: {missing}"])
        return
    rates: dict[str, Rate] = {}
    model = torch_loop.network(encoder.path, flux.shape[-1])
    for workers in (0,) if setup.quick else (0, 1):
        for name, half in (("PyTorch", False), (HALF, True)):
            run = torch_loop.loop(model, flux, "cpu", half=half, workers=workers)
            rates[f"{name} DataLoader, {workers} workers"] = lambda run=run: len(flux) / cost(run).wall
    python = setup.hyrax or Path(sys.executable)
    if (setup.quick and setup.hyrax is None) or (version := hyrax_loop.version(python)) is None:
        yield Peers(rates, [f"Hyrax: not installed in {python.name}; --hyrax names a Python that has it, and timm"])
        return
    with hyrax_loop.running(python, encoder.path, flux) as hyrax:
        rates[f"Hyrax {version} infer, fp32"] = lambda: 1 / hyrax.per_cutout(len(flux))
        yield Peers(rates, [])

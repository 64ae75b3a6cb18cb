"""The encoder alone: images a second of the shipped layout (one session of one thread, a caller a core) against
ONNX Runtime's own threads, for several batch sizes, on windows of the demo tile; and against PyTorch.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.encoder import runtimes, torch_loop
from bench.harness import tiles
from bench.harness.setup import Setup, default_session
from bench.harness.timing import cost, in_turns, median_ratio, middle, paired
from scanner.encoder.contract import Contract
from scanner.encoder.encoder import Encoder
from scanner.encoder.runtime import CPU_BATCH
from scanner.images.tile_images import open_tile
from scanner.sources import sources
from scanner.survey import survey
from scanner.system import processor
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows

BATCHES = (CPU_BATCH, 4, 64, 256)
"""The default first. Four is the least that the encoder gives its session."""

IMAGES, FEW_IMAGES = 512, 32
LARGE = 4096
"""Rows and columns of a matrix that takes a processor as far as it goes."""


def measure(setup: Setup) -> dict[str, Any]:
    """Rows of ``batches`` and ``peers``; ``vs_default_threads`` is the ratio at the shipped batch, and
    ``peer_ratio`` that to PyTorch in fp32."""
    with Encoder(setup.model, device="cpu") as shipped:
        contract, path, threads, digest = shipped.contract, shipped.path, shipped.threads, shipped.sha256
    flux = windows(setup, contract, FEW_IMAGES if setup.quick else IMAGES)
    running = default_session(path)
    rows = [_row(setup, running, flux, batch) for batch in setup.few(BATCHES)]
    best_of_theirs = max(row["default_images_per_s"] for row in rows)
    return {
        "model_sha256": digest,
        "window": list(flux.shape[1:]),
        "embedding_dim": contract.embedding_dim,
        "threads": threads,
        "default_batch": CPU_BATCH,
        "images_per_s": rows[0]["images_per_s"],
        "cpu_s_per_1000": rows[0]["cpu_s_per_1000"],
        "vs_default_threads": rows[0]["ratio"],
        "vs_best_of_default_threads": rows[0]["images_per_s"] / best_of_theirs,
        "batches": sorted(rows, key=lambda row: int(row["batch"])),
        "products": _products(setup, path, flux),
        **_peers(setup, path, flux),
    }


def _products(setup: Setup, path: Path, flux: NDArray[np.float32]) -> dict[str, float]:
    """Multiplications and additions a second of the encoder, in thousand millions, beside numpy's largest matrix
    product, in turns: how much of what the processor can do is done.
    """
    matrix = np.ones((LARGE // 8 if setup.quick else LARGE,) * 2, np.float32)
    with Encoder(setup.model, device="cpu") as encoder:
        pair = paired(lambda: cost(lambda: encoder.embed(flux)), lambda: cost(lambda: matrix @ matrix), setup.runs)
    window = torch_loop.macs(path, flux.shape[-1]) / 1e9
    ours, theirs = len(flux) * window / middle(pair.a).wall, len(matrix) ** 3 / 1e9 / middle(pair.b).wall
    return {"gmac_a_window": window, "gmac_per_s": ours, "largest_product_gmac_per_s": theirs, "share": ours / theirs}


def _peers(setup: Setup, path: Path, flux: NDArray[np.float32]) -> dict[str, Any]:
    """Runtimes of the encoder and PyTorch loops in turns with the encoder as shipped.

    ``ratio`` is how many times longer one takes; ``times_fp32`` and ``times_bf16`` are how many times as fast it is as
    the fastest PyTorch loop in that format.
    """
    with runtimes.opened(setup) as (encoders, lacking):
        works = {name: partial(cost, partial(encoder.embed, flux)) for name, encoder in encoders.items()}
        default = next(iter(works))
        for name, work in torch_loops(setup, path, flux).items():
            # The first call starts worker processes and compiles, so it is not timed.
            work()
            works[name] = partial(cost, work)
        costs = in_turns(works, setup.runs)
    theirs = {form: [costs[name] for name in costs if name.startswith(f"PyTorch {form}")] for form in ("fp32", "bf16")}
    rows = [
        {
            "peer": name,
            "images_per_s": len(flux) / middle(turns).wall,
            "ratio": median_ratio(costs[default], turns),
            **{
                f"times_{form}": min(median_ratio(turns, of) for of in loops) for form, loops in theirs.items() if loops
            },
            "cpu_s_per_1000": 1000 * middle(turns).per(len(flux)).cpu,
        }
        for name, turns in costs.items()
    ]
    missing = [f"PyTorch: not installed: {names}"] if (names := torch_loop.missing()) else []
    return {
        "processor": processor.describe(),
        "peer_ratio": rows[0].get("times_fp32"),
        "peers": [*rows, *({"peer": why} for why in (*lacking, *missing))],
    }


def torch_loops(setup: Setup, path: Path, flux: NDArray[np.float32]) -> dict[str, torch_loop.Loop]:
    """PyTorch over cutouts that are ready, in fp32 and bf16, eager and compiled; a quick run compiles nothing."""
    if torch_loop.missing():
        return {}
    model, workers = torch_loop.network(path, flux.shape[-1]), 0 if setup.quick else 1
    loops = {}
    for form in ("fp32", "bf16"):
        loops[f"PyTorch {form}"] = torch_loop.loop(model, flux, "cpu", form == "bf16", workers)
        if not setup.quick:
            loops[f"PyTorch {form}, compiled"] = torch_loop.loop(
                torch_loop.compiled(model), flux, "cpu", form == "bf16", workers
            )
    return loops


def windows(setup: Setup, contract: Contract, count: int) -> NDArray[np.float32]:
    """``count`` windows of the tile that the scan reads, repeated where it has fewer."""
    first = tiles.made(setup.folder, setup.pixels, "raw")[0]
    opened = open_tile(survey.load("unions"), first)
    cutouts = Windows(opened, sources.detect(opened), WindowFrame(*contract.frame))
    return np.resize(cutouts.gather(0, min(count, len(cutouts))), (count, *cutouts.shape))


def _row(setup: Setup, running: Any, flux: NDArray[np.float32], batch: int) -> dict[str, Any]:
    def default() -> None:
        for start in range(0, len(flux), batch):
            running.run(None, {"flux": flux[start : start + batch]})

    with Encoder(setup.model, device="cpu", batch=batch) as encoder:
        # The first calls allocate memory, so they are not timed.
        encoder.embed(flux[: batch * encoder.threads])
        running.run(None, {"flux": flux[:batch]})
        pair = paired(lambda: cost(lambda: encoder.embed(flux)), lambda: cost(default), setup.runs)
    ours, theirs = (middle(costs).per(len(flux)) for costs in (pair.a, pair.b))
    return {
        "batch": batch,
        "images_per_s": 1 / ours.wall,
        "default_images_per_s": 1 / theirs.wall,
        "ratio": pair.wall_ratio,
        "lowest": min(pair.wall_ratios),
        "highest": max(pair.wall_ratios),
        "cpu_s_per_1000": 1000 * ours.cpu,
        "default_cpu_s_per_1000": 1000 * theirs.cpu,
    }

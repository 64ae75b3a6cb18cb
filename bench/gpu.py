"""``python -m bench.gpu``: the encoder and a scan on a GPU, against timm's transformer in PyTorch bf16 + compile.

All in one run, in turns: images a second of the bare session in each number format that the model has, of PyTorch with
the pixels on the device already, and of a whole scan; how busy the GPU was meanwhile, and what ran on the CPU instead.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bench import machine, tables, tiles, torch_loop
from bench.encoder import windows
from bench.method import Work, cost, in_turns, median_ratio, middle
from bench.setup import Setup
from catalogs import store
from catalogs.atomic import write_json
from catalogs.errors import ScannerError
from scanner import runtime, survey
from scanner.encoder import Encoder, usable_cores
from scanner.model import DEFAULT_MODEL, of_precision, resolve
from scanner.options import ScanOptions
from scanner.scan import make_run, scan_tiles

IMAGES, PIXELS, EVERY = 16_384, 10_000, 0.1
Vectors = NDArray[np.float32]


def measure(setup: Setup, device: str, images: int = IMAGES) -> dict[str, Any]:
    """Rows of ``variants`` and the ``scan``; on ``device`` cpu it shows that all of this runs, and measures nothing."""
    best = _formats(setup.model)[-1]
    with Encoder(setup.model, device, precision=best) as encoder:
        flux = windows(setup, encoder.contract, images)
        found = {
            "provider": encoder.provider,
            "batch": encoder.batch,
            "callers": encoder.threads,
            "on_the_cpu": sorted(encoder.placement.get(runtime.CPU, ())) if device != "cpu" else [],
            "variants": _variants(setup, device, flux),
        }
        with _watched() as busy, setup.scratch() as folder:
            scan = _scan(setup, encoder, folder)
    fastest = next(row["images_per_s"] for row in found["variants"] if row["variant"] == best)
    return {**found, "scan": {**scan, "of_bare_encoder": scan["objects_per_s"] / fastest, "gpu_busy_percent": busy()}}


def _formats(model: str) -> list[str]:
    """Number formats that the model has for a GPU, the fastest last."""
    return ["fp32", *(["fp16"] if of_precision(resolve(model), "fp16").is_file() else [])]


def _variants(setup: Setup, device: str, flux: Vectors) -> list[dict[str, Any]]:
    encoders = {name: Encoder(setup.model, device, precision=name) for name in _formats(setup.model)}
    works: dict[str, Callable[[], Any]] = {name: partial(encoder.embed, flux) for name, encoder in encoders.items()}
    if not torch_loop.missing():
        compiled, half = device != "cpu", torch_loop.network(resolve(setup.model), flux.shape[-1])
        name = "PyTorch, bf16" + (", compiled" if compiled else "")
        works[name] = torch_loop.resident(half, flux, device.replace("tensorrt", "cuda"), compiled)
    busy = {}
    for name, work in works.items():
        work()  # kernels are chosen, graphs compiled
        with _watched() as watched:
            work()
        busy[name] = watched()
    timed: dict[str, Work] = {name: partial(cost, work) for name, work in works.items()}
    costs = in_turns(timed, setup.runs)
    rows = [
        {
            "variant": name,
            "images_per_s": len(flux) / middle(taken).wall,
            "vs_fp32": median_ratio(taken, costs["fp32"]),
            "gpu_busy_percent": busy[name],
        }
        for name, taken in costs.items()
    ]
    for encoder in encoders.values():
        encoder.close()
    return rows


def _scan(setup: Setup, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """The scan of three tiles with as many readers as there are cores but two."""
    plan, options = survey.load("unions"), ScanOptions(readers=0 if setup.quick else max(1, usable_cores() - 2))
    run = make_run(plan, encoder, options)
    report = scan_tiles(tiles.made(setup.folder, setup.pixels, "raw"), plan, encoder, store.create(folder, run), run,
                        options)  # fmt: skip
    if report.failed:
        raise ScannerError(report.failed[0].code, report.failed[0].message, report.failed[0].hint)
    return {
        "tiles": report.count("done"),
        "objects": report.objects,
        "readers": options.readers,
        "objects_per_s": report.objects / report.wall,
    }


@contextmanager
def _watched() -> Iterator[Callable[[], float | None]]:
    """How busy the GPU is meanwhile: mean percent by nvidia-smi, None where that is not installed."""
    seen: list[float] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(seen, over), daemon=True)
    watcher.start()
    try:
        yield lambda: mean(seen) if seen else None
    finally:
        over.set()
        watcher.join()


def _watch(seen: list[float], over: threading.Event) -> None:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    while not over.wait(EVERY):
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
            seen.append(float(said.split()[0]))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("build/bench-gpu.json"))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|FILE", help="Encoder.")
@click.option("--device", default="cuda", show_default=True, metavar="cuda|cuda:N|tensorrt")
@click.option("--pixels", default=PIXELS, show_default=True, type=click.IntRange(min=200), help="Side of a tile.")
def main(out: Path, model: str, device: str, pixels: int) -> None:
    """Measure the encoder and a scan on a GPU; print tables and write JSON to --out.

    \b
    Example: python -m bench.gpu --device cuda
    """
    if runtime.gpu_count() == 0:
        raise click.ClickException("There is no NVIDIA GPU here (its driver reports none): nothing was measured.")
    folder = out.parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = measure(Setup(model, folder, pixels, quick=False), device)
    except ScannerError as error:
        raise click.ClickException(error.report()) from error
    click.echo(tables.render("gpu", found))
    write_json(out, {"machine": machine.facts(), "gpu": found})


if __name__ == "__main__":
    main()

"""``python -m bench.gpu``: the encoder and a scan on a GPU, against timm's transformer in PyTorch bf16 + compile.

All in one run. In turns: images a second of the bare encoder in each number format that the model has, with its pixels
copied to the GPU and with pixels that are there already, which is what PyTorch is given too. Then scans in their steady
state: how many readers feed the GPU, what its callers wait for, and how busy it is meanwhile.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bench.encoder import torch_loop
from bench.encoder.encoder import windows
from bench.harness import machine, report, tiles
from bench.harness.setup import Setup
from bench.harness.timing import Work, cost, in_turns, median_ratio, middle, now
from bench.scan import time_breakdown
from bench.scan.window import Turns, window
from catalogs.atomic import write_json
from catalogs.errors import ScannerError
from scanner.encoder import session
from scanner.encoder.buffers import INPUT, OUTPUT
from scanner.encoder.contract import DEFAULT_MODEL, of_precision, resolve
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.system.output_path import OUTPUT_FILE
from scanner.system.resources import usable_cores

IMAGES, PIXELS, EVERY = 16_384, 10_000, 0.1
"""Images are a multiple of the batch: those that are on the GPU already have no row to fill up."""

RAW, RICE = tiles.FORMATS
Vectors = NDArray[np.float32]
Busy = Callable[[float, float], float | None]
"""Mean percent that a GPU was busy between two readings of the clock."""


def measure(setup: Setup, device: str, images: int = IMAGES) -> dict[str, Any]:
    """``on_the_cpu`` by number format (None: unknown); rows of ``variants``, ``scans`` and ``stages``.

    On ``device`` cpu it shows that all of this runs, and measures nothing.
    """
    address = _address(device)
    with ExitStack() as stack:
        encoders = {name: stack.enter_context(Encoder(setup.model, device, precision=name)) for name in _formats(setup)}
        # The scans use the fastest format, which is last.
        encoder = list(encoders.values())[-1]
        flux = windows(setup, encoder.contract, images)
        with setup.step("the bare encoder, and PyTorch"):
            variants = _variants(_works(setup, device, encoders, flux, stack), len(flux), setup.runs, address)
        return {
            "provider": encoder.provider,
            "batch": encoder.batch,
            "callers": encoder.threads,
            "page_locked": encoder.page_locked,
            "on_the_cpu": {name: _astray(one.placement) for name, one in encoders.items()},
            "variants": variants,
            **_scans(setup, encoder, flux, address),
        }


def _formats(setup: Setup) -> list[str]:
    """Number formats that the model has for a GPU, the fastest last."""
    return ["fp32", *(["fp16"] if of_precision(resolve(setup.model), "fp16").is_file() else [])]


def _astray(placement: Mapping[str, set[str]]) -> list[str] | None:
    """Operators that run on the CPU; None where ONNX Runtime does not tell."""
    return sorted(placement.get(session.CPU, ())) if placement else None


def _works(
    setup: Setup, device: str, encoders: Mapping[str, Encoder], flux: Vectors, stack: ExitStack
) -> dict[str, Callable[[], object]]:
    """What embeds all of ``flux``, by name, PyTorch last; ``stack`` closes it."""
    works: dict[str, Callable[[], object]] = {name: partial(one.embed, flux) for name, one in encoders.items()}
    best, encoder = list(encoders.items())[-1]
    works[f"{best}, pixels on the device"] = _resident(encoder, device, flux, stack)
    if not torch_loop.missing():
        compiled, network = device != "cpu", torch_loop.network(resolve(setup.model), flux.shape[-1])
        # In PyTorch the device of TensorRT is called cuda.
        work = torch_loop.resident(network, flux, device.replace("tensorrt", "cuda"), compiled)
        works["PyTorch, bf16" + (", compiled" if compiled else "")] = work
    return works


def _resident(encoder: Encoder, device: str, flux: Vectors, stack: ExitStack) -> Callable[[], object]:
    """As ``torch_loop.resident``: all pixels are on the device already, and the vectors stay there."""
    onnx_session, provider = session.open_session(encoder.path, device, lambda _: encoder.batch)
    place, values = session.place(onnx_session, provider), session.load().OrtValue
    callers = stack.enter_context(ThreadPoolExecutor(encoder.threads))
    # Each batch has a binding, made before the clock runs, so the pixels are copied once only.
    bindings = []
    for start in range(0, len(flux), encoder.batch):
        bindings.append(onnx_session.io_binding())
        pixels = values.ortvalue_from_numpy(flux[start : start + encoder.batch], *place)
        bindings[-1].bind_ortvalue_input(INPUT, pixels)
        bindings[-1].bind_output(OUTPUT, *place)
    return lambda: list(callers.map(onnx_session.run_with_iobinding, bindings))


def _variants(works: Mapping[str, Callable[[], object]], images: int, runs: int, address: str) -> list[dict[str, Any]]:
    """A row for each; ``vs_pytorch`` is on equal terms where the pixels are on the device, as PyTorch's are."""
    busy = {}
    for name, work in works.items():
        work()  # kernels are chosen, graphs compiled
        with _watched(address) as watched:
            began = now().wall
            for _ in range(runs):
                work()
            busy[name] = watched(began, now().wall)
    timed: dict[str, Work] = {name: partial(cost, work) for name, work in works.items()}
    costs = in_turns(timed, runs)
    theirs = next((turns for name, turns in costs.items() if name.startswith("PyTorch")), None)
    return [
        {
            "variant": name,
            "images_per_s": images / middle(turns).wall,
            "vs_fp32": median_ratio(turns, costs["fp32"]),
            "vs_pytorch": median_ratio(turns, theirs) if theirs else None,
            "gpu_busy_percent": busy[name],
        }
        for name, turns in costs.items()
    ]


def _scans(setup: Setup, encoder: Encoder, flux: Vectors, address: str) -> dict[str, list[dict[str, Any]]]:
    """Scans of raw tiles with more and more readers, and of RICE tiles with the most; then the seconds of each stage.

    ``of_bare_encoder`` is the objects a second over those of the encoder alone. The callers' time is shared out as in
    ``bench.scan.time_breakdown``: what they wait for is the next tile.
    """
    series = [1] if setup.quick else _series(usable_cores())
    scans: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    for form, readers in [*((RAW, count) for count in series), (RICE, series[-1])]:
        name = f"{form}, readers: {readers}"
        with setup.step(f"a scan, {name}"):
            turns, busy = _scanned(setup, encoder, flux, form, readers, address)
        part = turns.windows[0]
        scans.append({
            "scan": name,
            "objects": part.objects,
            "fill_s": part.fill,
            "wall_s": part.wall,
            "objects_per_s": part.rate,
            "of_bare_encoder": turns.efficiency,
            "gpu_busy_percent": busy,
            **time_breakdown.shares(turns),
        })  # fmt: skip
        stages += time_breakdown.stages(name, turns)
    return {"scans": scans, "stages": stages}


def _series(cores: int) -> list[int]:
    """1, 2, 4 and so on, and all cores but two."""
    most = max(1, cores - 2)
    return sorted({*(1 << power for power in range(most.bit_length())), most})


def _scanned(
    setup: Setup, encoder: Encoder, flux: Vectors, form: str, readers: int, address: str
) -> tuple[Turns, float | None]:
    """The encoder alone, then a scan of four tiles for each reader: the first ones fill, the last are only read."""
    turns = Turns(
        setup,
        encoder,
        tiles.made(setup.folder, setup.pixels, form, 4 * readers),
        ScanOptions(readers=readers),
        flux,
    )
    turns.alone.append(cost(lambda: encoder.embed(flux)).per(len(flux)))
    with setup.scratch() as folder, _watched(address) as busy:
        began = now().wall
        part = window(encoder, turns.tiles, turns.options, folder)
    turns.windows.append(part)
    # The GPU is watched for as long as the window lasts, without the fill before it.
    ready = began + part.fill + part.lead
    return turns, busy(ready, ready + part.wall)


def _address(device: str) -> str:
    """The PCI address of a GPU, by which nvidia-smi finds it: CUDA may count in another order, and fewer of them."""
    number = int(device.partition(":")[2] or 0)
    driver, handle, buffer = session.driver(), ctypes.c_int(), ctypes.create_string_buffer(32)
    if (
        driver is None
        or driver.cuDeviceGet(ctypes.byref(handle), number)
        or driver.cuDeviceGetPCIBusId(buffer, len(buffer), handle)
    ):
        return str(number)
    return buffer.value.decode()


@contextmanager
def _watched(address: str) -> Iterator[Busy]:
    """How busy the GPU is meanwhile, by nvidia-smi: None where that is not installed, or was too slow to look."""
    looks: list[tuple[float, float]] = []
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(address, looks, over), daemon=True)
    watcher.start()

    def busy(begin: float, end: float) -> float | None:
        percent = [value for at, value in looks if begin <= at <= end]
        return mean(percent) if percent else None

    try:
        yield busy
    finally:
        over.set()
        watcher.join()


def _watch(address: str, looks: list[tuple[float, float]], over: threading.Event) -> None:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--id={address}"]
    while not over.wait(EVERY):
        try:
            output = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=10).stdout
            looks.append((now().wall, float(output.split()[0])))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return


@click.command()
@click.option("--out", type=OUTPUT_FILE, default=Path("build/bench-gpu.json"))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|FILE", help="Encoder.")
@click.option("--device", default="cuda", show_default=True, metavar="cuda|cuda:N|tensorrt")
@click.option("--pixels", default=PIXELS, show_default=True, type=click.IntRange(min=200), help="Side of a tile.")
def main(out: Path, model: str, device: str, pixels: int) -> None:
    """Measure the encoder and a scan on a GPU; print tables and write JSON to --out.

    It ends with an error if an operator ran on the CPU.

    \b
    Example: python -m bench.gpu --device cuda
    """
    if session.gpu_count() == 0:
        raise click.ClickException("There is no NVIDIA GPU here (its driver reports none): nothing was measured.")
    folder = out.parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = measure(Setup(model, folder, pixels, quick=False), device)
    except ScannerError as error:
        raise click.ClickException(error.report()) from error
    click.echo(report.render("gpu", result))
    write_json(out, {"machine": machine.facts(), "gpu": result})
    if astray := {name: operators for name, operators in result["on_the_cpu"].items() if operators}:
        operators_of = "; ".join(f"{name}: {', '.join(operators)}" for name, operators in astray.items())
        raise click.ClickException(f"These run on the CPU, not on {device}: {operators_of}.")


if __name__ == "__main__":
    main()

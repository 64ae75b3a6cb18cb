"""What of a scan's time is the encoder's, in turns with what others take for the same objects.

``efficiency`` is the time of ONNX Runtime alone (the same session, callers and batches, windows ready in memory) for as
many windows as the scan embeds, over the wall time of the scan (``bench.scan.window``): with the default encoder, and
with the cheapest to run, the same in int8, for which everything else weighs most. The shipped model is the smallest
transformer of its family, ViT-Ti. Where OpenVINO is there, a scan by it in bf16 (if the processor has it) and in int8
too: one of these is the fastest that this processor can do.

A turn of all this on whole tiles would take a quarter of an hour on two cores: it is done on a quarter of one, its rows
as long, so that reading, detection and objects keep their proportions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import click

from bench.harness import tiles
from bench.harness.setup import Setup
from bench.scan import peers, time_breakdown
from bench.scan.plain import Plain
from bench.scan.window import Turns, cut
from catalogs.errors import ScannerError
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import BF16, INT8, OPENVINO
from scanner.scan.options import GRID, ScanOptions
from scanner.system import processor

FP32_RAW, INT8_RAW, INT8_RICE, INT8_GRID = "fp32_raw", "int8_raw", "int8_rice", "int8_grid"
BY_OPENVINO = {"openvino_bf16_raw": BF16, "openvino_int8_raw": INT8}
"""Scans and their precisions."""

PART = 4
"""Of the rows of a tile, one in so many is in these."""

GRID_SIDE = 2500


def measure(setup: Setup) -> dict[str, Any]:
    """The bars by themselves; rows of ``scans``, ``stages`` and ``peers``."""
    rows = setup.side // (1 if setup.quick else PART)
    raw, rice = (tiles.made(setup.folder, setup.side, form, 4, rows=rows) for form in tiles.FORMATS)
    with _encoders(setup) as (exact, cheap, by_openvino):
        flux, objects = cut(raw[0], exact, ScanOptions())
        of = {
            FP32_RAW: Turns(setup, exact, raw, ScanOptions(), flux),
            INT8_RAW: Turns(setup, cheap, raw, ScanOptions(), flux),
            INT8_RICE: Turns(setup, cheap, rice, ScanOptions(), flux),
            **{name: Turns(setup, encoder, raw, ScanOptions(), flux) for name, encoder in by_openvino.items()},
        }
        plain = {name: Plain(setup, of[name], objects) for name in (FP32_RAW, INT8_RAW)}
        with peers.loops(setup, exact, flux) as others:
            _take(setup, of, plain, others)
        grid = _on_a_grid(setup, cheap)
        return {
            "processor": processor.describe(),
            **_bars(of, plain, others),
            "rows": rows,
            "objects": objects,
            "threads": exact.threads,
            "readers": ScanOptions().readers,
            "runs": setup.runs,
            "bytes_per_row": of[FP32_RAW].bytes_per_row,
            "fidelity_int8": dict(cheap.contract.fidelity or {}),
            "where_time_goes": {name: time_breakdown.describe(turns) for name, turns in of.items()},
            "scans": [_row(name, turns, plain.get(name)) for name, turns in {**of, INT8_GRID: grid}.items()],
            "stages": [row for name, turns in of.items() for row in time_breakdown.stages(name, turns)],
            "peers": others.rows([(name, turns) for name, turns in of.items() if name != INT8_RICE]),
        }


def _take(setup: Setup, of: Mapping[str, Turns], plain: Mapping[str, Plain], others: peers.Peers) -> None:
    for turn in range(setup.runs):
        for name in list(of)[:: -1 if turn % 2 else 1]:
            with setup.step(f"turn {turn + 1} of {setup.runs}: {name}"):
                of[name].take()
            if name in plain:
                with setup.step(f"turn {turn + 1} of {setup.runs}: plain loop beside {name}"):
                    plain[name].take()
        with setup.step(f"turn {turn + 1} of {setup.runs}: PyTorch and Hyrax"):
            others.take()


def _bars(of: Mapping[str, Turns], plain: Mapping[str, Plain], others: peers.Peers) -> dict[str, float | None]:
    return {
        "efficiency": of[FP32_RAW].efficiency,
        "efficiency_int8_raw": of[INT8_RAW].efficiency,
        "efficiency_int8_rice": of[INT8_RICE].efficiency,
        "vs_plain_loop": plain[FP32_RAW].ratio,
        "vs_plain_loop_int8": plain[INT8_RAW].ratio,
        "peer_ratio": others.ratio(of[FP32_RAW]),
        "peer_ratio_int8": others.ratio(of[INT8_RAW]),
        **{bar: value for name in BY_OPENVINO if name in of for bar, value in _fast_bars(name, of[name], others)},
    }


def _fast_bars(name: str, turns: Turns, others: peers.Peers) -> Iterator[tuple[str, float | None]]:
    """Objects a second of a scan by OpenVINO over those of the fastest loops of others; and by CPU-seconds.

    On a busy machine CPU-seconds compare better, since threads of PyTorch wait for each other.
    """
    scan = name.removesuffix("_raw")
    yield f"{scan}_efficiency", turns.efficiency
    for peer, loop in {
        "pytorch_fp32": "PyTorch",
        "pytorch_bf16": peers.HALF,
        "compiled_pytorch_bf16": peers.COMPILED_HALF,
        "hyrax": "Hyrax",
    }.items():
        yield f"{scan}_over_{peer}", others.ratio(turns, loop)
        yield f"{scan}_cpu_over_{peer}", others.cpu_ratio(turns, loop)


@contextmanager
def _encoders(setup: Setup) -> Iterator[tuple[Encoder, Encoder, dict[str, Encoder]]]:
    """The model in fp32, in int8, and by OpenVINO in each precision that can be."""
    with ExitStack() as stack:
        exact = stack.enter_context(Encoder(setup.model, device="cpu"))
        cheap = stack.enter_context(Encoder(setup.model, device="cpu", precision=INT8))
        by_openvino = {}
        for name, precision in BY_OPENVINO.items():
            try:
                encoder = Encoder(setup.model, device="cpu", precision=precision, runtime=OPENVINO)
            except ScannerError as error:
                click.echo(f"  {error.message}", err=True)
            else:
                by_openvino[name] = stack.enter_context(encoder)
        yield exact, cheap, by_openvino


def _on_a_grid(setup: Setup, encoder: Encoder) -> Turns:
    """Windows every 32 pixels, each pixel read once and in four windows: on tiles small enough for some seconds."""
    listed = tiles.made(setup.folder, min(setup.side, GRID_SIDE), "raw", 3)
    options = ScanOptions(sources=GRID, stride=32)
    flux, _ = cut(listed[0], encoder, options)
    turns = Turns(setup, encoder, listed, options, flux)
    with setup.step(f"{setup.runs} turns on a grid"):
        for _ in range(setup.runs):
            turns.take()
    return turns


def _row(name: str, turns: Turns, plain: Plain | None) -> dict[str, Any]:
    return {
        "scan": name,
        "efficiency": turns.efficiency,
        "lowest": min(turns.efficiencies),
        "highest": max(turns.efficiencies),
        "objects": turns.windows[0].objects,
        "wall_s": median(part.wall for part in turns.windows),
        "fill_s": median(part.fill for part in turns.windows),
        "objects_per_s": turns.rate,
        "cpu_s_per_1000": median(1000 * part.cpu / part.objects for part in turns.windows),
        "alone_per_s": median(1 / alone.wall for alone in turns.alone),
        "plain_loop_per_s": plain.rate if plain else None,
        **time_breakdown.shares(turns),
    }

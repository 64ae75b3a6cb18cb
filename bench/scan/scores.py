"""What the scores of a model cost a scan: the model as shipped beside the same file without its score head."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import onnx
from onnx.utils import Extractor

from bench.harness import tiles
from bench.harness.setup import Setup
from bench.scan.window import Window, window
from export.to_onnx import add_contract
from scanner.encoder import contract
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import INT8
from scanner.scan.options import ScanOptions

SIDE = 1250


def measure(setup: Setup) -> dict[str, Any]:
    """``scores_cost`` and ``scores_cost_cpu``: an object's wall and CPU-seconds with scores over those without.

    In int8, where scores weigh most. None for a model without scores or without an int8 file.
    """
    path = contract.of_precision(contract.resolve(setup.model), INT8)
    if not path.is_file() or contract.read(path).scores is None:
        return {"scores_cost": None, "scores_cost_cpu": None}
    listed = tiles.made(setup.folder, min(setup.side, SIDE), "raw", 4)
    with ExitStack() as stack:
        bare = write_without_scores(path, stack.enter_context(setup.scratch()) / "encoder.onnx")
        encoders = [stack.enter_context(Encoder(file, "cpu")) for file in (path, bare)]
        stack.enter_context(setup.step("a scan with scores and without"))
        turns: list[list[Window]] = []
        for turn in range(setup.runs):
            # A steady drift of the machine cancels between a turn and its reverse.
            order = encoders[:: -1 if turn % 2 else 1]
            scans = [_scan(setup, listed, encoder) for encoder in order]
            turns.append(scans[:: -1 if turn % 2 else 1])
    return {
        "scores_cost": median(without.rate / scored.rate for scored, without in turns),
        "scores_cost_cpu": median(
            scored.cpu / scored.objects * without.objects / without.cpu for scored, without in turns
        ),
    }


def write_without_scores(path: Path, out: Path) -> Path:
    """Write a model file to ``out`` without its scores and what only they need."""
    model = onnx.load(path)
    bare = Extractor(model).extract_model(["flux"], ["embedding"])
    onnx.save(add_contract(bare, replace(contract.read(path), scores=None)), out)
    return out


def _scan(setup: Setup, listed: list[Any], encoder: Encoder) -> Window:
    with setup.scratch() as folder:
        return window(encoder, listed, ScanOptions(), folder)

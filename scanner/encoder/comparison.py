"""What can compute an encoder on this machine: each runtime and precision, how fast it is and how well it agrees."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from catalogs.errors import ScannerError
from scanner.encoder import made_cutouts, session
from scanner.encoder.agreement import THRESHOLDS, agree_fully
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import BF16, FP16, FP32, INT8, ONNXRUNTIME, OPENVINO
from scanner.system import processor
from scanner.system.resources import usable_cores

TURNS, BATCHES = 3, 4
"""Times that each is measured, in turns, and batches of each calling thread every time."""

WORTH = 1.1
"""How many times as fast as the default another must be to be recommended."""


@dataclass(frozen=True)
class Choice:
    """A way to compute the encoder, and the options of a scan that take it."""

    runtime: str
    precision: str
    device: str = "cpu"
    rates: list[float] = field(default_factory=list)

    @property
    def options(self) -> str:
        """Options of ``scanner scan-tiles``; those of the default are empty."""
        given = {
            "--runtime": (self.runtime, ONNXRUNTIME),
            "--precision": (self.precision, FP32),
            "--device": (self.device, "cpu"),
        }
        return " ".join(f"{name} {value}" for name, (value, default) in given.items() if value != default)


def choices() -> Iterator[Choice]:
    """The default first, then all others, whether or not they can be used here."""
    yield from (Choice(ONNXRUNTIME, precision) for precision in (FP32, INT8))
    yield from (Choice(OPENVINO, precision) for precision in (FP32, INT8, BF16))
    if session.gpu_count():
        yield from (Choice(ONNXRUNTIME, precision, "cuda") for precision in (FP32, FP16))


def compare(model: str) -> dict[str, Any]:
    """Measure every choice on made-up cutouts: images a second in turns, and agreement with the default.

    A choice that cannot be used has a ``problem`` and a ``hint`` in its place, and so has one that agrees less than its
    precision may. ``recommended`` are the options of the fastest of the others.

    Raises:
        ScannerError: The model itself cannot be used: ``model.*``.
    """
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Choice, Encoder, dict[str, Any]]] = []
        for choice in choices():
            row: dict[str, Any] = {"runtime": choice.runtime, "precision": choice.precision, "device": choice.device}
            rows.append(row)
            try:
                encoder = Encoder(model, choice.device, precision=choice.precision, runtime=choice.runtime)
            except ScannerError as error:
                if not opened:  # without the default there is nothing to compare with
                    raise
                row |= {"problem": error.message, "hint": error.hint}
                continue
            opened.append((choice, stack.enter_context(encoder), row))
        default = opened[0][1]
        flux = made_cutouts.make(default.contract)
        exact = default.encode(flux)
        for _ in range(TURNS):
            for choice, encoder, _ in opened:
                # On a GPU all cutouts are one batch.
                part = flux[: BATCHES * encoder.batch * encoder.threads]
                began = time.perf_counter()
                encoder.embed(part)
                choice.rates.append(len(part) / (time.perf_counter() - began))
        for choice, encoder, row in opened:
            agreement = agree_fully(exact, encoder.encode(flux))
            row |= {
                "images_per_s": round(median(choice.rates), 1),
                "times_default": round(median(map(float.__truediv__, choice.rates, opened[0][0].rates)), 2),
                "centred_cosine": agreement.centred_cosine,
                "least_centred_cosine": agreement.least_centred_cosine,
                "neighbour_overlap": agreement.neighbour_overlap,
                "scores": asdict(agreement.scores) if agreement.scores else None,
            }
            if not THRESHOLDS[choice.precision].passed_by(agreement):
                row |= {
                    "problem": f"It changes the results too much here: {agreement}.",
                    "hint": "Do not scan with it.",
                }
        sound = [one for one in opened if "problem" not in one[2]] or opened[:1]
        best, _, row = max(sound, key=lambda one: one[2]["times_default"])
        return {
            "model": str(default.path),
            "processor": processor.describe(),
            "cores": usable_cores(),
            "runtimes": rows,
            "recommended": best.options if row["times_default"] >= WORTH else "",
        }

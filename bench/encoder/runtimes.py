"""The encoder by each runtime and precision that this machine's CPU has, opened as a scan opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.harness.setup import Setup
from catalogs.errors import ScannerError
from scanner.encoder.comparison import Choice, choices
from scanner.encoder.encoder import Encoder


@contextmanager
def opened(setup: Setup) -> Iterator[tuple[dict[str, Encoder], list[str]]]:
    """Encoders by a name such as ``openvino bf16``, the default first, and why others cannot be used here."""
    encoders: dict[str, Encoder] = {}
    lacking: list[str] = []
    with ExitStack() as stack:
        for choice in choices():
            if choice.device == "cpu":
                try:
                    encoders[name_of(choice)] = stack.enter_context(
                        Encoder(setup.model, "cpu", precision=choice.precision, runtime=choice.runtime)
                    )
                except ScannerError as error:
                    lacking.append(f"{name_of(choice)}: {error.message}")
        yield encoders, lacking


def name_of(choice: Choice) -> str:
    """Name a choice in tables."""
    return f"{choice.runtime} {choice.precision}"

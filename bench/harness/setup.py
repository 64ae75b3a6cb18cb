"""What a run of the benchmarks was asked to do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import click

from scanner.encoder import session

Item = TypeVar("Item")


def default_session(model: Path) -> Any:
    """Open a model in ONNX Runtime with its own default options."""
    return session.load().InferenceSession(str(model), providers=[session.CPU])


@dataclass(frozen=True)
class Setup:
    """``model``: name or file of the encoder. ``folder`` keeps what is made once (tiles) and what is thrown away.

    ``pixels``: side of the tiles that are scanned for their objects only, ``full`` of those by which the scan itself is
    measured (0: ``pixels``). ``quick`` shrinks everything to see that it runs: its numbers mean nothing.
    ``embeddings``: a catalogue of real ones, in place of those of the packaged tile. ``hyrax``: a Python that has
    Hyrax, another loop to compare with.
    """

    model: str
    folder: Path
    pixels: int
    quick: bool
    embeddings: Path | None = None
    full: int = 0
    hyrax: Path | None = None

    @property
    def side(self) -> int:
        """Pixels a side of the tiles by which the scan is measured."""
        return self.full or self.pixels

    @property
    def runs(self) -> int:
        """Turns of each variant; ratios are medians over them."""
        return 1 if self.quick else 3

    def few(self, full: Sequence[Item]) -> Sequence[Item]:
        """All of them, or the first alone in a quick run."""
        return full[:1] if self.quick else full

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say on standard error what is being measured, and then how long that took."""
        click.echo(f"  {name} ... ", err=True, nl=False)
        began = time.perf_counter()
        yield
        click.echo(f"{time.perf_counter() - began:.0f} s", err=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder that is gone afterwards."""
        made = Path(mkdtemp(prefix="scratch-", dir=self.folder))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

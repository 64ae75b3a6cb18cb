"""Hyrax's own ``infer`` on the same cutouts, in a Python that has it: its hundred dependencies need not be ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bench.encoder import torch_loop
from bench.harness.timing import Cost, family_cpu, family_cpu_since

TICK = 1e-3
"""Seconds that are the least to tell two runs apart."""
PROGRAM = Path(__file__).with_name("hyrax_infer.py")
ABOUT = "import hyrax, timm, importlib.metadata; print(importlib.metadata.version('hyrax'))"


def version(python: Path) -> str | None:
    """Hyrax's version in that Python; None where it, or timm for the network, is not installed."""
    done = subprocess.run([python, "-c", ABOUT], capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else None


class Hyrax:
    """A running Hyrax; ``cost`` is that of ``infer`` over the first ``count`` cutouts."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors

    def cost(self, count: int) -> Cost:
        before = family_cpu()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"Hyrax ended with {self._process.wait()}: {self._errors.read_text(encoding='utf-8')[-2000:]}"
            )
        return Cost(float(answer), family_cpu_since(before))

    def per_cutout(self, count: int) -> Cost:
        """The cost of a cutout, without that of the beginning and the end of ``infer``."""
        few = max(1, count // 4)
        spent = self.cost(count) - self.cost(few)
        return Cost(max(spent.wall, TICK), max(spent.cpu, TICK)).per(max(count - few, 1))


@contextmanager
def running(python: Path, model: Path, flux: NDArray[np.float32]) -> Iterator[Hyrax]:
    """Hyrax with a transformer of the encoder's sizes and ``flux`` [N, B, S, S] in its memory, once warmed up."""
    with TemporaryDirectory() as folder:
        cutouts = Path(folder) / "cutouts.npy"
        np.save(cutouts, np.nan_to_num(flux))
        sizes = json.dumps(torch_loop.timm_sizes(model, flux.shape[-1]))
        command = [python, str(PROGRAM), str(cutouts), sizes]
        errors = Path(folder) / "errors.txt"
        with (
            errors.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", cwd=folder
            ) as process,
        ):
            hyrax = Hyrax(process, errors)
            # The first call starts what later ones use, so it is not timed.
            hyrax.cost(min(16, len(flux)))
            try:
                yield hyrax
            finally:
                process.terminate()  # it may not see its input end: processes forked meanwhile hold that open

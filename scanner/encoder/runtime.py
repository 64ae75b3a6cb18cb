"""What the encoder needs of a runtime, and which one opens a model file."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.encoder import session
from scanner.encoder.buffers import Encoded
from scanner.encoder.contract import ModelFile
from scanner.encoder.onnx_runtime import OnnxRuntimeModel
from scanner.encoder.openvino_runtime import OpenVinoModel
from scanner.encoder.options import OPENVINO
from scanner.system.resources import usable_cores

# Rows of a batch. On a CPU 16 keep the activations in the cache of a core; a GPU needs more to be busy.
CPU_BATCH, GPU_BATCH = 16, 512
# A matrix with one row takes another kernel, which adds up in another order.
CPU_SMALLEST = 4


class Buffers(Protocol):
    """Memory of one calling thread: windows that are written to ``flux`` [rows, B, S, S] are not copied again."""

    flux: NDArray[np.float32]
    page_locked: bool

    def run(self, flux: NDArray[np.float32]) -> Encoded:
        """Encode at most ``rows`` windows [n, B, S, S]; the rest of the batch is zeros."""


class OpenModel(Protocol):
    """A model file that a runtime has opened on a device; many threads compute with it, each with its own buffers.

    ``software`` is the runtime's name and version, ``provider`` what computes, ``rows`` the size of every batch.
    """

    software: str
    provider: str
    on_cpu: bool
    rows: int

    @property
    def nodes(self) -> dict[str, tuple[str, list[Any]]]:
        """Type and shape of the graph's inputs and outputs."""

    @property
    def placement(self) -> dict[str, set[str]]:
        """Operators by the provider that runs them, on a GPU; empty on a CPU, or where it is unknown."""

    def binding(self, shape: tuple[int, int, int], dim: int, scores: int) -> Buffers:
        """Make buffers for windows of ``shape`` [B, S, S], their vectors [D] and scores [K]."""


def open_model(file: ModelFile, device: str, threads: int | None, batch: int | None) -> OpenModel:
    """Open a model file with its runtime; ``batch`` is None for the rows that were measured as best.

    Raises:
        ScannerError: ``runtime.*``, ``device.*``, ``model.unreadable``.
        ValueError: ``batch`` is given for OpenVINO, whose vectors in bf16 depend on it.
    """
    if file.runtime == OPENVINO:
        if batch not in (None, CPU_BATCH):
            raise ValueError(f"OpenVINO computes batches of {CPU_BATCH}: in bf16 others give other vectors")
        return OpenVinoModel(file.path, file.precision, threads or usable_cores(), CPU_BATCH)
    return OnnxRuntimeModel(file.path, device, lambda provider: _rows(batch, provider))


def _rows(batch: int | None, provider: str) -> int:
    """Rows per call of the session; by default as measured for the provider."""
    return max(batch or CPU_BATCH, CPU_SMALLEST) if provider == session.CPU else batch or GPU_BATCH

"""The encoder in half precision: half the size, and the fastest format of a GPU."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from torch import Tensor, nn

from export.precision import write_format
from export.to_onnx import trace
from scanner.encoder.agreement import Agreement, Vectors
from scanner.encoder.contract import Contract
from training.model.embedding import EmbeddingGraph


class HalfEncoder(nn.Module):
    """An encoder that computes in float16 between float32 input and output.

    Stretch and standardisation stay outside in float32, since fluxes in nJy overflow float16 (65504). So do pooling,
    centring, rotation, unit length and the score head, whose sums need the digits.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = deepcopy(encoder).half()

    def forward(self, x: Tensor) -> Tensor:
        # [N, B, S, S] to tokens [N, 1 + L, D].
        tokens: Tensor = self.encoder(x.half())
        return tokens.float()


def to_half(graph: EmbeddingGraph) -> EmbeddingGraph:
    """Copy the graph with an encoder that computes in float16."""
    # A copy, since a release still writes the float32 weights of the graph after this.
    half = deepcopy(graph)
    half.encoder = HalfEncoder(graph.encoder)
    return half


def export_half(graph: EmbeddingGraph, contract: Contract, out: Path, full: Path, flux: Vectors) -> Agreement:
    """Write ``out`` if what it gives for ``flux`` [N, B, S, S] agrees with the float32 file ``full``.

    Raises:
        ScannerError: ``export.precision``; activations beyond 65504 are the usual cause.
    """
    return write_format(trace(to_half(graph), contract), "fp16", contract, out, full, flux)

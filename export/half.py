"""The same encoder with weights in half precision: half the size, and what a GPU is fastest at."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor, nn

from catalogs.atomic import replacing
from catalogs.errors import ScannerError
from export.graph import EmbeddingGraph
from export.to_onnx import trace, with_contract
from export.verify import cases
from scanner.model import Contract

LEAST_COSINE = 0.999
NEIGHBOURS = 10

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Between vectors of two precisions: the least and the mean cosine, and the mean share of common neighbours."""

    least_cosine: float
    mean_cosine: float
    overlap: float

    def __str__(self) -> str:
        return (
            f"cosine {self.mean_cosine:.5f} (least {self.least_cosine:.5f}), "
            f"{self.overlap:.1%} of the {NEIGHBOURS} nearest neighbours in common"
        )


class HalfEncoder(nn.Module):
    """An encoder that computes in float16 between float32 input and output.

    Fluxes in nJy overflow float16 (65504), so stretch and standardisation stay in float32, outside; so do pooling,
    centring, rotation and unit length, whose sums want the digits.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = deepcopy(encoder).half()

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.encoder(x.half())
        return tokens.float()


def in_half(graph: EmbeddingGraph) -> EmbeddingGraph:
    """A copy of the graph whose encoder computes in float16."""
    half = deepcopy(graph)
    half.encoder = HalfEncoder(graph.encoder)
    return half


def export_half(graph: EmbeddingGraph, contract: Contract, out: Path, full: Path, flux: Vectors) -> Agreement:
    """Write ``out`` if its vectors of ``flux`` [N, B, S, S] are those of the float32 file ``full`` within rounding.

    Raises ``ScannerError`` ``export.half`` where a cosine falls below 0.999, or a vector is not finite or not of unit
    length on any of the cases of ``export.verify``.
    """
    said = replace(contract, training_run=f"{contract.training_run}, float16 weights")
    with replacing(out) as temporary:
        model = with_contract(trace(in_half(graph), contract), said)
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        for name, batch in cases(flux):
            length = np.linalg.norm(session.run(None, {"flux": batch})[0], axis=1)
            if not np.abs(length - 1).max() < 1e-3:
                raise _refused(f"on the check {name!r} a vector is not of unit length")
        reference = onnxruntime.InferenceSession(full, providers=["CPUExecutionProvider"])
        agreement = agree(reference.run(None, {"flux": flux})[0], session.run(None, {"flux": flux})[0])
        if agreement.least_cosine < LEAST_COSINE:
            raise _refused(str(agreement))
    return agreement


def agree(one: Vectors, other: Vectors) -> Agreement:
    """How alike two sets of unit vectors [N, D] of the same N objects are."""
    cosine = np.sum(one * other, axis=1)
    nearest = [_nearest(vectors) for vectors in (one, other)]
    common = [len(set(a) & set(b)) / len(a) for a, b in zip(*nearest, strict=True)]
    return Agreement(float(cosine.min()), float(cosine.mean()), float(np.mean(common)))


def _nearest(vectors: Vectors) -> NDArray[np.intp]:
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1)[:, : min(NEIGHBOURS, len(vectors) - 1)]


def _refused(why: str) -> ScannerError:
    return ScannerError(
        "export.half",
        f"Half precision changes the vectors too much: {why}. No float16 file was written.",
        "Activations beyond 65504 are the usual cause; use the float32 file.",
    )

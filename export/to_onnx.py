"""From checkpoint to a verified ``encoder.onnx`` with its contract inside."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from catalogs.atomic import replacing
from export.embedding_options import DEFAULT, EmbeddingOptions
from export.graph import EmbeddingGraph
from export.verify import Verification, verify
from scanner.encoder.contract import CONTRACT_KEY, Contract
from training.loop.checkpoint import Checkpoint, add_first_stages, load

OPSET = 17
LICENCE = "BSD-3-Clause"


@dataclass(frozen=True)
class Exported:
    """A file that has passed."""

    path: Path
    contract: Contract
    checkpoint: Checkpoint
    verification: Verification


def export(
    checkpoint: Path,
    out: Path,
    options: EmbeddingOptions = DEFAULT,
    cutouts: Path | None = None,
    licence: str = LICENCE,
    first: Path | None = None,
) -> Exported:
    """Write ``out`` if, and only if, ONNX Runtime computes from it what torch computes (see ``export.verify``).

    ``cutouts`` is a folder of shards to compare on; without it, made-up galaxies are used. ``first`` is the run that an
    older ``checkpoint`` began with, of which it tells no more than the digest.
    Raises ``ScannerError``: ``export.disagrees``, and those of ``training.loop.checkpoint``.
    """
    source = load(checkpoint)
    if first is not None:
        source = add_first_stages(source, load(first))
    graph = EmbeddingGraph(source, options)
    contract = make_contract(source, graph, licence)
    with replacing(out) as temporary:
        temporary.write_bytes(add_contract(trace(graph, contract), contract).SerializeToString(deterministic=True))
        verification = verify(temporary, graph, source.config, cutouts)
    return Exported(out, contract, source, verification)


def make_contract(checkpoint: Checkpoint, graph: EmbeddingGraph, licence: str = LICENCE) -> Contract:
    """What the file promises about its pixels and vectors."""
    model, progress = checkpoint.config.model, checkpoint.progress
    return Contract(
        bands=model.bands, pixel_scale=model.pixel_scale, window=model.window, embedding_dim=model.dim,
        pooling=str(graph.options),
        stretch=graph.pixels.describe(),
        weights_sha256=checkpoint.weights_sha256,
        training_run=f"{checkpoint.config.name}, {progress['step']} steps", licence=licence,
    )  # fmt: skip


def trace(graph: EmbeddingGraph, contract: Contract) -> onnx.ModelProto:
    """The graph as ONNX, batch dimension free, all others fixed.

    By the TorchScript-based exporter at opset 17: measured on CPUs, ONNX Runtime runs its graph 10-18 % faster than
    those of the dynamo-based one (opset 23, 18), and every ONNX Runtime since 1.13 reads it. Where torch no longer has
    it, ``dynamo=True`` with ``dynamic_shapes`` and opset 18 gives the same numbers.
    """
    example = torch.zeros(2, len(contract.bands), contract.window, contract.window)
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        torch.onnx.export(
            graph, (example,), file, dynamo=False, opset_version=OPSET,
            input_names=["flux"], output_names=["embedding"], dynamic_axes={"flux": {0: "N"}, "embedding": {0: "N"}},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def add_contract(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """The model with nothing but the contract in its metadata: exporters leave source paths in nodes."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.metadata_props.add(key=CONTRACT_KEY, value=contract.to_json())
    onnx.checker.check_model(model, full_check=True)
    return model

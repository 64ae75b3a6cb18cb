"""Export of a checkpoint to a verified ``encoder.onnx`` that holds its contract."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.scores import Scores
from export import LICENCE
from export.verify import Verification, verify
from scanner.encoder.contract import CONTRACT_KEY, Contract
from scanner.encoder.onnx_file import SEAL_KEY
from training.cutouts.shards import VALIDATE
from training.loop.checkpoint import Checkpoint, add_first_stages, load
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import DEFAULT, EmbeddingOptions

OPSET = 17


@dataclass(frozen=True)
class Exported:
    """A file that was verified."""

    path: Path
    contract: Contract
    checkpoint: Checkpoint
    verification: Verification


def export(
    checkpoint: Path,
    out: Path,
    options: EmbeddingOptions | None = None,
    cutouts: Path | None = None,
    licence: str = LICENCE,
    first: Path | None = None,
) -> Exported:
    """Write ``out`` if ONNX Runtime computes from it what torch computes (see ``export.verify``).

    ``options`` are the default ones, or those that a run with scores was trained with. ``cutouts`` is a folder of
    shards to compare on; without it, made-up galaxies are used. ``first`` is the run that an early ``checkpoint`` began
    with, of which it only holds the digest.

    Raises:
        ScannerError: ``export.disagrees``, ``export.fixed_options``, ``checkpoint.unfinished``, or what
            ``training.loop.checkpoint`` raises.
    """
    source = load(checkpoint)
    if first is not None:
        source = add_first_stages(source, load(first))
    if source.is_scored and source.optimiser:
        raise ScannerError(
            ErrorCode.CHECKPOINT_UNFINISHED,
            f"The scores of run {source.config.name!r} are not calibrated yet.",
            "Finish the run, which calibrates them: python -m training pretrain ... --resume",
        )
    graph = source.embedding(options or DEFAULT)
    if options not in (None, graph.options):
        raise ScannerError(
            ErrorCode.EXPORT_FIXED_OPTIONS,
            f"Run {source.config.name!r} was trained with {graph.options}, not {options}: its embedding cannot change.",
            "Leave out --pooling, --whitening, --steadiness and --emphasis.",
        )
    contract = make_contract(source, graph, licence)
    # The file takes its place after it is verified.
    with replacing(out) as temporary:
        temporary.write_bytes(add_contract(trace(graph, contract), contract).SerializeToString(deterministic=True))
        verification = verify(temporary, graph, source.config, cutouts)
    return Exported(out, contract, source, verification)


def make_contract(checkpoint: Checkpoint, graph: EmbeddingGraph, licence: str = LICENCE) -> Contract:
    """Make the contract of a file about its pixels and vectors."""
    model, progress = checkpoint.config.model, checkpoint.progress
    return Contract(
        bands=model.bands, pixel_scale=model.pixel_scale, window=model.window, embedding_dim=model.dim,
        pooling=str(graph.options),
        stretch=graph.pixels.describe(),
        weights_sha256=checkpoint.weights_sha256,
        training_run=f"{checkpoint.config.name}, {progress['step']} steps", licence=licence,
        scores=make_scores(checkpoint),
    )  # fmt: skip


def make_scores(checkpoint: Checkpoint) -> Scores | None:
    """Describe the scores of a run of the third stage, and the cutouts that they were calibrated on."""
    score = checkpoint.config.score
    if not checkpoint.is_scored:
        return None
    held_out = [shard for shard in checkpoint.data["manifest"]["shards"] if shard.get("split") == VALIDATE]
    sources = ", ".join(sorted({shard["source"] for shard in held_out}))
    # A run of an earlier version does not tell how many there were.
    counts = checkpoint.data.get("calibrated_on", {})
    told = "; ".join(f"{like:,} of {name} against {other:,} ordinary objects" for name, (like, other) in counts.items())
    population = f"Held-out cutouts of {sources}: {told or 'those of the class against ordinary objects'}."
    return Scores(score.names, score.prevalence, population)


def trace(graph: EmbeddingGraph, contract: Contract) -> onnx.ModelProto:
    """Trace the graph to ONNX, with a free batch dimension and all others fixed.

    The TorchScript-based exporter at opset 17 is used: ONNX Runtime runs its graph faster than that of the dynamo-based
    one, and every ONNX Runtime since 1.13 reads it. Where torch no longer has it, ``dynamo=True`` with
    ``dynamic_shapes`` and opset 18 gives the same numbers.
    """
    # Flux [N, B, S, S]: a trace records operations and shapes, whatever the values are.
    example = torch.zeros(2, len(contract.bands), contract.window, contract.window)
    names = outputs(contract)
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        torch.onnx.export(
            graph, (example,), file, dynamo=False, opset_version=OPSET,
            input_names=["flux"], output_names=names, dynamic_axes={name: {0: "N"} for name in ("flux", *names)},
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def outputs(contract: Contract) -> list[str]:
    """List the outputs of a file in the order of the graph's."""
    return ["embedding"] if contract.scores is None else ["embedding", "scores"]


def add_contract(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """Put the contract into the metadata of a model, with a digest of all the file, and remove all else there.

    All else are, for example, the source paths of the exporter.
    """
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.metadata_props.add(key=CONTRACT_KEY, value=contract.to_json())
    onnx.checker.check_model(model, full_check=True)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    model.metadata_props.add(key=SEAL_KEY, value=digest)
    return model

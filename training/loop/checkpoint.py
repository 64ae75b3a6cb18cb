"""Checkpoint: configuration, progress, weights, optimiser and embedding statistics of a run in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from training.config import Config
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import DEFAULT, EmbeddingOptions
from training.model.mae import MaskedAutoencoder
from training.model.pooling import Statistics
from training.model.score_head import ScoreHead

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A run at one step.

    ``progress`` and ``data`` are JSON objects: how far the run is, and which cutouts it saw. ``weights`` are those of
    the autoencoder, ready for use. ``state`` and ``optimiser`` are what an unfinished run needs to resume: the heads,
    the autoencoder as last stepped where ``weights`` are an average, and the moments of the optimiser.
    """

    config: Config
    progress: Mapping[str, Any]
    data: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor] = field(default_factory=dict)
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: Mapping[str, Statistics] = field(default_factory=dict)

    def model(self) -> MaskedAutoencoder:
        """Make the autoencoder with these weights, in evaluation mode."""
        model = MaskedAutoencoder(self.config.model)
        model.load_state_dict(self.weights)
        return model.eval()

    @property
    def is_scored(self) -> bool:
        """Whether this is a run of the third stage, whose ``weights`` are those of an embedding graph with a head."""
        return bool(self.config.score.classes)

    def embedding(self, options: EmbeddingOptions = DEFAULT) -> EmbeddingGraph:
        """Make the graph from fluxes to embeddings, and scores after a third stage, which fixes the ``options``.

        Raises:
            ScannerError: ``checkpoint.unfinished`` if the run has no embedding statistics yet.
        """
        if self.is_scored:
            graph = blank_graph(self.config, read_record(self.data["recipe"], EmbeddingOptions))
            graph.load_state_dict(self.weights)
            return graph
        return self.autoencoder_graph(options)

    def autoencoder_graph(self, options: EmbeddingOptions = DEFAULT) -> EmbeddingGraph:
        """Make the graph of the autoencoder whose ``weights`` and ``statistics`` these are; see ``embedding``."""
        if options.pooling not in self.statistics:
            raise ScannerError(
                ErrorCode.CHECKPOINT_UNFINISHED,
                f"The checkpoint of {self.config.name!r} has no statistics of {options.pooling!r} embeddings.",
                "Finish the run, which computes them: python -m training pretrain ... --resume",
            )
        graph = EmbeddingGraph(self.config.model, self.statistics[options.pooling], options)
        weights = {name: tensor for name, tensor in self.weights.items() if not name.startswith("decoder.")}
        graph.load_state_dict(graph.state_dict() | weights)
        return graph

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the names and bytes of all weights, which does not depend on the file format."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; ``path`` appears when it is complete."""
    # One flat name space, as safetensors has; the prefix tells the parts apart again.
    tensors = {f"weights/{name}": tensor for name, tensor in checkpoint.weights.items()}
    tensors |= {f"state/{name}": tensor for name, tensor in checkpoint.state.items()}
    tensors |= {f"optimiser/{name}": tensor for name, tensor in checkpoint.optimiser.items()}
    for pooling, statistics in checkpoint.statistics.items():
        tensors |= {f"statistics/{pooling}/{name}": tensor for name, tensor in statistics._asdict().items()}
    parts = {"config": checkpoint.config.to_dict(), "progress": checkpoint.progress, "data": checkpoint.data}
    metadata = {key: json.dumps(value, sort_keys=True) for key, value in parts.items()}
    # The device does not matter to the file: a run can be resumed on another one.
    with replacing(path) as temporary:
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        temporary.write_bytes(to_bytes(on_cpu, metadata))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the one in the folder of a run.

    Raises:
        ScannerError: ``checkpoint.missing``, ``checkpoint.damaged``, or ``config.bad`` from another version.
    """
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise ScannerError(
            ErrorCode.CHECKPOINT_MISSING, f"There is no checkpoint {path}.", "python -m training pretrain --help"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: load_json(value) for key, value in file.metadata().items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return Checkpoint(
            Config.from_recorded(metadata["config"], str(path)), metadata["progress"], metadata["data"],
            _part(tensors, "weights/"), _part(tensors, "state/"), _part(tensors, "optimiser/"),
            _statistics(_part(tensors, "statistics/")),
        )  # fmt: skip
    except (SafetensorError, AttributeError, KeyError, ValueError) as error:
        raise ScannerError(
            ErrorCode.CHECKPOINT_DAMAGED, f"{path} is not a checkpoint of this program: {error}."
        ) from error


def blank_graph(config: Config, options: EmbeddingOptions) -> EmbeddingGraph:
    """Make an embedding graph of this shape, with a score head if the configuration has one, to load weights into."""
    model, score = config.model, config.score
    head = ScoreHead(model.dim, score.hidden, len(score.classes), score.pooling, score.given) if score.classes else None
    return EmbeddingGraph(model, Statistics.blank(len(model.bands), model.dim), options, head)


def stages(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Describe a run, and before it the runs whose weights it began with, oldest first."""
    stage = describe_stage(checkpoint.config, checkpoint.progress, checkpoint.weights_sha256)
    return [*checkpoint.data.get("stages", []), stage]


def describe_stage(config: Config, progress: Mapping[str, Any], weights_sha256: str) -> dict[str, Any]:
    """Describe one run for the card of a model that came of it."""
    return {
        "name": config.name,
        "weights_sha256": weights_sha256,
        "steps": progress["step"],
        "images": progress["step"] * config.optimiser.batch * config.objective.views,
        "minutes": round(progress["seconds"] / 60, 1),
        "mask_ratio": config.model.mask_ratio,
        "normalised_target": config.model.normalised_target,
    }


def add_first_stages(checkpoint: Checkpoint, first: Checkpoint) -> Checkpoint:
    """Add the ``stages`` of the run that a checkpoint began with; checkpoints of early versions lack them.

    Raises:
        ScannerError: ``checkpoint.other_first`` if it did not begin with ``first``.
    """
    if checkpoint.data.get("began_with") != first.weights_sha256:
        raise ScannerError(
            ErrorCode.CHECKPOINT_OTHER_FIRST,
            f"Run {checkpoint.config.name!r} did not begin with {first.config.name!r}.",
        )
    return replace(checkpoint, data={**checkpoint.data, "stages": stages(first)})


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the state of an optimiser to named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{number}/{name}": value for number, values in state.items() for name, value in values.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that ``optimiser_tensors`` flattened."""
    # Parameters are numbered in the order of the groups, which depends on the model alone.
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _statistics(tensors: Mapping[str, Tensor]) -> dict[str, Statistics]:
    poolings = sorted({name.split("/")[0] for name in tensors})
    return {how: Statistics(*(tensors[f"{how}/{name}"] for name in Statistics._fields)) for how in poolings}

"""Stages of a training: what a run trains, what it keeps of that, and what it adds at the end.

``Pretraining`` is the masked autoencoder of the first two stages, ``Scoring`` the third stage with its lens score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from catalogs.errors import ErrorCode, ScannerError
from training.config import Config
from training.cutouts.shards import KINDS
from training.loop.batches import Batch, Cutouts
from training.loop.calibration import calibrate_scores
from training.loop.checkpoint import Checkpoint, load, stages
from training.loop.objective import TrainingObjective
from training.loop.release_folder import CONFIG, load_release, release_stages
from training.loop.score_objective import ScoreObjective
from training.loop.statistics import calibrate_pixels, fit_embedding, fit_embedding_statistics
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import DEFAULT, EmbeddingOptions
from training.model.mae import MaskedAutoencoder
from training.model.pooling import Statistics
from training.model.score_head import ScoreHead


class Stage(Protocol):
    """What a ``Trainer`` trains.

    ``objective`` is trained; ``kept`` is the part of it, under the name ``prefix``, that a checkpoint keeps. ``origin``
    is added to the data of a checkpoint.
    """

    objective: nn.Module
    prefix: str
    parts: tuple[str, ...]
    origin: Mapping[str, Any]

    @property
    def kept(self) -> nn.Module: ...
    def held_out_loss(self, kept: nn.Module, batch: Batch) -> Tensor: ...
    def finish(
        self, kept: nn.Module, cutouts: Cutouts, validation: Cutouts, device: torch.device
    ) -> Mapping[str, Any]: ...


class Pretraining:
    """The masked autoencoder, with random weights or those of the run ``begin``."""

    prefix, parts = "mae.", TrainingObjective.parts

    def __init__(self, config: Config, cutouts: Cutouts, begin: Path | None) -> None:
        self.config, self.origin = config, dict[str, Any]()
        self.objective = TrainingObjective(config, _frequency(cutouts))
        if begin is None:
            calibrate_pixels(self.objective.mae, cutouts, config)
        else:
            first = load(begin)
            _load_first(self.objective.mae, first)
            self.origin = {"began_with": first.weights_sha256, "stages": stages(first)}

    @property
    def kept(self) -> MaskedAutoencoder:
        return self.objective.mae

    def held_out_loss(self, kept: nn.Module, batch: Batch) -> Tensor:
        """Compute the loss of the reconstruction."""
        loss: Tensor = kept(batch.flux, batch.noise, batch.hidden).loss
        return loss

    def finish(self, kept: nn.Module, cutouts: Cutouts, validation: Cutouts, device: torch.device) -> Mapping[str, Any]:
        """Compute the statistics of the embeddings."""
        assert isinstance(kept, MaskedAutoencoder)
        return {"statistics": fit_embedding_statistics(kept, cutouts, self.config, device)}


class Scoring:
    """The embedding graph of the run or release ``begin``, with a score head of random weights.

    Without ``begin`` the weights of the encoder are random too, and the embedding is its pooled patches: this serves to
    measure what pre-training is worth.
    """

    prefix, parts = "graph.", ScoreObjective.parts

    def __init__(
        self, config: Config, cutouts: Cutouts, begin: Path | None, options: EmbeddingOptions = DEFAULT
    ) -> None:
        self.config = config
        graph, self.origin = _load_graph(config, cutouts, begin, options)
        score = config.score
        # The same random head whatever the seed, so that the weights of several runs can be averaged.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            graph.head = ScoreHead(config.model.dim, score.hidden, len(score.classes), score.pooling, score.given)
        if not score.frozen:
            graph.options = replace(graph.options, whitening=score.whitening)
        self.origin = {**self.origin, "recipe": asdict(graph.options)}
        self.objective = ScoreObjective(score, graph)

    @property
    def kept(self) -> EmbeddingGraph:
        return self.objective.graph

    def held_out_loss(self, kept: nn.Module, batch: Batch) -> Tensor:
        """Compute the cross entropy of the classes."""
        assert isinstance(kept, EmbeddingGraph)
        assert kept.head is not None
        return functional.cross_entropy(kept.head(kept.encode(batch.flux)[0]).float(), batch.kind)

    def finish(self, kept: nn.Module, cutouts: Cutouts, validation: Cutouts, device: torch.device) -> Mapping[str, Any]:
        """Blend the encoder with that before, fit the embedding to it, and calibrate the scores on held-out cutouts."""
        assert isinstance(kept, EmbeddingGraph)
        if not self.config.score.frozen:
            blend(kept, self.objective.before, self.config.score.blend)
            fit_embedding(kept, cutouts, self.config, device)
        return {"data": {"calibrated_on": calibrate_scores(kept, validation, self.config, device)}}


@torch.no_grad()
def blend(graph: EmbeddingGraph, before: EmbeddingGraph, share: float) -> None:
    """Move the weights of a graph, but for its head, to ``share`` of the way from those it began with.

    Between the two, a fine-tuned network keeps what it learned, and does better on images unlike those of the training.

    Source: Wortsman et al. 2022, arXiv:2109.01903.
    """
    earlier = {name: weight for name, weight in before.named_parameters() if not name.startswith("head.")}
    for name, parameter in graph.named_parameters():
        if name in earlier:
            parameter.lerp_(earlier[name].to(parameter.device), 1 - share)


def make_stage(config: Config, cutouts: Cutouts, begin: Path | None, options: EmbeddingOptions = DEFAULT) -> Stage:
    """Make the stage that a configuration describes, with the weights of the run ``begin`` if there is one.

    ``options`` are those of the embedding where ``begin`` does not tell them: those of a run that is resumed.
    """
    return Scoring(config, cutouts, begin, options) if config.score.classes else Pretraining(config, cutouts, begin)


def _load_graph(
    config: Config, cutouts: Cutouts, begin: Path | None, options: EmbeddingOptions
) -> tuple[EmbeddingGraph, dict[str, Any]]:
    """Load the embedding graph that a third stage begins with, and describe where it came from."""
    if begin is None:
        random = MaskedAutoencoder(config.model)
        calibrate_pixels(random, cutouts, config)
        statistics = {options.pooling: Statistics.blank(len(config.model.bands), config.model.dim)}
        return Checkpoint(config, {}, {}, random.state_dict(), statistics=statistics).autoencoder_graph(options), {}
    if (begin / CONFIG).is_file():
        graph, earlier = load_release(begin), release_stages(begin)
    else:
        first = load(begin)
        graph, earlier = first.embedding(), stages(first)
    model, blocks = config.model, graph.encoder.vit.blocks
    shape = graph.pixels.bands, tuple(graph.pixels.fill.shape), len(graph.mean), len(blocks), blocks[0].attn.num_heads
    if shape != (model.bands, (len(model.bands), model.patch, model.patch), model.dim, model.depth, model.heads):
        raise _other_model(str(begin))
    return graph, {"began_with": earlier[-1]["weights_sha256"], "stages": earlier}


def _frequency(cutouts: Cutouts) -> Tensor:
    """Count the share of each kind among the cutouts of known kind, [kinds]."""
    counts = np.bincount(cutouts.kinds[cutouts.kinds >= 0], minlength=len(KINDS))
    return torch.from_numpy(counts / max(counts.sum(), 1)).float()


def _load_first(model: MaskedAutoencoder, first: Checkpoint) -> None:
    """Take the weights and the stretch of ``first``, whose ``normalised_target`` may differ.

    Only the decoder depends on that, and no export keeps it. Raises ``run.other_model`` for another shape.
    """
    try:
        model.load_state_dict(first.weights)
    except RuntimeError as error:
        raise _other_model(repr(first.config.name)) from error


def _other_model(first: str) -> ScannerError:
    hint = "Give both runs the same bands, window, patch, dimensions and depths in [model]."
    return ScannerError(ErrorCode.RUN_OTHER_MODEL, f"The weights of run {first} do not fit this model.", hint)

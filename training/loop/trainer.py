"""Trainer: model, optimiser and data of one process, and a step that is a function of its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from catalogs.errors import ErrorCode, ScannerError
from training.config import Config
from training.cutouts.shards import KINDS, VALIDATE
from training.loop.batches import CENTRED, Batch, Cutouts, make_batch, open_cutouts, sample_keys, views
from training.loop.checkpoint import Checkpoint, optimiser_tensors, restore_optimiser, stages
from training.loop.loader import Stream
from training.loop.objective import Losses, TrainingObjective
from training.loop.processes import World
from training.loop.statistics import calibrate_pixels, draw_keys, fit_embedding_statistics
from training.model.mae import MaskedAutoencoder


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Group parameters by weight decay: matrices have it; biases, norms, tokens and fill patches do not."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        special = parameter.ndim < 2 or name.rsplit(".", 1)[-1] in ("cls_token", "mask_token", "fill")
        (free if special else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def batches(cutouts: Cutouts, config: Config, world: World, step: int) -> Stream:
    """Stream the micro-batches of this process, ``accumulate`` a step, from the step after ``step`` on, without end."""
    o = config.optimiser
    micro = o.batch // o.accumulate // world.size
    if micro * o.accumulate * world.size != o.batch:
        raise ScannerError(
            ErrorCode.CONFIG_BAD,
            f"batch {o.batch} is not a multiple of accumulate {o.accumulate} times {world.size} processes.",
        )

    def make(number: int) -> Batch:
        # Micro-batches of a step are consecutive, and within each the parts of the processes are.
        start = (number * world.size + world.rank) * micro
        keys = sample_keys(np.arange(start, start + micro), len(cutouts), config.run.seed)
        return make_batch(cutouts, views(keys, config.objective.views), config.augment, config)

    return Stream(make, step * o.accumulate, config.run.loaders)


class Trainer:
    """Model, optimiser and progress of one process."""

    def __init__(
        self, config: Config, world: World, cutouts: Cutouts, shards: Path, start: Checkpoint | None,
        first: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        """Continue from ``start``; else begin with the weights of ``first``, or with random ones."""
        self.config, self.world, self.cutouts = config, world, cutouts
        self.data = {"manifest_sha256": cutouts.digest, "sources": cutouts.sources, "manifest": cutouts.manifest}
        self.data |= _origin(start, first)
        self.validation = open_cutouts(shards, config, VALIDATE)

        torch.manual_seed(config.run.seed)  # decides the random weights, alike in every process
        self.model = TrainingObjective(config, _frequency(cutouts))
        if start is not None:
            # `state` holds the heads and, where `weights` are an average, the autoencoder as last stepped.
            weights = {f"mae.{name}": tensor for name, tensor in start.weights.items()}
            self.model.load_state_dict(weights | dict(start.state))
        elif first is not None:
            _load_first(self.model.mae, first)
        else:
            calibrate_pixels(self.model.mae, cutouts, config)
        self.model.to(world.device)
        self.wrapped = world.wrap(self.model)

        o = config.optimiser
        self.optimiser = torch.optim.AdamW(parameter_groups(self.model, o.weight_decay), lr=o.lr, betas=o.betas)
        self.average = AveragedModel(self.model.mae, multi_avg_fn=get_ema_multi_avg_fn(o.ema)) if o.ema else None
        if start is not None:
            restore_optimiser(self.optimiser, start.optimiser)
        if start is not None and self.average is not None:
            self.average.module.load_state_dict(start.weights)
            self.average.n_averaged.fill_(start.progress["step"])

    @property
    def autoencoder(self) -> MaskedAutoencoder:
        """The autoencoder that a checkpoint keeps: the averaged one, or the one last stepped."""
        return self.average.module if self.average is not None else self.model.mae

    def step(self, stream: Iterator[Batch], lr: float) -> Tensor:
        """Take one optimiser step over ``accumulate`` micro-batches; returns the mean of each part of the loss, [4]."""
        accumulate, parts = self.config.optimiser.accumulate, []
        for micro in range(accumulate):
            # Gradients are exchanged between processes once a step, with the last micro-batch.
            hold = self.world.size > 1 and micro < accumulate - 1
            with self.wrapped.no_sync() if hold else nullcontext():
                losses = self.losses(self.wrapped, next(stream))
                (losses.total / accumulate).backward()
            parts.append(torch.stack(losses[1:]))
        # Clipped over all micro-batches and processes together: gradients are averaged by now.
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimiser.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model.mae)
        return torch.stack(parts).mean(dim=0)

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        with self._autocast():
            return model(*batch.to(self.world.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.run.precision == "bfloat16")

    @torch.no_grad()
    def validate(self) -> float | None:
        """Compute the mean reconstruction loss over held-out cutouts; None if there are none.

        They are centred, without augmentation, and masked in the same way every time.
        """
        if not len(self.validation):
            return None
        keys = draw_keys(self.validation, self.config.run.validate_rows, self.config.run.seed)
        parts = np.array_split(keys, math.ceil(len(keys) / 256))
        losses, model = [], self.autoencoder.eval()
        for part in parts:
            batch = make_batch(self.validation, part, CENTRED, self.config).to(self.world.device)
            with self._autocast():
                losses.append(float(model(batch.flux, batch.noise, batch.hidden).loss))
        model.train()
        return float(np.average(losses, weights=[len(part) for part in parts]))

    def checkpoint(self, progress: Mapping[str, Any], final: bool = False) -> Checkpoint:
        """Make a checkpoint; the ``final`` one has the statistics of the embeddings, and nothing that a step needs."""
        done = (self.config, progress, self.data, self.autoencoder.state_dict())
        if final:
            statistics = fit_embedding_statistics(self.autoencoder, self.cutouts, self.config, self.world.device)
            return Checkpoint(*done, statistics=statistics)
        state = self.model.state_dict()
        if self.average is None:
            # Without an average these are the weights, which the checkpoint holds already.
            state = {name: tensor for name, tensor in state.items() if not name.startswith("mae.")}
        return Checkpoint(*done, state, optimiser_tensors(self.optimiser))


def _frequency(cutouts: Cutouts) -> Tensor:
    """Count the share of each kind among the cutouts of known kind, [kinds]."""
    counts = np.bincount(cutouts.kinds[cutouts.kinds >= 0], minlength=len(KINDS))
    return torch.from_numpy(counts / max(counts.sum(), 1)).float()


def _origin(start: Checkpoint | None, first: Checkpoint | None) -> dict[str, Any]:
    """Describe the run that this one began with, for its checkpoints."""
    if start is not None:
        return {key: start.data[key] for key in ("began_with", "stages") if key in start.data}
    return {"began_with": first.weights_sha256, "stages": stages(first)} if first is not None else {}


def _load_first(model: MaskedAutoencoder, first: Checkpoint) -> None:
    """Take the weights and the stretch of ``first``, whose ``normalised_target`` may differ.

    Only the decoder depends on that, and no export keeps it. Raises ``run.other_model`` for another shape.
    """
    try:
        model.load_state_dict(first.weights)
    except RuntimeError as error:
        hint = "Give both runs the same bands, window, patch, dimensions and depths in [model]."
        raise ScannerError(
            ErrorCode.RUN_OTHER_MODEL, f"The weights of run {first.config.name!r} do not fit this model.", hint
        ) from error

"""One process of a training run: model, optimiser, data, and a step that is a function of its number."""

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
from training.cutouts.shards import KINDS
from training.loop.batches import CENTRED, VALIDATE, Batch, Cutouts, make_batch, open_cutouts, sample_keys, views
from training.loop.checkpoint import Checkpoint, optimiser_tensors, restore_optimiser, stages
from training.loop.loader import Stream
from training.loop.objective import Losses, TrainingObjective
from training.loop.processes import World
from training.loop.statistics import calibrate, draw_keys, fit_embedding_statistics
from training.model.mae import MaskedAutoencoder


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameters with and without weight decay: matrices have it, biases, norms, tokens and fill patches do not."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        special = parameter.ndim < 2 or name.rsplit(".", 1)[-1] in ("cls_token", "mask_token", "fill")
        (free if special else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def batches(cutouts: Cutouts, config: Config, world: World, step: int) -> Stream:
    """This process's micro-batches, ``accumulate`` a step, from the one after ``step`` on, for ever."""
    o = config.optimiser
    micro = o.batch // o.accumulate // world.size
    if micro * o.accumulate * world.size != o.batch:
        raise ScannerError(
            ErrorCode.CONFIG_BAD, f"batch {o.batch} does not divide by {o.accumulate} x {world.size} processes."
        )

    def make(number: int) -> Batch:
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
        """Goes on from ``start``, or begins with the weights of ``first``, or with random ones."""
        self.config, self.world, self.cutouts = config, world, cutouts
        self.data = {"manifest_sha256": cutouts.digest, "sources": cutouts.sources, "manifest": cutouts.manifest}
        self.data |= _origin(start, first)
        self.validation = open_cutouts(shards, config, VALIDATE)
        torch.manual_seed(config.run.seed)
        self.model = TrainingObjective(config, _frequency(cutouts))
        if start is not None:
            kept = {f"mae.{name}": tensor for name, tensor in start.weights.items()}
            self.model.load_state_dict(kept | dict(start.state))
        elif first is not None:
            _load_first(self.model.mae, first)
        else:
            calibrate(self.model.mae, cutouts, config)
        self.model.to(world.device)
        self.wrapped = world.wrap(self.model)
        o = config.optimiser
        self.optimiser = torch.optim.AdamW(parameter_groups(self.model, o.weight_decay), lr=o.lr, betas=o.betas)
        self.average = AveragedModel(self.model.mae, multi_avg_fn=get_ema_multi_avg_fn(o.ema)) if o.ema else None
        if start is not None:
            restore_optimiser(self.optimiser, start.optimiser)
            self._restore_average(start)

    def _restore_average(self, start: Checkpoint) -> None:
        if self.average is not None:
            self.average.module.load_state_dict(start.weights)
            self.average.n_averaged.fill_(start.progress["step"])

    @property
    def kept(self) -> MaskedAutoencoder:
        """The autoencoder as it would be used now: averaged, or as last stepped."""
        return self.average.module if self.average is not None else self.model.mae

    def step(self, stream: Iterator[Batch], lr: float) -> Tensor:
        """One optimiser step over ``accumulate`` micro-batches; returns the mean of every part of their loss."""
        accumulate, said = self.config.optimiser.accumulate, []
        for micro in range(accumulate):
            hold = self.world.size > 1 and micro < accumulate - 1
            with self.wrapped.no_sync() if hold else nullcontext():
                losses = self.losses(self.wrapped, next(stream))
                (losses.total / accumulate).backward()
            said.append(torch.stack(losses[1:]))
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimiser.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model.mae)
        return torch.stack(said).mean(dim=0)

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        with self._autocast():
            return model(*batch.to(self.world.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.run.precision == "bfloat16")

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean reconstruction loss over held-out cutouts, centred, whole, masked the same way every time; None if there
        are none."""
        if not len(self.validation):
            return None
        keys = draw_keys(self.validation, self.config.run.validate_rows, self.config.run.seed)
        parts = np.array_split(keys, math.ceil(len(keys) / 256))
        losses = [self._reconstruction(make_batch(self.validation, part, CENTRED, self.config)) for part in parts]
        return float(np.average(losses, weights=[len(part) for part in parts]))

    def _reconstruction(self, batch: Batch) -> float:
        model, held = self.kept.eval(), batch.to(self.world.device)
        with self._autocast():
            loss = float(model(held.flux, held.noise, held.hidden).loss)
        model.train()
        return loss

    def checkpoint(self, progress: Mapping[str, Any], final: bool = False) -> Checkpoint:
        """The run as it stands; at its end with the statistics of its embeddings, and without what a step needs."""
        done = (self.config, progress, self.data, self.kept.state_dict())
        if final:
            statistics = fit_embedding_statistics(self.kept, self.cutouts, self.config, self.world.device)
            return Checkpoint(*done, statistics=statistics)
        state = self.model.state_dict()
        if self.average is None:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("mae.")}
        return Checkpoint(*done, state, optimiser_tensors(self.optimiser))


def _frequency(cutouts: Cutouts) -> Tensor:
    """Share of every kind among the cutouts of known kind, [kinds]."""
    counts = np.bincount(cutouts.kinds[cutouts.kinds >= 0], minlength=len(KINDS))
    return torch.from_numpy(counts / max(counts.sum(), 1)).float()


def _origin(start: Checkpoint | None, first: Checkpoint | None) -> dict[str, Any]:
    """What the checkpoints of a run say of the one that it began with."""
    if start is not None:
        return {key: start.data[key] for key in ("began_with", "stages") if key in start.data}
    return {"began_with": first.weights_sha256, "stages": stages(first)} if first is not None else {}


def _load_first(model: MaskedAutoencoder, first: Checkpoint) -> None:
    """Take the weights and the stretch of ``first``. Its ``normalised_target`` may be another: the decoder, which no
    export keeps, then learns to say the same pixels in other numbers."""
    try:
        model.load_state_dict(first.weights)
    except RuntimeError as error:
        hint = "Its [model] must be of the same shape: bands, window, patch, dimensions and depths."
        raise ScannerError(
            ErrorCode.RUN_OTHER_MODEL, f"The weights of run {first.config.name!r} do not fit.", hint
        ) from error

"""Trainer: model, optimiser and data of one process, and a step that is a function of its number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import read_record
from training.config import Config
from training.cutouts.shards import VALIDATE
from training.loop.batches import CENTRED, Batch, Cutouts, make_batch, open_cutouts, sample_keys, views
from training.loop.checkpoint import Checkpoint, optimiser_tensors, restore_optimiser
from training.loop.loader import Stream
from training.loop.objective import Losses
from training.loop.processes import World
from training.loop.stage import make_stage
from training.loop.statistics import draw_keys
from training.model.embedding_options import DEFAULT, EmbeddingOptions

ORIGIN = ("began_with", "stages", "recipe")
"""Keys of the data of a checkpoint that describe what a run began with."""


def choose_attention(model: nn.Module, device: torch.device) -> None:
    """Have timm's blocks compute attention in the way that trains fastest on ``device``.

    On a CPU these are plain matrix products: in bfloat16 torch's fused attention takes 1.7 times as long for a step.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            module.fused_attn = device.type != "cpu"


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Group parameters by weight decay: matrices have it; biases, norms, tokens and fill patches do not."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
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
    """Stage, optimiser and progress of one process."""

    def __init__(
        self, config: Config, world: World, cutouts: Cutouts, shards: Path, start: Checkpoint | None,
        begin: Path | None = None,
    ) -> None:  # fmt: skip
        """Continue from ``start``; else begin with the weights of the run ``begin``, or with random ones."""
        self.config, self.world, self.cutouts = config, world, cutouts
        self.validation = open_cutouts(shards, config, VALIDATE)

        torch.manual_seed(config.run.seed)  # decides the random weights, alike in every process
        recipe = start.data.get("recipe") if start is not None else None
        options = DEFAULT if recipe is None else read_record(recipe, EmbeddingOptions)
        self.stage = make_stage(config, cutouts, begin, options)
        self.data = {"manifest_sha256": cutouts.digest, "sources": cutouts.sources, "manifest": cutouts.manifest}
        self.data |= self.stage.origin
        if start is not None:
            self.data |= {key: start.data[key] for key in ORIGIN if key in start.data}
            # `state` holds the heads and, where `weights` are an average, the network as last stepped.
            weights = {f"{self.stage.prefix}{name}": tensor for name, tensor in start.weights.items()}
            self.stage.objective.load_state_dict(weights | dict(start.state))
        self.stage.objective.to(world.device)
        choose_attention(self.stage.objective, world.device)
        self.wrapped = world.wrap(self.stage.objective)

        o = config.optimiser
        groups = parameter_groups(self.stage.objective, o.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=o.lr, betas=o.betas)
        self.average = AveragedModel(self.stage.kept, multi_avg_fn=get_ema_multi_avg_fn(o.ema)) if o.ema else None
        if start is not None:
            restore_optimiser(self.optimiser, start.optimiser)
        if start is not None and self.average is not None:
            self.average.module.load_state_dict(start.weights)
            self.average.n_averaged.fill_(start.progress["step"])

    @property
    def kept(self) -> nn.Module:
        """The network that a checkpoint keeps: the averaged one, or the one last stepped."""
        return self.average.module if self.average is not None else self.stage.kept

    def step(self, stream: Iterator[Batch], lr: float) -> Tensor:
        """Take one optimiser step over ``accumulate`` micro-batches; returns the mean of each part of the loss, [P]."""
        accumulate, parts = self.config.optimiser.accumulate, []
        for micro in range(accumulate):
            # Gradients are exchanged between processes once a step, with the last micro-batch.
            hold = self.world.size > 1 and micro < accumulate - 1
            with self.wrapped.no_sync() if hold else nullcontext():
                losses = self.losses(self.wrapped, next(stream))
                (losses.total / accumulate).backward()
            parts.append(losses.parts)
        # Clipped over all micro-batches and processes together: gradients are averaged by now.
        nn.utils.clip_grad_norm_(self.stage.objective.parameters(), self.config.optimiser.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.stage.kept)
        return torch.stack(parts).mean(dim=0)

    def losses(self, model: nn.Module, batch: Batch) -> Losses:
        with self._autocast():
            return model(*batch.to(self.world.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.run.precision == "bfloat16")

    @torch.no_grad()
    def validate(self) -> float | None:
        """Compute the mean loss over held-out cutouts; None if there are none.

        They are centred, without augmentation, and masked in the same way every time.
        """
        if not len(self.validation):
            return None
        keys = draw_keys(self.validation, self.config.run.validate_rows, self.config.run.seed)
        parts = np.array_split(keys, math.ceil(len(keys) / 256))
        losses, kept = [], self.kept.eval()
        for part in parts:
            batch = make_batch(self.validation, part, CENTRED, self.config).to(self.world.device)
            with self._autocast():
                losses.append(float(self.stage.held_out_loss(kept, batch)))
        kept.train()
        return float(np.average(losses, weights=[len(part) for part in parts]))

    def checkpoint(self, progress: Mapping[str, Any], final: bool = False) -> Checkpoint:
        """Make a checkpoint; the ``final`` one has what the stage adds at its end, and nothing that a step needs."""
        if final:
            more = dict(self.stage.finish(self.kept, self.cutouts, self.validation, self.world.device))
            data = {**self.data, **more.pop("data", {})}
            return Checkpoint(self.config, progress, data, self.kept.state_dict(), **more)
        state = self.stage.objective.state_dict()
        if self.average is None:
            # Without an average these are the weights, which the checkpoint holds already.
            state = {name: tensor for name, tensor in state.items() if not name.startswith(self.stage.prefix)}
        return Checkpoint(
            self.config, progress, self.data, self.kept.state_dict(), state, optimiser_tensors(self.optimiser)
        )

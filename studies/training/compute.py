"""Compute of a training step, counted from its operators, which is the same on any machine."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import Config
from training.loop.batches import Batch
from training.loop.objective import TrainingObjective

COUNTED = 2
"""Objects in the counted step; all matrix products but those of the comparison are proportional to them."""
WARM = 10
"""Share of steps that warm up: one in this number."""


def step_flops(config: Config) -> float:
    """Count the floating point operations of the matrix products of one step of ``config``, forward and backward."""
    model, images = TrainingObjective(config), COUNTED * config.objective.views
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]  # plain products are counted on every device
    with FlopCounterMode(display=False) as counter:
        model(*_batch(config, images)).total.backward()
    return counter.get_total_flops() / COUNTED * config.optimiser.batch


def spending(config: Config, flops: float) -> Config:
    """Set the number of steps of ``config`` that ``flops`` allow."""
    steps = max(round(flops / step_flops(config)), 2)
    return replace(config, optimiser=replace(config.optimiser, steps=steps, warmup=max(steps // WARM, 1)))


def _batch(config: Config, images: int) -> Batch:
    model = config.model
    flux = torch.zeros(images, len(model.bands), model.window, model.window)
    order, kind = torch.rand(images, model.patches), torch.zeros(images, dtype=torch.int64)
    return Batch(flux, order, torch.zeros_like(flux, dtype=torch.bool), kind, flux)

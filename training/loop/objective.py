"""Objective of the training: reconstruction, and, where the configuration says so, terms beside it.

The trained network is a masked autoencoder either way. The first two terms act on the pooled vectors of two views of
every cutout, each masked, turned, shifted, made noisier and robbed of bands in its own way:

- ``contrast``: a view is nearer to the other view of its object than to the views of all other objects of the
  micro-batch, of every process. It makes orientation, noise and missing bands matter less than the object.
- ``simulated``: cross entropy of the kind of a simulated object (galaxy, star, look-alike, lens). Real objects have no
  label.
- ``denoise``: the visible pixels are predicted too, as they were before the augmentation added noise.

Source: InfoNCE of van den Oord et al. 2018, arXiv:1807.03748; with masked views Mishra et al. 2022, arXiv:2210.16870;
denoising Vincent et al. 2008, ICML.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import Config
from training.cutouts.shards import KINDS
from training.loop.processes import gather_views
from training.model.mae import MaskedAutoencoder
from training.model.pooling import pool_visible

HIDDEN = 512  # width of the projection head


class Losses(NamedTuple):
    """``total`` [] is minimised; ``parts`` [P] are logged. A term of weight 0 is 0."""

    total: Tensor
    parts: Tensor


class TrainingObjective(nn.Module):
    """The autoencoder ``mae`` with the heads of the terms, which are dropped after the training."""

    frequency: Tensor
    parts = ("loss", "contrast", "simulated", "denoise")
    """What the parts of its losses are, the reconstruction first, so that runs with different terms can be compared."""

    def __init__(self, config: Config, frequency: Tensor | None = None) -> None:
        """``frequency`` [kinds] is the share of each kind among the labelled cutouts; rare kinds weigh more."""
        super().__init__()
        self.options, dim = config.objective, config.model.dim
        self.mae = MaskedAutoencoder(config.model)
        self.side = config.model.window // config.model.patch
        if self.options.contrast:
            inner = nn.Linear(dim, HIDDEN)
            self.projection = nn.Sequential(inner, nn.GELU(), nn.Linear(HIDDEN, self.options.projection))
        if self.options.simulated:
            self.kind = nn.Linear(dim, len(KINDS))
            self.register_buffer("frequency", torch.ones(len(KINDS)) if frequency is None else frequency)

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor, kind: Tensor, clean: Tensor) -> Losses:
        """Compute the losses of a ``Batch``, whose N = views x objects rows are ordered view after view."""
        # Reconstruction of every view: tokens (N, 1 + K, D) of the visible patches come with it.
        out = self.mae(flux, noise, hidden, clean if self.options.denoise else None)
        nothing = torch.zeros((), device=flux.device)
        contrast = simulated = denoise = nothing
        if self.options.views > 1:
            # Pooled as an export pools, but over the visible patches alone: (N, D).
            vectors = pool_visible(out.tokens, out.keep, self.options.pooling, self.side).float()
            if self.options.contrast:
                projected = functional.normalize(self.projection(vectors).float(), dim=1)
                contrast = info_nce(gather_views(projected, self.options.views), self.options.temperature)
            if self.options.simulated:
                simulated = self._simulated(vectors, kind)
        if self.options.denoise:
            denoise = out.seen_loss
        # A term of weight 0 adds an exact 0, so a plain autoencoder has the same loss with and without this sum.
        terms = self.options.contrast * contrast + self.options.simulated * simulated + self.options.denoise * denoise
        parts = torch.stack([out.loss, contrast, simulated, denoise])
        return Losses(out.loss + terms, parts.detach())

    def _simulated(self, vectors: Tensor, kind: Tensor) -> Tensor:
        # Weights between none and 1 / frequency: rare kinds count more, without drowning the common ones.
        weights = 1 / self.frequency.clamp(min=1e-3).sqrt()
        return functional.cross_entropy(
            self.kind(vectors).float(), kind, weight=weights, ignore_index=-1, reduction="sum"
        ) / weights[kind].masked_select(kind >= 0).sum().clamp(min=1e-6)


def info_nce(vectors: Tensor, temperature: float) -> Tensor:
    """Compute the cross entropy of finding the other view of each unit vector [2 N, D] among the 2 N - 1 others.

    Rows i and i + N are views of one object.

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4, with cosine over ``temperature`` as the score.
    """
    # Without autocast, which would round the similarities to three digits.
    with torch.autocast(vectors.device.type, enabled=False):
        similarity = vectors @ vectors.T / temperature  # (2 N, 2 N)
    # A view is not compared with itself; its target is the row half the batch further on.
    similarity = similarity.masked_fill(torch.eye(len(vectors), dtype=torch.bool, device=vectors.device), -torch.inf)
    other = torch.arange(len(vectors), device=vectors.device).roll(len(vectors) // 2)
    return functional.cross_entropy(similarity, other)

"""What is learned: to reconstruct, and, where the configuration says so, to know an object again and what it is.

The network that comes out is a masked autoencoder either way. Three terms may stand beside its loss, the first two on
the pooled vectors of two masked, differently turned, shifted, noised and band-dropped views of every cutout:

- ``contrast`` (InfoNCE, van den Oord et al. 2018; with masked views as in Mishra et al. 2022, arXiv:2210.16870): a view
  is nearer to the other view of its object than to the views of all other objects of the micro-batch, of every process
  (with ``accumulate`` micro-batches a step: of a part of its batch). It makes rotation, noise and a missing band matter
  less than the object.
- ``simulated``: cross entropy of what the simulator put there, for simulated cutouts. Real objects have no label.
- ``denoise``: the visible pixels are predicted too, as they were before the augmentation added noise (Vincent et al.
  2008).
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

HIDDEN = 512  # width of the head in front of the comparison


class Losses(NamedTuple):
    """``total`` is descended; the parts, each a scalar, are logged. A term that is not asked for is 0."""

    total: Tensor
    reconstruction: Tensor
    contrast: Tensor
    simulated: Tensor
    denoise: Tensor


class TrainingObjective(nn.Module):
    """The autoencoder with the heads of its terms. Only ``mae`` is kept after the training."""

    frequency: Tensor

    def __init__(self, config: Config, frequency: Tensor | None = None) -> None:
        """``frequency`` [kinds]: share of every kind among the labelled cutouts; rare ones weigh more."""
        super().__init__()
        self.wanted, dim = config.objective, config.model.dim
        self.mae = MaskedAutoencoder(config.model)
        self.side = config.model.window // config.model.patch
        if self.wanted.contrast:
            inner = nn.Linear(dim, HIDDEN)
            self.projection = nn.Sequential(inner, nn.GELU(), nn.Linear(HIDDEN, self.wanted.projection))
        if self.wanted.simulated:
            self.kind = nn.Linear(dim, len(KINDS))
            self.register_buffer("frequency", torch.ones(len(KINDS)) if frequency is None else frequency)

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor, kind: Tensor, clean: Tensor) -> Losses:
        """A ``Batch`` whose N = views x objects rows hold the first views of all objects, then the second ones."""
        out = self.mae(flux, noise, hidden, clean if self.wanted.denoise else None)
        nothing = torch.zeros((), device=flux.device)
        contrast = simulated = denoise = nothing
        if self.wanted.views > 1:
            vectors = pool_visible(out.tokens, out.keep, self.wanted.pooling, self.side).float()
            contrast = self._contrast(vectors) if self.wanted.contrast else nothing
            simulated = self._simulated(vectors, kind) if self.wanted.simulated else nothing
        if self.wanted.denoise:
            denoise = out.seen_loss
        terms = self.wanted.contrast * contrast + self.wanted.simulated * simulated + self.wanted.denoise * denoise
        parts = (out.loss, contrast, simulated, denoise)
        return Losses(out.loss + terms, *(part.detach() for part in parts))

    def _contrast(self, vectors: Tensor) -> Tensor:
        projected = functional.normalize(self.projection(vectors).float(), dim=1)
        return info_nce(gather_views(projected, self.wanted.views), self.wanted.temperature)

    def _simulated(self, vectors: Tensor, kind: Tensor) -> Tensor:
        weights = 1 / self.frequency.clamp(min=1e-3).sqrt()
        return functional.cross_entropy(
            self.kind(vectors).float(), kind, weight=weights, ignore_index=-1, reduction="sum"
        ) / weights[kind].masked_select(kind >= 0).sum().clamp(min=1e-6)


def info_nce(vectors: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding the other view of every row of unit ``vectors`` [2 N, D] among the 2 N - 1 others.

    Row i and row i + N are views of one object. Autocast would round the similarities to three digits: not here.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        similarity = vectors @ vectors.T / temperature
    similarity = similarity.masked_fill(torch.eye(len(vectors), dtype=torch.bool, device=vectors.device), -torch.inf)
    other = torch.arange(len(vectors), device=vectors.device).roll(len(vectors) // 2)
    return functional.cross_entropy(similarity, other)

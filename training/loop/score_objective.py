"""Objective of the third stage: classes of painted and real cutouts.

Cross entropy of the class (lens, ordinary galaxy, look-alikes) through the score head. Unlike the first two stages no
patch is masked: the head is trained on what it will see in a scan. Nothing holds the embedding where it was. Its
statistics are computed anew after the training, since those of the weights before no longer fit.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import Score
from training.loop.objective import Losses
from training.model.embedding import EmbeddingGraph


class ScoreObjective(nn.Module):
    """The embedding ``graph`` with its score head, and as ``before`` the weights that it began with."""

    parts = ("loss",)

    def __init__(self, options: Score, graph: EmbeddingGraph) -> None:
        super().__init__()
        self.options, self.graph = options, graph
        self.before = deepcopy(graph).requires_grad_(False)
        if options.frozen:
            assert graph.head is not None
            graph.requires_grad_(False)
            graph.head.requires_grad_(True)

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor, kind: Tensor, clean: Tensor) -> Losses:
        """Compute the losses of a ``Batch``, whose ``kind`` is the index of a class; hidden pixels are missing ones."""
        assert self.graph.head is not None
        classes = self.graph.head(self.graph.encode(flux.masked_fill(hidden, torch.nan))[0]).float()
        loss = functional.cross_entropy(classes, kind, label_smoothing=self.options.smoothing)
        return Losses(loss, loss.detach()[None])

"""Objective of the third stage: classes of painted and real cutouts, and an embedding that stays as it was.

Cross entropy of the class (lens, ordinary galaxy, look-alikes) through the score head; and, in a share of the batch,
one minus the cosine of the embedding with that of the weights that the run began with, on the same pixels. Unlike the
first two stages no patch is masked: the head is trained on what it will see in a scan. The rest of the graph may be
frozen, and has then nothing to keep.

Source: distillation after Hinton et al. 2015, arXiv:1503.02531, here of vectors.
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
    """The embedding ``graph`` with its score head, and the ``teacher`` whose embedding it keeps."""

    parts = ("loss", "keep")

    def __init__(self, options: Score, graph: EmbeddingGraph) -> None:
        super().__init__()
        self.options, self.graph = options, graph
        self.teacher = deepcopy(graph).requires_grad_(False)
        if options.frozen:
            assert graph.head is not None
            graph.requires_grad_(False)
            graph.head.requires_grad_(True)
        self.keep_share = options.keep_share if options.keep and not options.frozen else 0.0

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor, kind: Tensor, clean: Tensor) -> Losses:
        """Compute the losses of a ``Batch``, whose ``kind`` is the index of a class; hidden pixels are missing ones."""
        flux = flux.masked_fill(hidden, torch.nan)
        tokens, missing = self.graph.encode(flux)
        assert self.graph.head is not None
        classes = self.graph.head(tokens).float()
        loss = functional.cross_entropy(classes, kind, label_smoothing=self.options.smoothing)
        keep = torch.zeros((), device=flux.device)
        if rows := round(self.keep_share * len(flux)):
            with torch.no_grad():
                before = self.teacher.embed(*self.teacher.encode(flux[:rows]))
            now = self.graph.embed(tokens[:rows].float(), missing[:rows])
            keep = 1 - (before.float() * now).sum(dim=1).mean()
        return Losses(loss + self.options.keep * keep, torch.stack([loss, keep]).detach())

"""Everything between nanojansky and embedding as one module: what becomes ``encoder.onnx``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from catalogs.errors import ScannerError
from training.checkpoint import Checkpoint
from training.pooling import pool


class EmbeddingGraph(nn.Module):
    r"""Flux [N, B, S, S] in nJy, NaN = no data, to unit vectors [N, D].

    .. math:: e = \hat{v}, \quad v = (\operatorname{pool}(\operatorname{encoder}(\operatorname{pixels}(f))) - m) R

    with the very ``Pixels`` and ``Encoder`` objects of the training, no patch masked, and mean :math:`m` and principal
    axes :math:`R` of the pooled training cutouts: the dimensions are uncorrelated and ordered by falling variance.
    """

    mean: Tensor
    rotation: Tensor

    def __init__(self, checkpoint: Checkpoint, pooling: str = "mean") -> None:
        """Raises ``ScannerError`` ``checkpoint.unfinished`` if the run has no embedding statistics yet."""
        super().__init__()
        if pooling not in checkpoint.statistics:
            raise ScannerError(
                "checkpoint.unfinished",
                f"The checkpoint of run {checkpoint.config.name!r} has no statistics of {pooling!r} embeddings.",
                "They are taken at the end of the run: python -m training pretrain ... --resume",
            )
        model = checkpoint.model()
        self.pixels, self.encoder, self.pooling = model.pixels, model.encoder, pooling
        for block in self.encoder.vit.blocks:
            block.attn.fused_attn = False  # plain matrix products: what ONNX Runtime is fastest at
        self.register_buffer("mean", checkpoint.statistics[pooling].mean)
        self.register_buffer("rotation", checkpoint.statistics[pooling].rotation)
        self.eval()

    def forward(self, flux: Tensor) -> Tensor:
        vector = (pool(self.encoder(self.pixels(flux)), self.pooling) - self.mean) @ self.rotation
        return vector / torch.sqrt(torch.sum(vector * vector, dim=1, keepdim=True)).clamp(min=1e-12)

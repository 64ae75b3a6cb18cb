"""Everything between nanojansky and embedding as one module: what becomes ``encoder.onnx``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from catalogs.errors import ScannerError
from training.checkpoint import Checkpoint
from training.pooling import pool

WHITENING = 0.5
LEAST_VARIANCE = 1e-6  # of the first axis; what varies less is rounding, not to be blown up
TINY = 1e-30


class EmbeddingGraph(nn.Module):
    r"""Flux [N, B, S, S] in nJy, NaN = no data, to unit vectors [N, D].

    .. math:: e = \hat{v}, \quad
        v = (\operatorname{pool}(\operatorname{encoder}(\operatorname{pixels}(f))) - m) R \Lambda^{-w/2}

    with the very ``Pixels`` and ``Encoder`` objects of the training, no patch masked, and mean :math:`m`, principal
    axes :math:`R` and their variances :math:`\Lambda` of the pooled training cutouts: the dimensions are uncorrelated
    and ordered by falling variance. ``whitening`` :math:`w` is 0 (none: brightness decides alone) to 1 (full: all axes
    count the same, the noisiest too, and trees over the vectors find nothing).
    """

    mean: Tensor
    rotation: Tensor
    scale: Tensor

    def __init__(self, checkpoint: Checkpoint, pooling: str = "central", whitening: float = WHITENING) -> None:
        """Raises ``ScannerError`` ``checkpoint.unfinished`` if the run has no embedding statistics yet."""
        super().__init__()
        if pooling not in checkpoint.statistics:
            raise ScannerError(
                "checkpoint.unfinished",
                f"The checkpoint of run {checkpoint.config.name!r} has no statistics of {pooling!r} embeddings.",
                "They are taken at the end of the run: python -m training pretrain ... --resume",
            )
        model = checkpoint.model()
        self.pixels, self.encoder, self.pooling, self.whitening = model.pixels, model.encoder, pooling, whitening
        for block in self.encoder.vit.blocks:
            block.attn.fused_attn = False  # plain matrix products: what ONNX Runtime is fastest at
        mean, rotation, variance = checkpoint.statistics[pooling]
        scale = (variance + LEAST_VARIANCE * variance[0]).clamp(min=TINY) ** (-whitening / 2)
        self.register_buffer("mean", mean)
        self.register_buffer("rotation", rotation)
        self.register_buffer("scale", scale)
        self.eval()

    def forward(self, flux: Tensor) -> Tensor:
        vector = (pool(self.encoder(self.pixels(flux)), self.pooling) - self.mean) @ (self.rotation * self.scale)
        return vector / torch.sqrt(torch.sum(vector * vector, dim=1, keepdim=True)).clamp(min=1e-12)

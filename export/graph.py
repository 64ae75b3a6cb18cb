"""Everything between nanojansky and embedding as one module: what becomes ``encoder.onnx``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from catalogs.errors import ErrorCode, ScannerError
from export.embedding_options import DEFAULT, EmbeddingOptions
from training.loop.checkpoint import Checkpoint
from training.model.pixels import missing_share
from training.model.pooling import Statistics, orient_axes, pool

LEAST_VARIANCE = 1e-6  # of the first axis; what varies less is rounding, not to be blown up
TINY = 1e-30


class EmbeddingGraph(nn.Module):
    r"""Flux [N, B, S, S] in nJy, NaN = no data, to unit vectors [N, D].

    .. math:: e = \hat{v}, \quad v = (\operatorname{pool}(\operatorname{encoder}(\operatorname{pixels}(f))) - c - m M) P

    with the very ``Pixels`` and ``Encoder`` objects of the training, no patch masked. :math:`c` is the mean of training
    cutouts, and :math:`m M` what bands that are missing (shares :math:`m`) add to a vector on average: without it
    objects are alike because the same bands are missing. For :math:`P` see ``projection``.
    """

    mean: Tensor
    missing: Tensor
    projection: Tensor

    def __init__(self, checkpoint: Checkpoint, options: EmbeddingOptions = DEFAULT) -> None:
        """Raises ``ScannerError`` ``checkpoint.unfinished`` if the run has no embedding statistics yet."""
        super().__init__()
        if options.pooling not in checkpoint.statistics:
            raise ScannerError(
                ErrorCode.CHECKPOINT_UNFINISHED,
                f"The checkpoint of {checkpoint.config.name!r} has no statistics of {options.pooling!r} embeddings.",
                "Finish the run, which computes them: python -m training pretrain ... --resume",
            )
        model, statistics = checkpoint.model(), checkpoint.statistics[options.pooling]
        self.pixels, self.encoder, self.options = model.pixels, model.encoder, options
        for block in self.encoder.vit.blocks:
            block.attn.fused_attn = False  # plain matrix products: what ONNX Runtime is fastest at
        self.register_buffer("mean", statistics.mean)
        self.register_buffer("missing", statistics.missing)
        self.register_buffer("projection", projection(statistics, options))
        self.eval()

    def forward(self, flux: Tensor) -> Tensor:
        pixels, valid = self.pixels.stretch(flux)
        pooled = pool(self.encoder(self.pixels.filled(pixels, valid)), self.options.pooling)
        vector = (pooled - self.mean - missing_share(valid) @ self.missing) @ self.projection
        return vector / torch.sqrt(torch.sum(vector * vector, dim=1, keepdim=True)).clamp(min=1e-12)


def projection(statistics: Statistics, options: EmbeddingOptions) -> Tensor:
    r"""The matrix [D, D] behind the centring: :math:`P = R \Lambda^{-w/2} (1 + s N / \tau)^{-1/2} (1 + k\, u u^T) T`.

    Principal axes :math:`R` of variances :math:`\Lambda`; ``whitening`` :math:`w` is 0 (none: brightness decides alone)
    to 1 (full: all axes count the same, the noisiest too, and trees over the vectors find nothing). :math:`N` is how
    vectors change, so whitened, when an object is turned, moved, noisier or without a band: what changes them as much
    as objects differ along a typical axis (:math:`\tau`, the mean variance) counts less by :math:`\sqrt{1 + s}`, with
    ``steadiness`` :math:`s` (within-class covariance normalisation, Hatch et al. 2006, Interspeech). Along :math:`u`,
    the unit vector from simulated galaxies and look-alikes to simulated lenses, differences count 1 + ``emphasis``
    :math:`k` times. The rotation :math:`T` makes dimensions uncorrelated again and orders them by falling variance,
    so that the first ones alone are a shorter embedding.
    """
    variance, rotation = statistics.variance.double(), statistics.rotation.double()
    plain = axes = rotation * (variance + LEAST_VARIANCE * variance[0]).clamp(min=TINY) ** (-options.whitening / 2)
    spread = rotation * variance.sqrt()
    if options.steadiness and statistics.changes.any():
        change, along = torch.linalg.eigh(axes.T @ statistics.changes.double() @ axes)
        typical = (spread.T @ axes).square().sum() / len(axes)
        axes = axes @ (along * (1 + options.steadiness * change.clamp(min=0) / typical).rsqrt()) @ along.T
    lens = statistics.lens.double() @ axes
    if options.emphasis and lens.any():
        lens = lens / lens.norm()
        axes = axes + options.emphasis * torch.outer(axes @ lens, lens)
    if axes is not plain:
        varying = spread.T @ axes
        axes = axes @ orient_axes(torch.linalg.eigh(varying.T @ varying).eigenvectors.flip(1))
    return axes.float()

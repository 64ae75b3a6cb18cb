"""Embedding graph: the module from fluxes in nanojansky to embeddings that becomes ``encoder.onnx``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config import Model
from training.model.embedding_options import EmbeddingOptions
from training.model.mae import Encoder
from training.model.pixels import Pixels, missing_share
from training.model.pooling import Statistics, orient_axes, pool
from training.model.score_head import ScoreHead

LEAST_VARIANCE = 1e-6  # of that of the first axis; smaller variances are rounding errors
TINY = 1e-30


class EmbeddingGraph(nn.Module):
    r"""Embeds flux [N, B, S, S] in nJy, NaN for no data, to unit vectors [N, D].

    .. math:: e = \hat{v}, \quad v = (\operatorname{pool}(\operatorname{encoder}(\operatorname{pixels}(f))) - c - m M) P

    with the ``Pixels`` and ``Encoder`` modules of the training and no patch masked. :math:`c` is the mean of training
    cutouts, and :math:`m M` the mean effect of missing bands (shares :math:`m`), without which objects that miss the
    same bands would be similar. For :math:`P` see ``projection``.

    With a ``head`` the graph also gives its calibrated scores [N, K].
    """

    mean: Tensor
    missing: Tensor
    projection: Tensor

    def __init__(
        self, config: Model, statistics: Statistics, options: EmbeddingOptions, head: ScoreHead | None = None
    ) -> None:
        super().__init__()
        self.pixels = Pixels(config.bands, config.window, config.patch)
        self.encoder = Encoder(config)
        self.head, self.options = head, options
        for block in self.encoder.vit.blocks:
            block.attn.fused_attn = False  # plain matrix products are fastest in ONNX Runtime
        self.register_buffer("mean", statistics.mean)
        self.register_buffer("missing", statistics.missing)
        self.register_buffer("projection", projection(statistics, options))
        self.eval()

    @torch.no_grad()
    def set_statistics(self, statistics: Statistics) -> None:
        """Centre and project by other ``statistics`` than before."""
        self.mean.copy_(statistics.mean)
        self.missing.copy_(statistics.missing)
        self.projection.copy_(projection(statistics, self.options))

    def forward(self, flux: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Embed; with a head, return the embedding [N, D] and the scores [N, K]."""
        tokens, missing = self.encode(flux)
        embedding = self.embed(tokens, missing)
        return embedding if self.head is None else (embedding, self.head.scores(tokens))

    def encode(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Encode flux [N, B, S, S] to tokens [N, 1 + L, D], with the share of each band's missing pixels [N, B]."""
        pixels, valid = self.pixels.stretch(flux)
        return self.encoder(self.pixels.filled(pixels, valid)), missing_share(valid)

    def embed(self, tokens: Tensor, missing: Tensor) -> Tensor:
        """Turn tokens into unit vectors [N, D]."""
        # The shares of missing pixels are [N, B], and their mean effects on a vector [B, D].
        vector = (pool(tokens, self.options.pooling) - self.mean - missing @ self.missing) @ self.projection
        # The floor of the length keeps a vector of zeros finite.
        return vector / torch.sqrt(torch.sum(vector * vector, dim=1, keepdim=True)).clamp(min=1e-12)


def projection(statistics: Statistics, options: EmbeddingOptions) -> Tensor:
    r"""Compute the matrix [D, D] behind the centring.

    .. math:: P = R \Lambda^{-w/2} (1 + s N / \tau)^{-1/2} (1 + k\, u u^T) T

    :math:`R` are principal axes of variances :math:`\Lambda`. ``whitening`` :math:`w` is 0 (none: brightness dominates)
    to 1 (full: all axes count the same, noisy ones too). :math:`N` is the covariance of the changes of whitened vectors
    when an object is turned, moved, noisier or without a band. Where such a change is as large as the difference of
    objects along a typical axis (:math:`\tau`, the mean variance), the weight falls by :math:`\sqrt{1 + s}`, with
    ``steadiness`` :math:`s`. Along :math:`u`, the unit vector from simulated galaxies and look-alikes to simulated
    lenses, differences count 1 + ``emphasis`` :math:`k` times. The rotation :math:`T` makes dimensions uncorrelated
    again and orders them by falling variance, so that the first ones alone are a shorter embedding.

    Source: within-class covariance normalisation, Hatch et al. 2006, Interspeech.
    """
    variance, rotation = statistics.variance.double(), statistics.rotation.double()
    # Partial whitening: R Lambda^(-w/2), with a floor under the variances.
    plain = axes = rotation * (variance + LEAST_VARIANCE * variance[0]).clamp(min=TINY) ** (-options.whitening / 2)
    spread = rotation * variance.sqrt()
    # Steadiness: a symmetric square root of (1 + s N / tau)^-1, in the eigenbasis of N.
    if options.steadiness and statistics.changes.any():
        change, along = torch.linalg.eigh(axes.T @ statistics.changes.double() @ axes)
        # tau: the mean variance along the whitened axes.
        typical = (spread.T @ axes).square().sum() / len(axes)
        axes = axes @ (along * (1 + options.steadiness * change.clamp(min=0) / typical).rsqrt()) @ along.T
    # Emphasis: stretch the axis towards simulated lenses.
    lens = statistics.lens.double() @ axes
    if options.emphasis and lens.any():
        lens = lens / lens.norm()
        axes = axes + options.emphasis * torch.outer(axes @ lens, lens)
    # The steps above mix the axes; rotate back to principal axes, by falling variance.
    if axes is not plain:
        varying = spread.T @ axes
        axes = axes @ orient_axes(torch.linalg.eigh(varying.T @ varying).eigenvectors.flip(1))
    return axes.float()

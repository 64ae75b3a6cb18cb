"""Masked autoencoder of survey cutouts (He et al. 2021, arXiv:2111.06377).

Notation: N cutouts, B bands, S window, P patch, L = (S/P)^2 patches, K = L (1 - mask_ratio) visible ones, D dim.
The caller brings the random ``noise`` [N, L] that decides which patches are masked, so a step is a pure function of its
batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from training.config import Model
from training.model.pixels import Pixels


class Output(NamedTuple):
    """What the autoencoder makes of a batch.

    ``loss`` [] is over hidden pixels, ``seen_loss`` [] over visible ones. ``prediction`` [N, L, P*P*B] holds stretched
    (or normalised) pixels and ``masked`` bool [N, L] tells which patches were masked. ``tokens`` [N, 1 + K, D] are the
    encoder's, of the class token and the visible patches ``keep`` [N, K].
    """

    loss: Tensor
    seen_loss: Tensor
    prediction: Tensor
    masked: Tensor
    tokens: Tensor
    keep: Tensor


def patchify(x: Tensor, patch: int) -> Tensor:
    """Reshape [N, B, S, S] to [N, L, P*P*B], band fastest."""
    n, b, s, _ = x.shape
    x = x.reshape(n, b, s // patch, patch, s // patch, patch)  # (N, B, rows, P, columns, P)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * b)


def unpatchify(x: Tensor, patch: int) -> Tensor:
    """Reshape [N, L, P*P*B] to [N, B, S, S]; the inverse of ``patchify``."""
    n, length, values = x.shape
    side, b = round(length**0.5), values // patch**2
    x = x.reshape(n, side, side, patch, patch, b)  # (N, rows, columns, P, P, B)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(n, b, side * patch, side * patch)


def sincos(dim: int, side: int) -> Tensor:
    """Compute fixed 2-D positions [1 + side^2, dim]: sin and cos of the column, then of the row.

    The class token has no position: its row is zero.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; in two dimensions as He et al. 2021.
    """
    # float64: the exponent of the slowest wave would lose digits in float32.
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))  # (dim / 4,)
    row, column = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    angles = [axis.flatten()[:, None] * omega for axis in (column, row)]  # two of (side^2, dim / 4)
    grid = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat([torch.zeros(1, dim), grid.float()])


def visible_first(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Choose the patches of least noise: the indices to keep, int64 [N, K], and which are masked, bool [N, L]."""
    keep = noise.argsort(dim=1)[:, : int(noise.shape[1] * (1 - mask_ratio))]
    masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, keep, False)
    return keep, masked


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Take the rows ``index`` [N, K] of ``tokens`` [N, L, D]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def moments(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and (n - 1) standard deviation [N, L, 1] over the valid pixels of every patch."""
    count = valid.sum(-1, keepdim=True)
    mean = (target * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    variance = ((target - mean).square() * valid).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return mean, (variance + 1e-6).sqrt()  # a patch without light is not blown up


class Encoder(nn.Module):
    """Vision Transformer of timm with fixed positions, which can be given some of the patches only."""

    positions: Tensor

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.vit = VisionTransformer(
            img_size=config.window, patch_size=config.patch, in_chans=len(config.bands), num_classes=0,
            embed_dim=config.dim, depth=config.depth, num_heads=config.heads, pos_embed="none",
        )  # fmt: skip
        positions = sincos(config.dim, config.window // config.patch)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode network input [N, B, S, S] to tokens [N, 1 + L, D], class token first.

        With ``keep`` [N, K] only these patches are encoded: [N, 1 + K, D].
        """
        tokens = self.vit.patch_embed(x) + self.positions[1:]  # (N, L, D)
        if keep is not None:
            # Masked patches are left out before the blocks, which is what makes pre-training cheap.
            tokens = take(tokens, keep)  # (N, K, D)
        first = self.vit.cls_token + self.positions[:1]  # (1, 1, D)
        tokens = torch.cat([first.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        return self.vit.norm(self.vit.blocks(tokens))


class Decoder(nn.Module):
    """Light transformer from visible tokens to the pixels of every patch. It is used in training only."""

    positions: Tensor

    def __init__(self, config: Model) -> None:
        super().__init__()
        dim, heads = config.decoder_dim, config.decoder_heads
        self.embed = nn.Linear(config.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, qkv_bias=True) for _ in range(config.decoder_depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.predict = nn.Linear(dim, config.patch**2 * len(config.bands))
        positions = sincos(dim, config.window // config.patch)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Decode tokens [N, 1 + K, D] of the patches ``keep`` [N, K] to pixels [N, L, P*P*B]."""
        visible = self.embed(tokens)  # (N, 1 + K, E), E the dimensions of the decoder
        n, length, dim = len(visible), len(self.positions) - 1, visible.shape[-1]
        # Every patch starts as the mask token; the visible ones are put back in their places.
        everywhere = self.mask_token.to(visible.dtype).expand(n, length, dim)
        patches = everywhere.scatter(1, keep[..., None].expand(-1, -1, dim), visible[:, 1:])  # (N, L, E)
        full = torch.cat([visible[:, :1], patches], dim=1) + self.positions  # (N, 1 + L, E)
        return self.predict(self.norm(self.blocks(full))[:, 1:])  # the class token predicts nothing


class MaskedAutoencoder(nn.Module):
    """Hide most patches and predict them. The loss counts pixels that are valid and were hidden, and no others."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.config = config
        self.pixels = Pixels(config.bands, config.window, config.patch)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        # Weights as in the reference code of He et al. (they follow the JAX ViT): linear layers Xavier-uniform with
        # zero bias, the patch embedding like one of them, tokens normal with deviation 0.02.
        self.apply(_initialise)
        weight = self.encoder.vit.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(len(weight), -1))
        nn.init.normal_(self.encoder.vit.cls_token, std=0.02)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor | None = None, clean: Tensor | None = None) -> Output:
        """Mask, encode, decode and compare: flux [N, B, S, S] in nJy with NaN for no data.

        ``noise`` [N, L] orders the patches. Pixels that are ``hidden``, bool [N, B, S, S], such as those of a dropped
        band, are filled like missing ones and count as hidden in the loss. ``clean`` [N, B, S, S] is what is to be
        predicted where that is not ``flux`` itself.

        Source: He et al. 2021, arXiv:2111.06377, with validity and hidden bands added.
        """
        patch = self.config.patch
        x, valid = self.pixels.stretch(flux)  # (N, B, S, S) both
        visible = valid if hidden is None else valid & ~hidden
        keep, masked = visible_first(noise, self.config.mask_ratio)  # (N, K), (N, L)
        tokens = self.encoder(self.pixels.filled(x, visible), keep)  # (N, 1 + K, D)
        prediction = self.decoder(tokens, keep).float()  # (N, L, P*P*B)

        truth = x if clean is None else self.pixels.stretch(clean)[0]
        target, weight = patchify(truth, patch), patchify(valid, patch)  # (N, L, P*P*B) both
        if self.config.normalised_target:
            mean, deviation = moments(target, weight)
            target = (target - mean) / deviation

        # Pixels count where they are valid: in `loss` those that the encoder did not see, in `seen_loss` the others.
        unseen = masked[..., None] if hidden is None else masked[..., None] | patchify(hidden, patch)
        error = (prediction - target).square()
        loss, seen_loss = _mean(error, weight & unseen), _mean(error, weight & ~unseen)
        return Output(loss, seen_loss, prediction, masked, tokens, keep)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average ``values`` where ``weight`` (bool) is true; 0 where it never is."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)

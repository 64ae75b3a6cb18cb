"""Masked autoencoder of survey cutouts (He et al. 2021, arXiv:2111.06377).

Notation: N cutouts, B bands, S window, P patch, L = (S/P)^2 patches, K = L (1 - mask_ratio) visible ones, D dim.
No random number is drawn here: the caller brings ``noise`` [N, L], so a step is a pure function of its batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from training.config import Model
from training.model.pixels import Pixels


class Output(NamedTuple):
    """``loss`` [] over what was not seen, ``seen_loss`` [] over what was; ``prediction`` [N, L, P*P*B], stretched (or
    normalised) pixels; ``masked`` bool [N, L]; what the encoder made of the visible patches ``keep`` [N, K]: ``tokens``
    [N, 1 + K, D]."""

    loss: Tensor
    seen_loss: Tensor
    prediction: Tensor
    masked: Tensor
    tokens: Tensor
    keep: Tensor


def patchify(x: Tensor, patch: int) -> Tensor:
    """[N, B, S, S] to [N, L, P*P*B], band fastest."""
    n, b, s, _ = x.shape
    x = x.reshape(n, b, s // patch, patch, s // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * b)


def unpatchify(x: Tensor, patch: int) -> Tensor:
    """[N, L, P*P*B] to [N, B, S, S]; the inverse of ``patchify``."""
    n, length, values = x.shape
    side, b = round(length**0.5), values // patch**2
    x = x.reshape(n, side, side, patch, patch, b)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(n, b, side * patch, side * patch)


def sincos(dim: int, side: int) -> Tensor:
    """Fixed 2-D positions [1 + side^2, dim] with zeros for the class token: sin, cos of column, then of row."""
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row, column = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    angles = [axis.flatten()[:, None] * omega for axis in (column, row)]
    grid = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat([torch.zeros(1, dim), grid.float()])


def visible_first(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Patches to keep, int64 [N, K] (the K of least noise), and which are masked, bool [N, L]."""
    keep = noise.argsort(dim=1)[:, : int(noise.shape[1] * (1 - mask_ratio))]
    masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, keep, False)
    return keep, masked


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` [N, K] of ``tokens`` [N, L, D]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def moments(target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (n - 1) standard deviation [N, L, 1] over the valid pixels of every patch."""
    count = valid.sum(-1, keepdim=True)
    mean = (target * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    variance = ((target - mean).square() * valid).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return mean, (variance + 1e-6).sqrt()


class Encoder(nn.Module):
    """timm's Vision Transformer with fixed positions, able to look at some patches only."""

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
        """Network input [N, B, S, S] to tokens [N, 1 + L, D]: class token first; only patches ``keep`` where given."""
        tokens = self.vit.patch_embed(x) + self.positions[1:]
        if keep is not None:
            tokens = take(tokens, keep)
        first = self.vit.cls_token + self.positions[:1]
        tokens = torch.cat([first.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        return self.vit.norm(self.vit.blocks(tokens))


class Decoder(nn.Module):
    """Light transformer from visible tokens to the pixels of every patch. Used in training only."""

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
        """Tokens [N, 1 + K, D] of patches ``keep`` [N, K] to pixels [N, L, P*P*B]."""
        seen = self.embed(tokens)
        n, length, dim = len(seen), len(self.positions) - 1, seen.shape[-1]
        everywhere = self.mask_token.to(seen.dtype).expand(n, length, dim)
        patches = everywhere.scatter(1, keep[..., None].expand(-1, -1, dim), seen[:, 1:])
        full = torch.cat([seen[:, :1], patches], dim=1) + self.positions
        return self.predict(self.norm(self.blocks(full))[:, 1:])


class MaskedAutoencoder(nn.Module):
    """Hide most patches, predict them; the loss counts pixels that are valid and were hidden, and no others."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.config = config
        self.pixels = Pixels(config.bands, config.window, config.patch)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.apply(_initialise)
        weight = self.encoder.vit.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(len(weight), -1))
        nn.init.normal_(self.encoder.vit.cls_token, std=0.02)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def forward(self, flux: Tensor, noise: Tensor, hidden: Tensor | None = None, clean: Tensor | None = None) -> Output:
        """Flux [N, B, S, S] nJy with NaN; ``noise`` [N, L] orders the patches; ``hidden`` bool [N, B, S, S] or None.

        ``hidden`` pixels (a dropped band, say) are filled like missing ones, and are to be predicted like masked ones.
        ``clean`` is what shall be predicted, where that is not ``flux`` itself.
        """
        patch = self.config.patch
        x, valid = self.pixels.stretch(flux)
        seen = valid if hidden is None else valid & ~hidden
        keep, masked = visible_first(noise, self.config.mask_ratio)
        tokens = self.encoder(self.pixels.filled(x, seen), keep)
        prediction = self.decoder(tokens, keep).float()
        wanted = x if clean is None else self.pixels.stretch(clean)[0]
        target, weight = patchify(wanted, patch), patchify(valid, patch)
        if self.config.normalised_target:
            mean, deviation = moments(target, weight)
            target = (target - mean) / deviation
        unseen = masked[..., None] if hidden is None else masked[..., None] | patchify(hidden, patch)
        error = (prediction - target).square()
        loss, seen_loss = _mean(error, weight & unseen), _mean(error, weight & ~unseen)
        return Output(loss, seen_loss, prediction, masked, tokens, keep)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Of ``values`` where ``weight`` (bool) is true; 0 where it never is."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _initialise(module: nn.Module) -> None:
    """He et al. follow the JAX ViT: Xavier-uniform linear layers, zero bias."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)

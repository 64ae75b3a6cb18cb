"""Pixels of the network: fluxes in nJy are stretched, standardised, and filled where they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BRIGHTEST = 1e15
"""nJy. A value beyond it (AB magnitude -6) is a sentinel such as -1e30 or infinity, and counts as no data."""


def asinh(x: Tensor) -> Tensor:
    """Compute asinh as ``sign(x) log(|x| + sqrt(x^2 + 1))``: ONNX Runtime has no CUDA kernel for ``Asinh``."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


def missing_share(valid: Tensor) -> Tensor:
    """Compute the share of each band's pixels without data, [N, B], from validity, bool [N, B, S, S]."""
    return 1 - valid.float().mean(dim=(2, 3))


class Pixels(nn.Module):
    r"""The input of the encoder, in training and in the exported graph alike.

    For flux :math:`f` of band :math:`b` (nJy, NaN = no data) the network sees

    .. math:: x = (\operatorname{asinh}(f / s_b) - \mu_b) / \sigma_b

    with softening :math:`s_b` (nJy), mean and standard deviation of the stretched pixels. Where there is no data (one
    pixel, a gap, a whole band) it sees a *learned fill patch* [B, P, P] instead, tiled over the window.

    The alternative to a fill patch is a group of tokens for each band, which needs B times as many tokens. With the
    fill patch any subset of bands works too: the network learns what "missing" looks like.
    """

    softening: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, bands: Sequence[str], window: int, patch: int) -> None:
        super().__init__()
        self.bands, self.tiles = tuple(bands), window // patch
        for name, value in (("softening", 1.0), ("mean", 0.0), ("std", 1.0)):
            self.register_buffer(name, torch.full((len(self.bands), 1, 1), value))
        self.fill = nn.Parameter(torch.zeros(len(self.bands), patch, patch))

    def calibrate(self, softening: Tensor, mean: Tensor, std: Tensor) -> None:
        """Set softening (nJy), mean and standard deviation of the bands, each [B]."""
        for name, value in (("softening", softening), ("mean", mean), ("std", std)):
            getattr(self, name).copy_(value.reshape(-1, 1, 1))

    def stretch(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Stretch and standardise pixels [N, B, S, S], with 0 where invalid; returns them and their validity."""
        valid = flux.abs() <= BRIGHTEST  # false for NaN
        stretched = (asinh(torch.where(valid, flux, 0.0) / self.softening) - self.mean) / self.std
        return torch.where(valid, stretched, 0.0), valid

    def unstretch(self, x: Tensor) -> Tensor:
        """Compute the flux in nJy: the inverse of ``stretch``."""
        return torch.sinh(x * self.std + self.mean) * self.softening

    def filled(self, x: Tensor, valid: Tensor) -> Tensor:
        """Put the fill patch into stretched pixels [N, B, S, S] wherever ``valid`` is false."""
        return torch.where(valid, x, self.fill.repeat(1, self.tiles, self.tiles).to(x.dtype))

    def forward(self, flux: Tensor) -> Tensor:
        """Make network input [N, B, S, S], finite everywhere, of flux [N, B, S, S] in nJy with NaN for no data."""
        return self.filled(*self.stretch(flux))

    def describe(self) -> dict[str, Any]:
        """Describe the stretch for the model's contract."""
        numbers = {name: getattr(self, name).flatten().tolist() for name in ("softening", "mean", "std")}
        return {
            "kind": "asinh",
            "formula": "(asinh(flux / softening) - mean) / std",
            "missing": "learned fill",
            **numbers,
        }

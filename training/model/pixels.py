"""From nanojansky to what the network sees: stretch, standardise, fill what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BRIGHTEST = 1e15
"""nJy. A pixel beyond it (AB magnitude -6) is no measurement but a sentinel such as -1e30 or infinity: no data."""


def asinh(x: Tensor) -> Tensor:
    """``sign(x) log(|x| + sqrt(x^2 + 1))``: ONNX ``Asinh`` has no CUDA kernel, these operators have."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


def missing_share(valid: Tensor) -> Tensor:
    """Share of every band's pixels without data [N, B], of validity bool [N, B, S, S]."""
    return 1 - valid.float().mean(dim=(2, 3))


class Pixels(nn.Module):
    r"""The input of the encoder, in training and in the exported graph alike.

    For flux :math:`f` of band :math:`b` (nJy, NaN = no data) the network sees

    .. math:: x = (\operatorname{asinh}(f / s_b) - \mu_b) / \sigma_b

    with softening :math:`s_b` (nJy), mean and standard deviation of the stretched pixels. Where there is no data (one
    pixel, a gap, a whole band) it sees a *learned fill patch* [B, P, P] instead, tiled over the window.

    A fill patch is chosen over a token group for every band: it keeps (S/P)^2 = 64 tokens where groups need 320, a
    fifth of the cost, and any subset of bands still works, because "missing" is a pattern the network learns to know.
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
        """Set the three numbers of every band, each [B]."""
        for name, value in (("softening", softening), ("mean", mean), ("std", std)):
            getattr(self, name).copy_(value.reshape(-1, 1, 1))

    def stretch(self, flux: Tensor) -> tuple[Tensor, Tensor]:
        """Stretched and standardised pixels [N, B, S, S] (the band's mean where invalid) and validity (bool)."""
        valid = flux.abs() <= BRIGHTEST
        stretched = (asinh(torch.where(valid, flux, 0.0) / self.softening) - self.mean) / self.std
        return torch.where(valid, stretched, 0.0), valid

    def unstretch(self, x: Tensor) -> Tensor:
        """Inverse of ``stretch``: flux in nJy."""
        return torch.sinh(x * self.std + self.mean) * self.softening

    def filled(self, x: Tensor, valid: Tensor) -> Tensor:
        """Stretched pixels [N, B, S, S] with the fill patch wherever ``valid`` is false."""
        return torch.where(valid, x, self.fill.repeat(1, self.tiles, self.tiles).to(x.dtype))

    def forward(self, flux: Tensor) -> Tensor:
        """Flux [N, B, S, S] in nJy, NaN = no data, to network input [N, B, S, S], finite everywhere."""
        return self.filled(*self.stretch(flux))

    def describe(self) -> dict[str, Any]:
        """The stretch as the model contract tells it."""
        numbers = {name: getattr(self, name).flatten().tolist() for name in ("softening", "mean", "std")}
        return {
            "kind": "asinh",
            "formula": "(asinh(flux / softening) - mean) / std",
            "missing": "learned fill",
            **numbers,
        }

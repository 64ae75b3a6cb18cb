"""From tokens to one vector a cutout, and the statistics that centre and order its dimensions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

POOLINGS = ("mean", "cls", "central")


class Statistics(NamedTuple):
    """``mean`` [D] and ``rotation`` [D, D] of pooled vectors: ``(v - mean) @ rotation`` is centred, uncorrelated, and
    ordered by falling ``variance`` [D]."""

    mean: Tensor
    rotation: Tensor
    variance: Tensor


def pool(tokens: Tensor, how: str) -> Tensor:
    """Tokens [N, 1 + L, D] to vectors [N, D].

    ``mean`` of all patches, the ``cls`` token, or the mean of the ``central`` quarter of the window (half its side).
    """
    if how == "cls":
        return tokens[:, 0]
    if how == "mean":
        return tokens[:, 1:].mean(dim=1)
    if how != "central":
        raise ValueError(f"pooling {how!r} is none of {POOLINGS}")
    side = math.isqrt(int(tokens.shape[1]) - 1)
    inner = slice(side // 4, side - side // 4)
    return tokens[:, 1:].unflatten(1, (side, side))[:, inner, inner].mean(dim=(1, 2))


def fit(vectors: Tensor) -> Statistics:
    """Principal axes of ``vectors`` [N, D], computed in float64; the largest entry of every axis is positive."""
    mean = vectors.double().mean(dim=0)
    centred = vectors.double() - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / max(len(vectors) - 1, 1))
    variance, axes = variance.flip(0), axes.flip(1)
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return Statistics(mean.float(), (axes * largest.sign()).float(), variance.clamp(min=0).float())

"""From tokens to one vector a cutout, and what the pooled vectors of the training cutouts tell about all vectors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import POOLINGS

WIDTH = 0.25
"""Standard deviation of the ``gaussian`` weights, in sides of the window: 3 arcsec in 64 px of UNIONS."""


class Statistics(NamedTuple):
    """Of pooled vectors v whose window misses the shares m [B] of its bands' pixels.

    ``mean`` [D] and ``missing`` [B, D]: v - mean - m @ missing is centred, whatever is missing. Times ``rotation``
    [D, D] it is uncorrelated, and ordered by falling ``variance`` [D]. ``lens`` [D] leads from the simulated galaxies
    and look-alikes to the simulated lenses (means of v - m @ missing); 0 where none of them were seen. ``changes``
    [D, D] is the mean outer product of what is added to v - m @ missing when the same object is seen otherwise.
    """

    mean: Tensor
    missing: Tensor
    rotation: Tensor
    variance: Tensor
    lens: Tensor
    changes: Tensor

    @classmethod
    def blank(cls, bands: int, dim: int) -> Statistics:
        """Of vectors that are centred and uncorrelated as they are, and never change."""
        nothing, square = torch.zeros(dim), torch.zeros(dim, dim)
        return cls(nothing, torch.zeros(bands, dim), torch.eye(dim), torch.ones(dim), nothing, square)


class Pooled(NamedTuple):
    """Vectors [N, D] and what their windows miss: the share of every band's pixels, [N, B]."""

    vectors: Tensor
    missing: Tensor


def pool(tokens: Tensor, how: str) -> Tensor:
    """Tokens [N, 1 + L, D] to vectors [N, D].

    ``mean`` of all patches, the ``cls`` token, the mean of the ``central`` quarter of the window (half its side), or
    the mean weighted by a ``gaussian`` about the centre: the object counts, its neighbours fade out.
    """
    if how == "cls":
        return tokens[:, 0]
    weights = patch_weights(how, math.isqrt(int(tokens.shape[1]) - 1)).to(tokens)
    return weights @ tokens[:, 1:]


def pool_visible(tokens: Tensor, keep: Tensor, how: str, side: int) -> Tensor:
    """The same of a masked window [N, D]: tokens [N, 1 + K, D] of the patches ``keep`` [N, K] of side x side."""
    if how == "cls":
        return tokens[:, 0]
    weights = patch_weights(how, side).to(tokens)[keep]
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return (weights[:, None] @ tokens[:, 1:])[:, 0]


def patch_weights(how: str, side: int) -> Tensor:
    """Weights [side^2] of the patches, row by row, that add up to 1. Raises ``ValueError`` for another ``how``."""
    offset = torch.arange(side) - (side - 1) / 2
    if how == "mean":
        along = torch.ones(side)
    elif how == "central":
        along = torch.zeros(side)
        along[side // 4 : side - side // 4] = 1
    elif how == "gaussian":
        along = torch.exp(-0.5 * (offset / (WIDTH * side)) ** 2)
    else:
        raise ValueError(f"pooling {how!r} is none of {POOLINGS}")
    weights = torch.outer(along, along).flatten()
    return weights / weights.sum()


def fit(seen: Pooled, less: Pooled, otherwise: Pooled, lens: Tensor, other: Tensor) -> Statistics:
    """Statistics in float64 of cutouts as they are, with ``less`` bands, and ``otherwise`` (turned, moved, noisier).

    What a missing band does on average comes from the differences of the first two, by least squares; what then is
    left of them is a change like those of ``otherwise``. ``lens`` and ``other`` (bool [N]) mark the simulated lenses,
    and the simulated galaxies and look-alikes.
    """
    missing = seen.missing.double()
    shift = torch.linalg.pinv(less.missing.double() - missing) @ (less.vectors.double() - seen.vectors.double())
    vectors, *views = (part.vectors.double() - part.missing.double() @ shift for part in (seen, less, otherwise))
    changed = torch.cat(views) - vectors.repeat(len(views), 1)
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    variance, axes = torch.linalg.eigh(centred.T @ centred / max(len(vectors) - 1, 1))
    apart = torch.zeros_like(mean)
    if lens.any() and other.any():
        apart = vectors[lens].mean(dim=0) - vectors[other].mean(dim=0)
    changes = changed.T @ changed / max(len(changed), 1)
    parts = (mean, shift, orient_axes(axes.flip(1)), variance.flip(0).clamp(min=0), apart, changes)
    return Statistics(*(part.float() for part in parts))


def orient_axes(axes: Tensor) -> Tensor:
    """Columns of ``axes`` [D, D] with the sign that makes their largest entry positive: eigenvectors have none."""
    return axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()

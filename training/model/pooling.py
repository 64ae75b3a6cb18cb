"""Pooling of tokens to one vector a cutout, and statistics of the pooled vectors of training cutouts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.config import POOLINGS

WIDTH = 0.25
"""Standard deviation of the ``gaussian`` weights in sides of the window: 3 arcsec for 64 px of UNIONS."""


class Statistics(NamedTuple):
    """Statistics of pooled vectors v whose cutouts miss the shares m [B] of their bands' pixels.

    ``mean`` [D] and ``missing`` [B, D]: v - mean - m @ missing is centred, whatever is missing. Times ``rotation``
    [D, D] it is uncorrelated, and ordered by falling ``variance`` [D]. ``lens`` [D] points from the simulated galaxies
    and look-alikes to the simulated lenses (means of v - m @ missing), and is 0 without any. ``changes`` [D, D] is the
    mean outer product of the difference that another view of the same object makes to v - m @ missing.
    """

    mean: Tensor
    missing: Tensor
    rotation: Tensor
    variance: Tensor
    lens: Tensor
    changes: Tensor

    @classmethod
    def blank(cls, bands: int, dim: int) -> Statistics:
        """Make the statistics of vectors that are centred and uncorrelated, and the same for every view."""
        nothing, square = torch.zeros(dim), torch.zeros(dim, dim)
        return cls(nothing, torch.zeros(bands, dim), torch.eye(dim), torch.ones(dim), nothing, square)


class Pooled(NamedTuple):
    """Vectors [N, D], and the share of each band's pixels that their cutouts miss, [N, B]."""

    vectors: Tensor
    missing: Tensor


def pool(tokens: Tensor, how: str) -> Tensor:
    """Pool tokens [N, 1 + L, D] to vectors [N, D].

    ``how`` is the ``mean`` of all patches, the ``cls`` token, the mean of the ``central`` quarter of the window (half
    its side), or a mean with ``gaussian`` weights about the centre, in which neighbours count less than the object.
    """
    if how == "cls":
        return tokens[:, 0]
    weights = patch_weights(how, math.isqrt(int(tokens.shape[1]) - 1)).to(tokens)
    return weights @ tokens[:, 1:]


def pool_visible(tokens: Tensor, keep: Tensor, how: str, side: int) -> Tensor:
    """Pool tokens [N, 1 + K, D] of the visible patches ``keep`` [N, K] of side x side to vectors [N, D]."""
    if how == "cls":
        return tokens[:, 0]
    weights = patch_weights(how, side).to(tokens)[keep]  # (N, K)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return (weights[:, None] @ tokens[:, 1:])[:, 0]


def patch_weights(how: str, side: int) -> Tensor:
    """Compute the weights [side^2] of the patches, row by row, which add up to 1.

    Raises:
        ValueError: ``how`` is not the name of a pooling.
    """
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


def fit(whole: Pooled, less: Pooled, otherwise: Pooled, lens: Tensor, other: Tensor) -> Statistics:
    """Compute statistics of three views of N cutouts: as they are, with ``less`` bands, and ``otherwise``.

    ``otherwise`` is turned, moved and noisier. ``lens`` and ``other`` (bool [N]) mark the simulated lenses, and the
    simulated galaxies and look-alikes. All sums are in float64.
    """
    # The mean effect of a missing band, by least squares from the differences of the first two views: (B, D).
    missing = whole.missing.double()
    shift = torch.linalg.pinv(less.missing.double() - missing) @ (less.vectors.double() - whole.vectors.double())
    # What is left of these differences is a change of the same object, as are those of `otherwise`: (2 N, D).
    vectors, *views = (part.vectors.double() - part.missing.double() @ shift for part in (whole, less, otherwise))
    changed = torch.cat(views) - vectors.repeat(len(views), 1)
    # Principal axes (D, D); `eigh` sorts them by rising variance.
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
    """Give the columns of ``axes`` [D, D] the sign that makes their largest entry positive.

    The sign of an eigenvector is arbitrary: without a rule the same run could export two different models.
    """
    return axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()

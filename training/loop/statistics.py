"""Statistics of training cutouts: the stretch of each band, and the scatter of pooled embeddings."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalogs.errors import ErrorCode, ScannerError
from training.config import POOLINGS, Augment, Config
from training.cutouts.shards import LENS, LOOKALIKE
from training.loop.batches import CENTRED, MAD_TO_SIGMA, Cutouts, make_batch, no_warnings
from training.model.embedding import EmbeddingGraph
from training.model.mae import MaskedAutoencoder
from training.model.pixels import BRIGHTEST, missing_share
from training.model.pooling import Pooled, Statistics, fit, pool

DROPPED = 0.3
"""Chance of each band to be dropped for the statistics of missing bands."""
OTHERWISE = Augment(jitter=3, flips=True, drop_band=0.0, drop_patch=0.0, noise=2.0)
"""Another view of an object, with the bands it has: turned, shifted, in an image as deep or shallower."""


def draw_keys(cutouts: Cutouts, count: int, seed: int) -> NDArray[np.int64]:
    """Draw keys [n, 2] of at most ``count`` rows, uniformly; the same for the same seed."""
    rows = np.random.default_rng([seed, len(cutouts)]).permutation(len(cutouts))[:count]
    return np.stack([np.zeros_like(rows), np.sort(rows)], axis=1)


def background_noise(flux: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure the background noise [N, B] of cutouts [N, B, S, S] from the pixels below the median.

    Sources only make pixels brighter, so these pixels are background. Pixels without data must be NaN; the noise of a
    band without data is NaN.
    """
    flat = flux.reshape(*flux.shape[:2], -1).astype(np.float64)
    with np.errstate(invalid="ignore"), no_warnings():
        median = np.nanmedian(flat, axis=2, keepdims=True)
        below = np.where(flat < median, median - flat, np.nan)
        return MAD_TO_SIGMA * np.nanmedian(below, axis=2)


def calibrate_pixels(model: MaskedAutoencoder, cutouts: Cutouts, config: Config) -> None:
    """Set softening (the typical background noise), mean and standard deviation of each band from training cutouts.

    A band that is in none of them keeps softening 1, mean 0 and deviation 1.
    """
    keys = draw_keys(cutouts, config.run.calibrate_rows, config.run.seed)
    flux = make_batch(cutouts, keys, CENTRED, config).flux
    flux[flux.abs() > BRIGHTEST] = torch.nan
    with no_warnings():
        noise = np.nanmedian(background_noise(flux.numpy()), axis=0)
    softening = torch.from_numpy(np.where(noise > 0, noise, 1.0)).float()
    pixels, bands = model.pixels, len(softening)
    # Mean and deviation are those of stretched pixels, so the softening is set first.
    pixels.calibrate(softening, torch.zeros(bands), torch.ones(bands))
    stretched, valid = pixels.stretch(flux)
    mean, std = torch.zeros(bands), torch.ones(bands)
    for band in range(bands):
        values = stretched[:, band][valid[:, band]]
        if len(values) > 1 and values.std() > 0:
            mean[band], std[band] = values.double().mean(), values.double().std()
    pixels.calibrate(softening, mean, std)


@torch.no_grad()
def fit_embedding_statistics(
    model: MaskedAutoencoder | EmbeddingGraph, cutouts: Cutouts, config: Config, device: torch.device
) -> dict[str, Statistics]:
    """Compute the statistics of each pooling from three views of training cutouts, with nothing masked or painted.

    The views are the cutouts as they are, with bands dropped at random, and augmented (``OTHERWISE``).

    Raises:
        ScannerError: ``shards.empty``.
    """
    model.eval()
    cutouts = cutouts.as_they_are()
    if not len(cutouts):
        hint = "Cut the images as they are into the same folder: python -m training cutouts makes both."
        raise ScannerError(ErrorCode.SHARDS_EMPTY, "There is no cutout that nothing is painted into.", hint)
    keys = draw_keys(cutouts, config.run.embed_rows, config.run.seed)
    random, labels = np.random.default_rng(config.run.seed), cutouts.labels[keys[:, 1]]
    pooled: list[list[dict[str, Pooled]]] = [[], [], []]
    # Three views of the same objects, in the same order, are pooled in every way at once.
    for start in range(0, len(keys), 256):
        some = keys[start : start + 256]
        flux, otherwise = (make_batch(cutouts, some, how, config).flux for how in (CENTRED, OTHERWISE))
        for parts, windows in zip(pooled, (flux, drop_bands(flux, random), otherwise), strict=True):
            parts.append(_pooled(model, windows, device))
    lens, other = torch.from_numpy(labels == LENS), torch.from_numpy(np.isin(labels, ("galaxy", LOOKALIKE)))
    return {how: fit(*(_join(parts, how) for parts in pooled), lens, other) for how in POOLINGS}


def fit_embedding(graph: EmbeddingGraph, cutouts: Cutouts, config: Config, device: torch.device) -> None:
    """Fit the centring and the projection of a graph whose weights have changed to the vectors that they give now."""
    graph.set_statistics(fit_embedding_statistics(graph, cutouts, config, device)[graph.options.pooling])


def drop_bands(flux: Tensor, random: np.random.Generator) -> Tensor:
    """Drop each band of cutouts [N, B, S, S] with probability ``DROPPED``, but never the last one with data."""
    # (N, B): bands to drop; a cutout that would lose all its data keeps them.
    away = torch.from_numpy(random.random(flux.shape[:2]) < DROPPED)
    there = flux.isfinite().flatten(2).any(dim=2)
    away &= (there & ~away).any(dim=1, keepdim=True)
    return flux.masked_fill(away[..., None, None], torch.nan)


def _pooled(model: MaskedAutoencoder | EmbeddingGraph, flux: Tensor, device: torch.device) -> dict[str, Pooled]:
    pixels, valid = model.pixels.stretch(flux.to(device))
    tokens = model.encoder(model.pixels.filled(pixels, valid))
    missing = missing_share(valid).cpu()
    return {how: Pooled(pool(tokens, how).cpu(), missing) for how in POOLINGS}


def _join(parts: list[dict[str, Pooled]], how: str) -> Pooled:
    return Pooled(*(torch.cat(columns) for columns in zip(*(part[how] for part in parts), strict=True)))

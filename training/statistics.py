"""Numbers taken from the data: the stretch of every band, and how pooled embeddings scatter."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import Config
from training.data import CENTRED, Cutouts, batch_of
from training.mae import MaskedAutoencoder
from training.pixels import BRIGHTEST
from training.pooling import POOLINGS, Statistics, fit, pool

MAD_TO_SIGMA = 1.4826


def some_rows(cutouts: Cutouts, count: int, seed: int) -> NDArray[np.int64]:
    """Keys [n, 2] of at most ``count`` rows, evenly at random; the same for the same seed."""
    rows = np.random.default_rng([seed, len(cutouts)]).permutation(len(cutouts))[:count]
    return np.stack([np.zeros_like(rows), np.sort(rows)], axis=1)


def sky_noise(flux: NDArray[np.float32]) -> NDArray[np.float64]:
    """Robust noise of every band of every cutout [N, B], from the pixels below the median: no source is there.

    NaN where a band holds no data. Blank pixels must be NaN.
    """
    flat = flux.reshape(*flux.shape[:2], -1).astype(np.float64)
    with np.errstate(invalid="ignore"), _no_warnings():
        median = np.nanmedian(flat, axis=2, keepdims=True)
        below = np.where(flat < median, median - flat, np.nan)
        return MAD_TO_SIGMA * np.nanmedian(below, axis=2)


def calibrate(model: MaskedAutoencoder, cutouts: Cutouts, config: Config) -> None:
    """Set softening (the typical sky noise), mean and standard deviation of every band from training cutouts.

    A band that no cutout has keeps softening 1, mean 0 and deviation 1.
    """
    keys = some_rows(cutouts, config.run.calibrate_rows, config.run.seed)
    flux = batch_of(cutouts, keys, CENTRED, config).flux
    flux[flux.abs() > BRIGHTEST] = torch.nan
    with _no_warnings():
        noise = np.nanmedian(sky_noise(flux.numpy()), axis=0)
    softening = torch.from_numpy(np.where(noise > 0, noise, 1.0)).float()
    pixels, bands = model.pixels, len(softening)
    pixels.calibrate(softening, torch.zeros(bands), torch.ones(bands))
    stretched, valid = pixels.stretch(flux)
    mean, std = torch.zeros(bands), torch.ones(bands)
    for band in range(bands):
        values = stretched[:, band][valid[:, band]]
        if len(values) > 1 and values.std() > 0:
            mean[band], std[band] = values.double().mean(), values.double().std()
    pixels.calibrate(softening, mean, std)


@torch.no_grad()
def embedding_statistics(
    model: MaskedAutoencoder, cutouts: Cutouts, config: Config, device: torch.device
) -> dict[str, Statistics]:
    """Mean and principal axes of the pooled embeddings of training cutouts, nothing masked, for every pooling."""
    model.eval()
    vectors: dict[str, list[Tensor]] = {how: [] for how in POOLINGS}
    keys = some_rows(cutouts, config.run.embed_rows, config.run.seed)
    for start in range(0, len(keys), 256):
        flux = batch_of(cutouts, keys[start : start + 256], CENTRED, config).flux.to(device)
        tokens = model.encoder(model.pixels(flux))
        for how in POOLINGS:
            vectors[how].append(pool(tokens, how).cpu())
    return {how: fit(torch.cat(parts)) for how, parts in vectors.items()}


def _no_warnings() -> AbstractContextManager[object]:

    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)

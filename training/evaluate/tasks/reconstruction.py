"""Reconstruction error of a masked autoencoder by mask ratio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalogs.estimate import estimate_paired_mean
from scanner.survey.bands import BANDS
from training.evaluate.models import Flux
from training.evaluate.results import TaskResult
from training.evaluate.sets import Sets
from training.evaluate.sets.lenses import central
from training.evaluate.statistics.metrics import Floats
from training.figures.reconstruction import Reconstruction, complete
from training.loop.checkpoint import load

RATIOS = (0.25, 0.5, 0.75, 0.9)
ROWS = 256  # cutouts of each kind


class _Windows(NamedTuple):
    """What ``complete`` needs of a batch: ``flux`` [N, B, S, S] in nJy, and ``noise`` [N, L] that masks."""

    flux: Tensor
    noise: Tensor


def reconstruction(checkpoint: Path, sets: Sets, simulated: bool = True) -> tuple[str, TaskResult]:
    """Measure the error on real and simulated cutouts at each mask ratio; returns the name of the run and the result.

    The error is the mean square over masked pixels with data, of asinh(flux / background noise), divided by that of a
    flat fill with the mean of the visible pixels of each band. It is 1 for a flat fill, and above 0 for any model,
    since noise cannot be predicted.
    """
    source = load(checkpoint)
    model, config = source.model(), source.config.model
    negatives = np.flatnonzero(~sets.lenses.is_lens)
    kinds = {"real": sets.lenses.flux[_some(negatives)]}
    if simulated:
        kinds["simulated"] = sets.simulated.flux[_some(np.arange(len(sets.simulated)))]
    result = TaskResult()
    for kind, flux in kinds.items():
        pixels = central(flux, config.window)[:, [BANDS.index(band) for band in config.bands]]
        for ratio in RATIOS:
            model.config = replace(config, mask_ratio=ratio)
            # One order of patches [N, L] for all ratios: a larger ratio hides the same patches and some more.
            noise = np.random.default_rng(0).random((len(pixels), config.patches), np.float32)
            done = complete(model, _hidden_by(pixels, noise))  # type: ignore[arg-type]
            lent = f", {done.given}" if done.given else ""
            result.estimates[f"error, {kind}, {ratio:.0%} hidden{lent}"] = estimate_paired_mean(relative_error(done))
    return source.config.name, result


def relative_error(done: Reconstruction) -> Floats:
    """Compute the error of each cutout relative to a flat fill, [n]; cutouts without masked pixels are skipped."""
    noise = done.noise.astype(np.float64)[:, None, None]
    true, filled = np.arcsinh(done.flux / noise), np.arcsinh(done.completed / noise)
    valid = np.isfinite(true)
    hidden, visible = valid & done.masked, valid & ~done.masked
    # The flat fill: the mean of visible pixels of each band, (N, B, 1, 1).
    pixels = np.where(visible, true, 0).sum(axis=(2, 3), keepdims=True)
    flat = pixels / np.maximum(visible.sum(axis=(2, 3), keepdims=True), 1)
    # Sums of squares [N], of the model and of the flat fill.
    errors = [np.where(hidden, (true - guess) ** 2, 0).sum(axis=(1, 2, 3)) for guess in (filled, flat)]
    masked = errors[1] > 0
    return np.asarray(errors[0][masked] / errors[1][masked], np.float64)


def _hidden_by(pixels: Flux, noise: Flux) -> _Windows:
    return _Windows(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(noise))


def _some(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(int)]

"""How well a masked autoencoder fills in what it does not see, by the share that is hidden."""

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
ROWS = 256  # windows of each kind


class _Windows(NamedTuple):
    """What of a training batch is needed to fill it in: ``flux`` [N, B, S, S] nJy, and ``noise`` [N, L] that hides."""

    flux: Tensor
    noise: Tensor


def reconstruction(checkpoint: Path, sets: Sets, simulated: bool = True) -> tuple[str, TaskResult]:
    """The run's name, and for real and simulated windows the error at each mask ratio.

    The error is the mean square over hidden pixels with data, of asinh(flux / sky noise), in units of that of the
    window's own mean of visible pixels in each band: 1 is no better than a flat fill. Noise cannot be predicted, so 0
    is out of reach.
    """
    source = load(checkpoint)
    model, config = source.model(), source.config.model
    negatives = np.flatnonzero(~sets.lenses.is_lens)
    kinds = {"real": sets.lenses.flux[_some(negatives)]}
    if simulated:
        kinds["simulated"] = sets.simulated.flux[_some(np.arange(len(sets.simulated)))]
    found = TaskResult()
    for kind, flux in kinds.items():
        pixels = central(flux, config.window)[:, [BANDS.index(band) for band in config.bands]]
        for ratio in RATIOS:
            model.config = replace(config, mask_ratio=ratio)
            noise = np.random.default_rng(0).random((len(pixels), config.patches), np.float32)
            done = complete(model, _hidden_by(pixels, noise))  # type: ignore[arg-type]
            lent = f", {done.given}" if done.given else ""
            found.estimates[f"error, {kind}, {ratio:.0%} hidden{lent}"] = estimate_paired_mean(relative_error(done))
    return source.config.name, found


def relative_error(done: Reconstruction) -> Floats:
    """Error of every window over that of its visible pixels' mean, [n]: windows without hidden pixels are left out."""
    true, filled = np.arcsinh(done.flux.astype(np.float64)), np.arcsinh(done.completed.astype(np.float64))
    valid = np.isfinite(true)
    hidden, visible = valid & done.masked, valid & ~done.masked
    shown = np.where(visible, true, 0).sum(axis=(2, 3), keepdims=True)
    flat = shown / np.maximum(visible.sum(axis=(2, 3), keepdims=True), 1)
    errors = [np.where(hidden, (true - guess) ** 2, 0).sum(axis=(1, 2, 3)) for guess in (filled, flat)]
    known = errors[1] > 0
    return np.asarray(errors[0][known] / errors[1][known], np.float64)


def _hidden_by(pixels: Flux, noise: Flux) -> _Windows:
    return _Windows(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(noise))


def _some(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(int)]

"""Figure of a reconstruction: input, masked input, reconstruction and residual of held-out cutouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from catalogs.atomic import replacing
from scanner.survey.bands import RECONSTRUCTION_WEIGHTS, TRIPLES
from training.config import Config
from training.cutouts.shards import TRAIN, VALIDATE
from training.loop.batches import CENTRED, Batch, Cutouts, make_batch, open_cutouts
from training.loop.checkpoint import load
from training.loop.statistics import draw_keys
from training.model.mae import MaskedAutoencoder, moments, patchify, unpatchify

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

COLUMNS = ("input", "masked", "reconstruction", "residual")
HIDDEN, MISSING = "#2f4858", "#d9d2c5"
RESIDUAL_RANGE = 5  # in units of the background noise
GIVEN = "given each patch's mean and spread"
"""Note on models that predict patches of mean 0 and deviation 1. They are given the true mean and deviation, so the
figure shows more than they know."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Reconstruction:
    """``flux`` and ``completed`` [N, B, S, S] in units of the band's background noise; ``masked`` bool [N, 1, S, S].

    ``completed`` holds the prediction where patches were masked, and the input elsewhere, which the loss ignores.
    ``given`` is ``GIVEN`` if the prediction was given moments of the masked pixels.
    """

    bands: tuple[str, ...]
    flux: Array
    completed: Array
    masked: NDArray[np.bool_]
    noise: Array  # [B] nJy
    given: str = ""


@torch.no_grad()
def complete(model: MaskedAutoencoder, batch: Batch) -> Reconstruction:
    """Mask, predict, and put the predicted patches in place of the masked ones."""
    patch, noise = model.config.patch, model.pixels.softening
    output = model(batch.flux, batch.noise)
    prediction, masked = output.prediction, output.masked
    given = GIVEN if model.config.normalised_target else ""
    if given:
        # The prediction is of patches of mean 0 and deviation 1; the true moments [N, L, 1] undo that.
        mean, deviation = moments(*(patchify(part, patch) for part in model.pixels.stretch(batch.flux)))
        prediction = prediction * deviation + mean
    # The mask of patches (N, L) as one of pixels (N, 1, S, S).
    values = len(model.config.bands) * patch**2
    hidden = unpatchify(masked[..., None].expand(-1, -1, values), patch)[:, :1]
    predicted = model.pixels.unstretch(unpatchify(prediction, patch))
    completed = torch.where(hidden, predicted, batch.flux)
    # The softening is the typical background noise of each band, [B, 1, 1] in nJy.
    numbers = [(part / noise).numpy() for part in (batch.flux, completed)]
    return Reconstruction(model.config.bands, *numbers, hidden.numpy(), noise.flatten().numpy(), given)


def reconstruct(
    checkpoint: Path, shards: Path, out: Path, rows: int = 4, mask_ratio: float | None = None, seed: int = 0
) -> Path:
    """Draw ``rows`` bright held-out objects, in colour and band by band; training ones if none were held out."""
    source = load(checkpoint)
    held_out = open_cutouts(shards, source.config, VALIDATE)
    cutouts = held_out if len(held_out) else open_cutouts(shards, source.config, TRAIN)
    model = source.model()
    if mask_ratio is not None:
        model.config = replace(model.config, mask_ratio=mask_ratio)
    keys = bright(cutouts, source.config, rows, seed)
    return draw(complete(model, make_batch(cutouts, keys, CENTRED, source.config)), out)


def bright(cutouts: Cutouts, config: Config, count: int, seed: int) -> NDArray[np.int64]:
    """Choose keys [count, 2] from the brightest sixth of 300 random cutouts, those with all bands first."""
    keys = draw_keys(cutouts, 300, seed)
    flux = make_batch(cutouts, keys, CENTRED, config).flux.numpy()
    middle = slice(config.model.window * 3 // 8, config.model.window * 5 // 8)
    # Mean flux of the middle of each band, [N, B] in nJy.
    light = np.nan_to_num(flux[:, :, middle, middle]).clip(0).mean(axis=(2, 3))
    complete_first = np.isfinite(flux).any(axis=(2, 3)).sum(axis=1)
    score = np.where(complete_first == complete_first.max(), 1e6, 1.0) * np.median(light, axis=1)
    best = np.argsort(-score)[: max(len(keys) // 6, count)]
    return keys[np.random.default_rng(seed).permutation(best)[:count]]


def draw(result: Reconstruction, out: Path) -> Path:
    """Write a PNG: a block in colour and one for each band, with a row for each object."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = (
        [colours(result.bands), *((band,) for band in result.bands)] if len(result.bands) > 2 else [result.bands[:1]]
    )
    across = 3 if len(views) % 2 or len(views) > 4 else 2
    down = -(-len(views) // across)
    figure = Figure(figsize=(4.3 * across, down * (1.05 * len(result.flux) + 0.55)), layout="constrained")
    FigureCanvasAgg(figure)
    if result.given:
        figure.suptitle(f"reconstruction {result.given}", fontsize=11)
    blocks = np.atleast_1d(figure.subfigures(down, across, wspace=0.03, hspace=0.04)).ravel()
    for block, view in zip(blocks, views, strict=False):
        _block(block, result, view)
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=160)
    return out


def colours(bands: Sequence[str]) -> tuple[str, ...]:
    """Choose three bands for red, green and blue."""
    return next((tuple(triple) for triple in TRIPLES if set(triple) <= set(bands)), tuple(reversed(bands[:3])))


def _block(block: SubFigure, result: Reconstruction, view: tuple[str, ...]) -> None:
    channels = [result.bands.index(band) for band in view]
    block.suptitle(" ".join(view) if len(view) == 3 else view[0], fontsize=11, fontweight="bold")
    axes = block.subplots(len(result.flux), len(COLUMNS), squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for row, line in enumerate(axes):
        _object(line, result, row, channels)
        for column, panel in enumerate(line):
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            if row == 0:
                panel.set_title(COLUMNS[column], fontsize=8, pad=3)


def _object(axes: Sequence[Axes], result: Reconstruction, row: int, channels: list[int]) -> None:
    """Draw the four panels of one object."""
    flux, completed, masked = result.flux[row, channels], result.completed[row, channels], result.masked[row, 0]
    paint = _rgb(result, channels, flux) if len(channels) == 3 else _grey(flux[0])
    missing = ~np.isfinite(flux).any(axis=0)
    _show(axes[0], paint(flux), missing, MISSING)
    _show(axes[1], paint(flux), missing, MISSING)
    _show(axes[1], None, masked, HIDDEN)
    _show(axes[2], paint(completed), missing & ~masked, MISSING)
    # Elsewhere the residual is zero, since the input is shown there.
    residual = np.where(masked, np.nanmean(np.where(np.isfinite(flux), flux - completed, 0), axis=0), np.nan)
    # The noise of the mean of n bands is smaller by the square root of n.
    limit = RESIDUAL_RANGE / len(channels) ** 0.5
    axes[3].imshow(residual, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes[3].set_facecolor("#f2f2f2")
    _show(axes[3], None, missing, MISSING)


def _show(axes: Axes, image: Array | None, cover: NDArray[np.bool_], colour: str) -> None:
    """Show an image (RGB or grey in 0 .. 1), with the pixels of ``cover`` painted over."""
    from matplotlib.colors import to_rgba

    if image is not None:
        axes.imshow(image, origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    layer = np.zeros((*cover.shape, 4))
    layer[cover] = to_rgba(colour)
    axes.imshow(layer, origin="lower", interpolation="nearest")


def _grey(flux: Array) -> Callable[[Array], Array]:
    """Make a map to grey: asinh of signal to noise, with limits from ``flux`` [S, S], also for the reconstruction."""
    finite = np.arcsinh(flux[np.isfinite(flux)])
    low, high = -1.5, max(float(np.percentile(finite, 99.7)), 2.5) if finite.size else 2.5
    return lambda image: np.nan_to_num((np.arcsinh(image[0]) - low) / (high - low)).clip(0, 1)


def _rgb(result: Reconstruction, channels: list[int], flux: Array) -> Callable[[Array], Array]:
    """Make a map to colour on the scale of ``flux`` [3, S, S], also for the reconstruction.

    Source: Lupton et al. 2004, PASP 116, 133.
    """
    from astropy.visualization import make_lupton_rgb

    # Flux is in units of the noise; the colours need nJy, weighted by band: [3, 1, 1].
    gain = np.array([result.noise[c] * RECONSTRUCTION_WEIGHTS.get(result.bands[c], 1.0) for c in channels])[
        :, None, None
    ]
    noise = float(gain.mean())
    light = np.nan_to_num(flux * gain).mean(axis=0)
    stretch = max(float(np.percentile(light, 99)) / 3, 3 * noise)

    def paint(image: Array) -> Array:
        red, green, blue = np.nan_to_num(image) * gain
        return make_lupton_rgb(red, green, blue, minimum=-0.5 * noise, stretch=stretch, Q=6) / np.float32(255)

    return paint

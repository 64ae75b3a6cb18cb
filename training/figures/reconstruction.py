"""Figure of a reconstruction: input, masked input, reconstruction and residual of held-out cutouts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from scanner.figures.canvas import DPI, drawing, figure_format
from scanner.figures.composite import NO_DATA, Pixels, Stretch, choose_stretch, compose_rgb
from scanner.figures.cutout import Marks, draw_cutout
from training.config import Config
from training.cutouts.shards import TRAIN, VALIDATE
from training.loop.batches import CENTRED, Batch, Cutouts, make_batch, open_cutouts
from training.loop.checkpoint import load
from training.loop.statistics import draw_keys
from training.model.mae import MaskedAutoencoder, moments, patchify, unpatchify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("input", "masked", "reconstruction", "residual")
HIDDEN = (138, 148, 155)
"""Masked patches are lighter than the sky and darker than a galaxy, in greyscale too."""
RESIDUAL_RANGE = 5
"""Black is this many standard deviations of the background too bright a prediction, white as many too faint."""
GIVEN = "given each patch's mean and spread"
"""Note on models that predict patches of mean 0 and deviation 1. They are given the true mean and deviation, so the
figure shows more than they know."""

# Pixels of the figure: side of a cutout, gaps between cutouts and between blocks, and height of titles.
SIDE, GAP, BLOCK_GAP, TITLE = 128, 4, 24, 22

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Reconstruction:
    """``flux`` and ``completed`` [N, B, S, S] in nJy; ``masked`` bool [N, 1, S, S]; ``noise`` [B] of the background.

    ``completed`` holds the prediction where patches were masked, and the input elsewhere, which the loss ignores.
    ``given`` is ``GIVEN`` if the prediction was given moments of the masked pixels.
    """

    bands: tuple[str, ...]
    flux: Array
    completed: Array
    masked: NDArray[np.bool_]
    noise: Array
    given: str = ""


@torch.no_grad()
def complete(model: MaskedAutoencoder, batch: Batch) -> Reconstruction:
    """Mask, predict, and put the predicted patches in place of the masked ones."""
    patch = model.config.patch
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
    noise = model.pixels.softening.flatten().numpy()
    return Reconstruction(model.config.bands, batch.flux.numpy(), completed.numpy(), hidden.numpy(), noise, given)


def reconstruct(
    checkpoint: Path, shards: Path, out: Path, rows: int = 4, mask_ratio: float | None = None, seed: int = 0
) -> Path:
    """Draw ``rows`` bright held-out objects, in colour and band by band; training ones if none were held out.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``, or as ``load`` and ``open_cutouts`` do.
    """
    figure_format(out)  # before the model runs
    source = load(checkpoint)
    held_out = open_cutouts(shards, source.config, VALIDATE)
    cutouts = held_out if len(held_out) else open_cutouts(shards, source.config, TRAIN)
    model = source.model()
    if mask_ratio is not None:
        model.config = replace(model.config, mask_ratio=mask_ratio)
    keys = bright(cutouts, source.config, rows, seed)
    result = complete(model, make_batch(cutouts, keys, CENTRED, source.config))
    return draw(result, source.config.model.pixel_scale, out)


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


def draw(result: Reconstruction, pixel_scale: float, out: Path) -> Path:
    """Draw a block in colour and one for each band, with a row for each object, as PNG or PDF.

    ``pixel_scale`` is in arcsec. Cutouts of training do not keep where north is, so there is no compass.
    """
    # None is colour, by the bands that each object has.
    views: list[str | None] = [None, *result.bands] if len(result.bands) > 2 else list(result.bands)
    across = min(len(views), 3 if len(views) % 2 or len(views) > 4 else 2)
    width = len(COLUMNS) * (SIDE + GAP) - GAP + BLOCK_GAP
    height = 2 * TITLE + len(result.flux) * (SIDE + GAP) - GAP + BLOCK_GAP
    top = TITLE if result.given else 0
    size = (across * width, top + -(-len(views) // across) * height)
    with drawing(out, size[0] / DPI, size[1] / DPI, layout=None) as figure:
        # One unit of these axes is a pixel, counted from the upper left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
        axes.set_axis_off()
        if result.given:
            axes.text(size[0] / 2, 6, f"reconstruction {result.given}", fontsize=11, ha="center", va="top")
        for place, view in enumerate(views):
            down, right = divmod(place, across)
            _draw_block(axes, result, view, pixel_scale, right * width + BLOCK_GAP // 2, top + down * height)
    return out


def _draw_block(axes: Axes, result: Reconstruction, view: str | None, pixel_scale: float, left: int, top: int) -> None:
    middle = left + (len(COLUMNS) * (SIDE + GAP) - GAP) / 2
    axes.text(middle, top + 4, view or "colour", fontsize=11, fontweight="bold", ha="center", va="top")
    lefts = [left + column * (SIDE + GAP) for column in range(len(COLUMNS))]
    for place, title in zip(lefts, COLUMNS, strict=True):
        axes.text(place + SIDE / 2, top + 2 * TITLE - 4, title, fontsize=8, ha="center", va="bottom")
    for row, flux in enumerate(result.flux):
        stretch = choose_stretch(flux, result.bands, (view,) * 3 if view else None)
        arcsec = pixel_scale * flux.shape[-1] if row == 0 else None
        marks = (Marks(arcsec, bands=() if view else stretch.bands), None, None, None)
        high = top + 2 * TITLE + row * (SIDE + GAP)
        for place, picture, mark in zip(lefts, _pictures(result, row, stretch), marks, strict=True):
            draw_cutout(axes, picture, (place, place + SIDE, high + SIDE, high), mark, interpolation="nearest")


def _pictures(result: Reconstruction, row: int, stretch: Stretch) -> list[Pixels]:
    """Compose the four pictures of an object, all on the scale of its input."""
    flux, completed, masked = result.flux[row], result.completed[row], result.masked[row, 0]
    channels = [result.bands.index(band) for band in dict.fromkeys(stretch.bands)]
    given, filled = (compose_rgb(part, result.bands, stretch) for part in (flux, completed))
    # Pictures have their first row at the top.
    hidden, missing = masked[::-1], ~np.isfinite(flux[channels]).any(axis=0)[::-1]
    seen = given.copy()
    seen[hidden] = HIDDEN
    return [given, seen, filled, _residual(result, row, channels, hidden & ~missing, missing)]


def _residual(
    result: Reconstruction, row: int, channels: list[int], shown: NDArray[np.bool_], missing: NDArray[np.bool_]
) -> Pixels:
    """Draw the input less the prediction in grey: the mean of the bands, in units of its noise."""
    steps = (result.flux[row, channels] - result.completed[row, channels]) / result.noise[channels, None, None]
    valid = np.isfinite(steps)
    # The noise of the mean of n bands is smaller by the square root of n.
    sigma = np.where(valid, steps, 0).sum(axis=0) / np.sqrt(np.maximum(valid.sum(axis=0), 1))
    grey = 0.5 + 0.5 * np.clip(sigma[::-1] / RESIDUAL_RANGE, -1, 1)
    # Where nothing was masked there is no residual: the input is shown there.
    image: Pixels = np.round(255 * np.where(shown, grey, 0.5)).astype(np.uint8)[..., None].repeat(3, axis=2)
    image[missing] = NO_DATA
    return image

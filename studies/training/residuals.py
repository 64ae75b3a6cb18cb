"""Residual views: whether a lens score finds more where the light of the galaxy in the middle is taken away.

The third stage is trained twice from the same weights, on painted cutouts as they are and on the same cutouts without
that light, and both scores are compared on the real lenses, alone and joined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import ndimage

import training
from catalogs.records import load_json
from catalogs.sky.unions_grid import PIXEL_SCALE
from studies.training.runs import StoppedError
from studies.training.worth import LensScore
from training.config import Config
from training.cutouts.shards import AT_ONCE, MANIFEST, SCHEMA, Shard, finished_entry, write_manifest, write_shard
from training.evaluate.results import Results, TaskResult
from training.evaluate.sets.lenses import LabelledWindows, load_lenses
from training.evaluate.statistics.estimates import estimate_auc, estimate_ranking
from training.evaluate.tasks.lenses import subsets
from training.evaluate.tasks.scores import MEASURES
from training.loop.checkpoint import load
from training.loop.pretrain import pretrain

CONFIG = Path(training.__file__).with_name("configs") / "small-lens.toml"
VERSION = 1
"""Raise it when ``remove_light`` gives other pixels than before."""
CORE = 1.5
"""Radius (arcsec) of the circle in which the shape of a galaxy is measured."""
SHAPES = 3
"""How often the shape is measured, each time in the ellipse of the one before."""
THINNEST = 0.3
"""Least axis ratio: what is thinner is no galaxy that ellipses describe."""
WIDEST = 80
"""Side (px) of the windows of the real lenses: the light is modelled on more than an encoder sees."""

Floats = NDArray[np.float64]
Flux = NDArray[np.float32]


def remove_light(flux: Flux) -> Flux:
    """Take the light of the galaxy in the middle from windows [N, B, S, S] in nJy; NaN stays NaN.

    The galaxy is the median of each band along ellipses of the shape of its core, made to fall outwards: an arc covers
    less than half of an ellipse and leaves the median as it is, a whole ring is kept by the fall.
    """
    return np.stack([_residual(window) for window in flux]) if len(flux) else flux


def _residual(window: Flux) -> Flux:
    radius = _elliptical_radius(window)
    steps = np.arange(int(radius.max()) + 2)
    ring = np.rint(radius).astype(np.intp)
    residual = np.empty_like(window)
    for band, image in enumerate(window):
        known = np.isfinite(image)
        if not known.any():
            residual[band] = image
            continue
        profile = np.full(len(steps), np.nan)
        there = np.unique(ring[known])
        profile[there] = ndimage.median(image[known], ring[known], there)
        profile = np.interp(steps, there, profile[there])
        fall = np.minimum.accumulate(profile)
        residual[band] = image - np.interp(radius, steps, fall).astype(np.float32)
    return residual


def _elliptical_radius(window: Flux) -> Floats:
    """Compute the radius [S, S] in px along ellipses of the area of a circle, of the shape of the core of all bands."""
    side = window.shape[-1]
    y, x = np.indices((side, side)) - (side - 1) / 2
    light = np.maximum(np.nan_to_num(window).sum(axis=0, dtype=np.float64), 0.0)
    radius = np.hypot(x, y)
    # Measured in a circle, a shape is rounder than it is: the ellipse that it gives is measured in anew.
    for _ in range(SHAPES):
        core = np.where(radius * PIXEL_SCALE < CORE, light, 0.0)
        if not (total := core.sum()):
            break
        xx, yy, xy = ((core * moment).sum() / total for moment in (x * x, y * y, x * y))
        half, middle = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
        if not middle:
            break
        q, angle = np.sqrt(max(middle - half, 0.0) / (middle + half)), np.arctan2(2 * xy, xx - yy) / 2
        q = max(q, THINNEST)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        radius = np.hypot(along * np.sqrt(q), across / np.sqrt(q))
    return radius


def make_residual_shards(shards: Path, out: Path) -> Path:
    """Copy a folder of shards to ``out`` with ``remove_light`` of each cutout. Finished shards of it are kept."""
    manifest, entries = load_json(shards / MANIFEST), []
    out.mkdir(parents=True, exist_ok=True)
    for entry in manifest["shards"]:
        name, task = Path(entry["file"]).stem, f"residual {VERSION} of {entry['sha256']}"
        about = {key: value for key, value in entry.items() if key not in ("file", "rows", "sha256")} | {"task": task}
        done = finished_entry(out, name, task)
        entries.append(done or write_shard(out, name, _residual_parts(shards / name), about, manifest["window"]))
    return write_manifest(out, entries, manifest["seed"], manifest["window"])


def _residual_parts(shard: Path) -> Iterator[Shard]:
    pixels = np.load(shard.with_suffix(".npy"), mmap_mode="r")
    table = pq.read_table(shard.with_suffix(".parquet"), schema=SCHEMA)
    for first in range(0, len(pixels), AT_ONCE):
        yield Shard(remove_light(pixels[first : first + AT_ONCE]), table.slice(first, AT_ONCE))


def compare(config: Config, shards: Path, begin: Path, data: Path, out: Path) -> Iterator[tuple[str, Results]]:
    """Train the third stage ``config`` on cutouts and on their residuals, and rank the real lenses by either and both.

    Raises:
        StoppedError: A signal ended a training; the same call goes on.
        ScannerError: What ``pretrain`` raises.
    """
    make_residual_shards(shards, out / "shards")
    windows, scores = load_lenses(data, WIDEST), {}
    views = {"as they are": (shards, windows), "residual": (out / "shards", _without_light(windows))}
    for name, (cutouts, of_view) in views.items():
        run = out / name.replace(" ", "-")
        if number := pretrain(config, cutouts, run, resume=True, begin=begin):
            raise StoppedError(number)
        scores[name] = LensScore(load(run)).score(of_view.flux)
        yield name, _rank(windows, scores[name])
    # Log-odds of two views of one object are far from independent: their mean keeps the scale of one.
    yield "both", _rank(windows, np.mean(list(scores.values()), axis=0))


def _without_light(windows: LabelledWindows) -> LabelledWindows:
    return replace(windows, flux=remove_light(windows.flux))


def _rank(windows: LabelledWindows, score: Floats) -> Results:
    result = TaskResult()
    for against, rows in subsets(windows).items():
        part, is_lens = score[rows], windows.is_lens[rows]
        for name, measure in MEASURES.items():
            result.estimates[f"{name} {against}"] = estimate_ranking(measure, part, is_lens)
        result.estimates[f"AUC {against}"] = estimate_auc(part, is_lens)
    return {"lens-score": result}

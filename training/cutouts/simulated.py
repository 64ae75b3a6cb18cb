"""Simulated scenes to learn from: rendered in memory, cut at once, never written as images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from scanner.images.tile_images import TileImages
from scanner.sources import DETECTION_VERSION
from training.cutouts.cutting import Plate, Truth, cut
from training.cutouts.real_fields import DETECTION
from training.cutouts.selection import Rule
from training.cutouts.shards import WINDOW, Shard
from training.simulate.conditions import Settings
from training.simulate.scene import Scene, simulate_tile
from training.simulate.write import tile_names

FAINTEST = 25.2
"""i of the faintest galaxies drawn: what is fainter is never cut, and would double the time."""

RULE = Rule()
A_SHARD = 8
HELD_OUT = 16
"""One shard in so many is for validation."""


@dataclass(frozen=True)
class SceneTask:
    """Some simulated tiles. Their names, with the seed, decide what is in them."""

    name: str
    tiles: tuple[str, ...]
    settings: Settings
    seed: int
    window: int = WINDOW
    split: str = "train"
    source: str = "simulated"
    rule: Rule = RULE
    detection: int = DETECTION_VERSION

    def parts(self) -> Iterator[Shard]:
        for tile in self.tiles:
            scene = simulate_tile(tile, self.seed, self.settings)
            yield from cut(replace(plate(scene), window=self.window), self.rule, self.seed)


def scene_tasks(number: int, size: int, seed: int, window: int = WINDOW) -> list[SceneTask]:
    """``number`` scenes of ``size`` px in shards of 8; the 1st, 17th, ... shard is for validation."""
    names, tasks, settings = tile_names(number), [], Settings(size=size, faintest=FAINTEST)
    for shard, first in enumerate(range(0, number, A_SHARD)):
        split = "train" if shard % HELD_OUT else "validate"
        name, tiles = f"simulated-{size}-{seed}-{shard:04d}", tuple(names[first : first + A_SHARD])
        tasks.append(SceneTask(name, tiles, settings, seed, window, split))
    return tasks


def plate(scene: Scene) -> Plate:
    """A scene as an image to cut, with what it holds. Its place on the sky is that of its tile's name."""
    truth = scene.truth
    band = next(band for band in DETECTION if np.isfinite(scene.flux[scene.bands.index(band)]).any())
    images = TileImages.of(scene.name, scene.bands, scene.flux, scene.wcs, scene.pixel_scale, detection_band=band)
    x, y, theta_e = (np.asarray(truth[name], np.float64) for name in ("x", "y", "theta_e"))
    known = Truth(x, y, [str(label) for label in truth["label"]], theta_e)
    return Plate("simulated", images, scene.seen[scene.bands.index(band)].fwhm, sky=True, truth=known)

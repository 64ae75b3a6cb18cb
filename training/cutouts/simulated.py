"""Cutouts of simulated scenes, which are rendered in memory, cut at once, and never written as images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from scanner.images.tile_images import TileImages
from scanner.sources import DETECTION_VERSION
from training.cutouts.cutting import Plate, Truth, cut
from training.cutouts.real_fields import DETECTION
from training.cutouts.selection import Rule
from training.cutouts.shards import TRAIN, VALIDATE, WINDOW, Shard
from training.simulate.conditions import Settings
from training.simulate.scene import Scene, simulate_tile
from training.simulate.write import tile_names

FAINTEST = 25.2
"""i of the faintest galaxies drawn: fainter ones are never cut, and would double the time."""

RULE = Rule()
A_SHARD = 8
HELD_OUT = 16
"""One shard in this number is for validation."""


@dataclass(frozen=True)
class SceneTask:
    """Simulated tiles of one shard. Their names and the seed decide what is in them."""

    name: str
    tiles: tuple[str, ...]
    settings: Settings
    seed: int
    window: int = WINDOW
    split: str = TRAIN
    source: str = "simulated"
    rule: Rule = RULE
    detection: int = DETECTION_VERSION
    paint: float = 0.25  # there are far more scenes than real fields

    def plates(self) -> Iterator[Plate]:
        """Render the scenes one by one."""
        for tile in self.tiles:
            yield replace(plate(simulate_tile(tile, self.seed, self.settings)), window=self.window)

    def parts(self) -> Iterator[Shard]:
        for scene in self.plates():
            yield from cut(scene, self.rule, self.seed)


def scene_tasks(number: int, size: int, seed: int, window: int = WINDOW) -> list[SceneTask]:
    """List tasks for ``number`` scenes of ``size`` px, 8 in a shard; shards 1, 17, 33, ... are for validation."""
    names, tasks, settings = tile_names(number), [], Settings(size=size, faintest=FAINTEST)
    # Names come from one fixed list, so a larger number of scenes adds shards and keeps the full ones.
    for shard, first in enumerate(range(0, number, A_SHARD)):
        split = TRAIN if shard % HELD_OUT else VALIDATE
        name, tiles = f"simulated-{size}-{seed}-{shard:04d}", tuple(names[first : first + A_SHARD])
        tasks.append(SceneTask(name, tiles, settings, seed, window, split))
    return tasks


def plate(scene: Scene) -> Plate:
    """Make an image to cut of a scene, with its truth. Its position on the sky is that of the name of its tile."""
    truth = scene.truth
    # A scene may lack bands: detection takes the first of them that has data.
    band = next(band for band in DETECTION if np.isfinite(scene.flux[scene.bands.index(band)]).any())
    images = TileImages.of(scene.name, scene.bands, scene.flux, scene.wcs, scene.pixel_scale, detection_band=band)
    x, y, theta_e = (np.asarray(truth[name], np.float64) for name in ("x", "y", "theta_e"))
    objects = Truth(x, y, [str(label) for label in truth["label"]], theta_e)
    return Plate("simulated", images, scene.conditions[scene.bands.index(band)].fwhm, sky=True, truth=objects)

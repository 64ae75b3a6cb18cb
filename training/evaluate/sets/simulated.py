"""Simulated objects with known properties, for tasks that need more of them than real samples hold.

Tiles are rendered once into a cache folder, in the survey's names (so ``scanner scan-tiles`` can read them too), and
their objects are found and cut by the scanner's own code. Lenses, look-alikes and all others are in the same tiles:
seeing and depth do not distinguish them. Seed and tile names differ from those of any training scene.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import KDTree

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources.sources import detect
from scanner.survey import survey, tile_list
from scanner.survey.bands import BANDS
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.cutouts.simulated import plate
from training.simulate.conditions import OFFSET, SATURATION, SEEING, BandConditions, Settings, pixel_rms
from training.simulate.exposure import correlated_noise
from training.simulate.scene import simulate_tile
from training.simulate.write import write_tile

log = logging.getLogger(__name__)

VERSION, SEED, ROW = 2, 20_260, 300
TILES, SIZE = 25, 1024
SETTINGS = Settings(size=SIZE, lookalike_fraction=0.01, faintest=25.2, missing_band=0.0)
"""One object in a hundred is a look-alike. Lenses are five in a hundred, so that there are enough to draw from."""
MIN_SNR, MIN_VALID = 10.0, 0.5
MATCH, PIECES = 1.0, 5.0  # arcsec: a detection is this object; a detection this close to a lens may be a piece of it
FRAGMENT = "fragment"
FAINT, BRIGHT = 1e-3, 1e6  # noise (nJy) and gain without visible effect
TRUE = ("mag_g", "mag_r", "mag_i", "size")

Flux = NDArray[np.float32]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedWindows:
    """``flux`` [N, 5, S, S]; ``label`` lens, lookalike, galaxy, star, fragment (of a lens) or blank; ``tile`` int [N].

    ``truth`` holds mag_g, mag_r, mag_i (AB) and size (arcsec, half-light) of the object, each [N]; NaN where unknown.
    """

    flux: Flux
    label: NDArray[np.str_]
    tile: NDArray[np.int64]
    truth: dict[str, Array]
    name: str = "simulated"

    def __len__(self) -> int:
        return len(self.flux)


@dataclass(frozen=True)
class ExposurePairs:
    """The same simulated objects in two exposures: ``flux`` in good seeing, ``other`` in bad, both [N, 5, S, S]."""

    flux: Flux
    other: Flux
    name: str = "simulated, in good seeing"


def load(
    cache: Path, side: int, number: int = TILES, settings: Settings = SETTINGS, workers: int = 2
) -> SimulatedWindows:
    """Cut every object of ``number`` tiles; tiles that are not in ``cache`` yet are rendered."""
    folder = cache / f"simulated-{VERSION}-{settings.size}-{SEED}"
    names = [f"{100 + k:03d}.{ROW}" for k in range(number)]
    # A tile's folder appears when it is complete, so its existence is enough.
    _render([(name, folder / name, settings) for name in names if not (folder / name).is_dir()], workers)
    parts = [_objects(folder / name, name, number, side) for number, name in enumerate(names)]
    joined = {key: np.concatenate([part.truth[key] for part in parts]) for key in TRUE}
    flux, label, tile = (np.concatenate([getattr(part, key) for part in parts]) for key in ("flux", "label", "tile"))
    return SimulatedWindows(flux, label, tile, joined)


def _render(jobs: Sequence[tuple[str, Path, Settings]], workers: int) -> None:
    if jobs:
        log.info("simulating %d tiles", len(jobs))
    if workers <= 1 or len(jobs) < 2:
        for job in jobs:
            _write(job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_write, jobs):
            pass


def _write(job: tuple[str, Path, Settings]) -> None:
    """Render a tile into a folder that appears when it is complete."""
    name, folder, settings = job
    partial = folder.with_name(f"{folder.name}.partial")
    write_tile(simulate_tile(name, SEED, settings), partial, compress=True)
    partial.rename(folder)


def _objects(folder: Path, name: str, number: int, side: int) -> SimulatedWindows:
    unions = survey.load("unions")
    images = open_tile(unions, tile_list.find(unions, name, folder), with_variance=False)
    sources = detect(images, MIN_SNR)
    windows = Windows(images, sources, WindowFrame(BANDS, side, PIXEL_SCALE))
    flux = windows.gather(0, len(sources))
    valid = windows.valid_fraction(flux) >= MIN_VALID
    label, truth = _match_truth(
        Table.read(folder / f"truth-{name}.csv", encoding="utf-8"), sources.x[valid], sources.y[valid]
    )
    return SimulatedWindows(flux[valid], label, np.full(int(valid.sum()), number), truth)


def _match_truth(truth: Table, x: Array, y: Array) -> tuple[NDArray[np.str_], dict[str, Array]]:
    """Find label and true values of detections: those of a lens within 1 arcsec, else of the brightest object there."""
    there = KDTree(np.stack([truth["x"], truth["y"]], axis=1))
    labels, bright = np.asarray(truth["label"]), np.asarray(truth["mag_r"], np.float64)
    lens = labels == "lens"
    # The row of the truth that each detection shows, -1 for none.
    own = np.full(len(x), -1)
    for row, near in enumerate(there.query_ball_point(np.stack([x, y], axis=1), MATCH / PIXEL_SCALE)):
        if near:
            own[row] = min(near, key=lambda one: (not lens[one], bright[one]))
    label = np.where(own >= 0, labels[own], "").astype("U9")
    # Of the detections near a lens only the nearest is the lens; the others are fragments of it.
    for one in np.flatnonzero(lens):
        away = np.hypot(x - truth["x"][one], y - truth["y"][one])
        matched = np.flatnonzero(own == one)
        label[away < PIECES / PIXEL_SCALE] = FRAGMENT
        if len(matched):
            label[matched[np.argmin(away[matched])]] = "lens"
    values = {key: np.where(own >= 0, np.asarray(truth[key], np.float64)[own], np.nan) for key in TRUE}
    return label, values


def exposure_pairs(side: int, number: int = 2, size: int = SIZE) -> ExposurePairs:
    """Render galaxies and stars of ``number`` tiles, each in good and in bad seeing with noise of its own.

    Seeing and noise are 0.85 of the survey's typical ones in one exposure, and 1.25 of them in the other.
    """
    frame, pairs = WindowFrame(BANDS, side, PIXEL_SCALE), []
    nothing_else = dict.fromkeys(("lens_fraction", "lookalike_fraction", "gaps", "trails", "cosmic_rays"), 0.0)
    settings = replace(SETTINGS, size=size, **nothing_else)
    for number_of in range(number):
        name = f"{200 + number_of:03d}.{ROW}"
        good, bad = (_exposure(name, settings, factor, seed) for seed, factor in enumerate((0.85, 1.25)))
        # What is detected in the bad exposure can be seen in both; both are cut at the same positions.
        sources = detect(bad, MIN_SNR)
        pairs.append([Windows(images, sources, frame).gather(0, len(sources)) for images in (good, bad)])
    one, other = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return ExposurePairs(one, other)


def _exposure(name: str, settings: Settings, factor: float, seed: int) -> TileImages:
    """Render a tile with seeing and noise ``factor`` times the typical ones."""
    # A round Moffat profile of beta 3 in every band; seeing is in arcsec, the noise in nJy per pixel.
    conditions = tuple(
        BandConditions(
            band, factor * SEEING[band][0], 3.0, 0.0, 0.0, FAINT, BRIGHT, SATURATION[band], OFFSET[band], True
        )
        for band in BANDS
    )
    # Drawn without noise, so that both exposures show the same objects; their own noise is added.
    scene = simulate_tile(name, SEED, settings, conditions)
    random = np.random.default_rng([SEED, seed])
    shape = scene.flux.shape[1:]
    noise = [correlated_noise(random, shape, factor * pixel_rms(band)) for band in BANDS]
    return plate(replace(scene, flux=scene.flux + np.stack(noise))).images

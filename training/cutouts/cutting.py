"""Objects of an image to cutouts: found and cut by the scanner's own code, so training sees what a scan will see."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import KDTree

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources, detect
from scanner.survey.bands import BANDS
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.cutouts import selection
from training.cutouts.selection import Rule
from training.cutouts.shards import AT_ONCE, WINDOW, Shard, rows

Array = NDArray[np.float64]

SUPPORT = 8
"""px of the image around a window that still enter it when it is resampled."""

NEAR = 5.0
"""arcsec: no window comes closer to a position that is to be avoided."""

MATCH = 1.0
"""arcsec: a detection this close to a simulated object is that object."""


@dataclass(frozen=True)
class Truth:
    """What was simulated: positions (px), what each is, and the Einstein radius (arcsec, NaN for no lens)."""

    x: Array
    y: Array
    label: Sequence[str]
    theta_e: Array


@dataclass(frozen=True)
class Plate:
    """An image to cut. Its columns are [first, end) of the file's; where they are given, no window leaves them."""

    source: str
    images: TileImages
    seeing: float  # FWHM, arcsec
    sky: bool = True  # whether its WCS is real
    columns: tuple[int, int] = (0, 0)
    avoid: tuple[tuple[float, float], ...] = ()
    most: int = 0
    truth: Truth | None = None
    window: int = WINDOW  # px of a cutout, at the scale of the shards

    @property
    def half(self) -> float:
        """Half a window, in px of the image."""
        return self.window / 2 * PIXEL_SCALE / self.images.pixel_scale


def cut(plate: Plate, rule: Rule, seed: int) -> Iterator[Shard]:
    """The cutouts of one plate, in parts, objects first. Its random numbers depend on ``seed`` and on its name, not on
    what was cut before."""
    random = np.random.default_rng([seed, zlib.crc32(f"{plate.source}/{plate.images.name}".encode())])
    found = detect(plate.images, min_snr=rule.min_snr)
    found = found.take(_allowed(plate, found.x, found.y))
    label, theta = _named(plate, found.x, found.y)
    mag, radius = found.columns["mag_auto"], found.columns["flux_radius"]
    some = selection.chosen(rule, mag, radius, plate.seeing, theta > 0, plate.most, random)
    x, y = selection.sky(rule, len(some), plate.images.flux.shape[1:], random)
    clear = _allowed(plate, x, y)
    objects, label, theta = found.take(some), label[some], theta[some]
    spots = _spots(plate.images, x[clear], y[clear])
    yield from _windows(plate, rule, objects, kind="object", label=label, theta_e=theta, **_measured(objects))
    yield from _windows(plate, rule, spots, kind="sky")


def _spots(images: TileImages, x: Array, y: Array) -> Sources:
    """Positions (px of the detection band) of which nothing is known."""
    return Sources.at(images, x, y)


def _measured(found: Sources) -> dict[str, NDArray[np.float32]]:
    names = {"mag": "mag_auto", "mag_r": "mag_r", "flux_radius": "flux_radius", "snr": "snr"}
    return {name: found.columns[known] for name, known in names.items()}


def _windows(plate: Plate, rule: Rule, sources: Sources, **columns: object) -> Iterator[Shard]:
    """Windows around sources, less those that are mostly without data."""
    windows = Windows(plate.images, sources, WindowFrame(BANDS, plate.window, PIXEL_SCALE))
    table = rows(
        len(sources),
        frame=plate.images.name,
        x=sources.x + plate.columns[0],
        y=sources.y,
        ra=sources.ra if plate.sky else np.nan,
        dec=sources.dec if plate.sky else np.nan,
        **columns,
    )
    column = table.schema.get_field_index("band_fraction")
    for first in range(0, len(sources), AT_ONCE):
        pixels = windows.gather(first, first + AT_ONCE)
        valid = windows.valid_fraction(pixels)
        good = valid >= rule.min_valid
        some = table.slice(first, AT_ONCE).set_column(column, table.schema.field(column), pa.array(valid))
        yield Shard(pixels[good], some.filter(good))


def _allowed(plate: Plate, x: Array, y: Array) -> NDArray[np.bool_]:
    """Whether a window, and what is interpolated for it, keeps within the columns and off what it must not see."""
    reach = plate.half + SUPPORT
    good = np.ones(len(x), np.bool_)
    if plate.columns != (0, 0):
        good &= (x - reach >= 0) & (x + reach <= plate.images.flux.shape[2] - 1)
    for there_x, there_y in plate.avoid:
        far = reach + NEAR / plate.images.pixel_scale
        good &= (np.abs(x - there_x) > far) | (np.abs(y - there_y) > far)
    return good


def _named(plate: Plate, x: Array, y: Array) -> tuple[NDArray[np.str_], Array]:
    """Label and Einstein radius of the simulated object at each position; of the lens, where several are near."""
    label, theta = np.full(len(x), "", dtype=object), np.full(len(x), np.nan)
    truth = plate.truth
    if truth is not None and len(truth.x) and len(x):
        lens = np.isfinite(truth.theta_e)
        for some in (np.flatnonzero(~lens), np.flatnonzero(lens)):
            if len(some):
                tree = KDTree(np.stack([truth.x[some], truth.y[some]], axis=1))
                far, nearest = (np.asarray(part) for part in tree.query(np.stack([x, y], axis=1)))
                near = far * plate.images.pixel_scale < MATCH
                label[near] = np.asarray(truth.label, dtype=object)[some[nearest[near]]]
                theta[near] = truth.theta_e[some[nearest[near]]]
    return label.astype(str), theta

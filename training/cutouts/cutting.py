"""Cutting of objects, which are detected and cut by the scanner's own code: training then sees what a scan sees."""

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
from training.cutouts.shards import AT_ONCE, SKY, WINDOW, Shard, make_table

Array = NDArray[np.float64]

SUPPORT = 8
"""Pixels of the image around a cutout that still enter it when it is resampled."""

NEAR = 5.0
"""Least distance in arcsec of a cutout from a position to avoid."""

TILE_SEEING = 0.8  # arcsec, about that of UNIONS
MATCH = 1.0
"""Largest distance in arcsec of a detection from the simulated object that it is."""


@dataclass(frozen=True)
class Truth:
    """Simulated objects: positions (px), label of each, and the Einstein radius (arcsec, NaN for no lens)."""

    x: Array
    y: Array
    label: Sequence[str]
    theta_e: Array


@dataclass(frozen=True)
class Plate:
    """An image to cut. It holds the columns [first, end) of its file; with these given, no cutout leaves them."""

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
        """Half the side of a cutout, in pixels of the image."""
        return self.window / 2 * PIXEL_SCALE / self.images.pixel_scale


def cut(plate: Plate, rule: Rule, seed: int) -> Iterator[Shard]:
    """Cut one plate in parts, objects first, then random positions.

    Its random numbers depend on ``seed`` and on its name, whatever else is cut.
    """
    random = np.random.default_rng([seed, zlib.crc32(f"{plate.source}/{plate.images.name}".encode())])

    # Objects: detected as in a scan, matched to what was simulated, and thinned by the rule.
    sources = detect(plate.images, min_snr=rule.min_snr)
    sources = sources.take(is_allowed(plate, sources.x, sources.y))
    label, theta = match_truth(plate, sources.x, sources.y)
    mag, radius = sources.columns["mag_auto"], sources.columns["flux_radius"]
    rows = selection.select_rows(rule, mag, radius, plate.seeing, theta > 0, plate.most, random)
    objects, label, theta = sources.take(rows), label[rows], theta[rows]
    names = {"mag": "mag_auto", "mag_r": "mag_r", "flux_radius": "flux_radius", "snr": "snr"}
    columns = {name: objects.columns[column] for name, column in names.items()}
    yield from cut_sources(plate, rule, objects, kind="object", label=label, theta_e=theta, **columns)

    # Random positions, so that the network also sees empty background.
    x, y = selection.draw_positions(rule, len(rows), plate.images.flux.shape[1:], random)
    clear = is_allowed(plate, x, y)
    spots = Sources.at(plate.images, x[clear], y[clear])
    yield from cut_sources(plate, rule, spots, kind=SKY)


def cut_sources(plate: Plate, rule: Rule, sources: Sources, **columns: object) -> Iterator[Shard]:
    """Cut around sources; cutouts that are mostly without data are dropped."""
    windows = Windows(plate.images, sources, WindowFrame(BANDS, plate.window, PIXEL_SCALE))
    table = make_table(
        len(sources),
        frame=plate.images.name,
        # The table holds positions in the whole file, of which the plate may be a part.
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
        enough = valid >= rule.min_valid
        # The share of pixels with data is known only now, so it replaces the blank column.
        part = table.slice(first, AT_ONCE).set_column(column, table.schema.field(column), pa.array(valid))
        yield Shard(pixels[enough], part.filter(enough))


def is_allowed(plate: Plate, x: Array, y: Array) -> NDArray[np.bool_]:
    """Check that a cutout, with the margin of its resampling, stays within the columns and off positions to avoid."""
    reach = plate.half + SUPPORT
    allowed = np.ones(len(x), np.bool_)
    if plate.columns != (0, 0):
        allowed &= (x - reach >= 0) & (x + reach <= plate.images.flux.shape[2] - 1)
    for there_x, there_y in plate.avoid:
        # Pixels. A cutout is square, so a large distance along one axis is enough.
        far = reach + NEAR / plate.images.pixel_scale
        allowed &= (np.abs(x - there_x) > far) | (np.abs(y - there_y) > far)
    return allowed


def match_truth(plate: Plate, x: Array, y: Array) -> tuple[NDArray[np.str_], Array]:
    """Find label and Einstein radius of the simulated object at each position; a lens wins over other objects."""
    label, theta = np.full(len(x), "", dtype=object), np.full(len(x), np.nan)
    truth = plate.truth
    if truth is not None and len(truth.x) and len(x):
        lens = np.isfinite(truth.theta_e)
        for some in (np.flatnonzero(~lens), np.flatnonzero(lens)):  # lenses last, so that they overwrite others
            if len(some):
                tree = KDTree(np.stack([truth.x[some], truth.y[some]], axis=1))
                far, nearest = (np.asarray(part) for part in tree.query(np.stack([x, y], axis=1)))
                near = far * plate.images.pixel_scale < MATCH
                label[near] = np.asarray(truth.label, dtype=object)[some[nearest[near]]]
                theta[near] = truth.theta_e[some[nearest[near]]]
    return label.astype(str), theta

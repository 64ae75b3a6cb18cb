"""Lenses for one tile: hosts chosen among its own galaxies, arcs painted in its own seeing and noise."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.crossmatch import Places
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources, detect
from scanner.survey.bands import BANDS
from scanner.survey.survey import ab_magnitude
from scanner.windows.stars import FEWEST, estimate_seeing, find_stars
from training.inject.light import Stamp
from training.simulate.canvas import Canvas
from training.simulate.conditions import GAIN, BandConditions, Settings
from training.simulate.lens_images import R, source_flux
from training.simulate.lens_population import Deflector
from training.simulate.painting.field import measure_conditions, measure_correlation
from training.simulate.painting.hosts import Hosts, draw_deflector_like, find_hosts
from training.simulate.painting.lens import PaintedLens, paint_lens

APART = 15.0
"""Least distance in arcsec of two hosts, and of a host from a known lens, whose own arcs would be found beside it."""
CLEAR = 7.0
"""Half the side, in arcsec, of the square around a host that must have data."""
WHOLE = 0.98
"""Least share of its pixels that have them."""
PAINTED = Settings(source_mag=(22.3, 26.0), least_snr=5.0, quasar_fraction=0.08)
"""Sources are fainter than those of the training, so that completeness is measured where it falls. The least signal to
noise is the true one, in noise as the tile has it."""
NOWHERE = Places((), ())
DRAWS = 50
"""Deflectors that are drawn for a host until one has a theta_E within the limits."""

Row = dict[str, str | float | int]


@dataclass(frozen=True)
class Choice:
    """What to paint: lenses a square arcmin, limits of theta_E (arcsec), and the seeing where no star shows it."""

    density: float = 1.0
    theta_e: tuple[float, float] = (0.0, np.inf)
    seeing: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Painted:
    """The lenses of a tile: a row of the truth for each, and its stamp in each band by name.

    ``wanted`` is the number that the density asks for, ``hosts`` the number of plausible ones, ``gain`` that of each
    band in electrons per nJy.
    """

    rows: list[Row]
    stamps: Mapping[str, list[Stamp]]
    gain: Mapping[str, float]
    wanted: int
    hosts: int


def paint_tile(images: TileImages, choice: Choice, known: Places = NOWHERE) -> Painted:
    """Paint lenses on hosts drawn by their weight, apart from ``known`` lenses.

    The same tile, choice and known lenses give the same lenses.

    Raises:
        ScannerError: ``inject.stars`` where the seeing is neither measured nor given, or as ``detect`` does.
    """
    rng = np.random.default_rng([choice.seed, zlib.crc32(images.name.encode())])
    sources = detect(images)
    seeing = choice.seeing or measure_seeing(images, sources)
    field = _measure_field(images, sources, seeing)
    hosts = find_hosts(images, sources, seeing)
    at = sources.ra[hosts.rows], sources.dec[hosts.rows]
    hosts = replace(hosts, weight=np.where(known.nearest(*at, APART / 3600).matched, 0.0, hosts.weight))
    area = float(np.isfinite(images.flux[images.detection]).sum()) * images.pixel_scale**2 / 3600
    wanted = int(choice.density * area + rng.random())

    rows: list[Row] = []
    stamps: dict[str, list[Stamp]] = {band: [] for band in images.bands}
    taken = np.zeros((0, 2))
    for host in _order(rng, hosts):
        if len(rows) == wanted:
            break
        source = int(hosts.rows[host])
        place = np.array([sources.x[source], sources.y[source]])
        if (np.hypot(*(taken - place).T) * images.pixel_scale < APART).any():
            continue
        there = _bands_around(images, sources, source)
        if there is None:
            continue
        canvas = _canvas(tuple(_conditions(band, field, there) for band in BANDS), images.pixel_scale)
        lens = _paint(rng, canvas, place, hosts, host, choice.theta_e)
        if lens is None:
            continue
        taken = np.vstack([taken, place])
        for number, band in enumerate(images.bands):
            if band in there:
                x, y = (float(axis[source]) for axis in sources.pixels[number])
                light = lens.light[BANDS.index(band)]
                stamps[band].append(Stamp.at(x, y, light, (float(place[0]), float(place[1]))))
        rows.append(_row(images, sources, source, hosts, host, lens, field[images.detection_band].fwhm, choice.seed))
    return Painted(rows, stamps, {band: one.gain for band, one in field.items()}, wanted, int((hosts.weight > 0).sum()))


def _measure_field(images: TileImages, sources: Sources, seeing: float) -> dict[str, BandConditions]:
    """Measure the conditions of each band with data, and how the noise of its pixels is correlated."""
    field = {}
    for number, one in enumerate(measure_conditions(images, sources, seeing, images.pixel_scale)):
        correlation = measure_correlation(images.flux[number]) if one.present else None
        field[one.band] = replace(one, correlation=correlation)
    return field


def measure_seeing(images: TileImages, sources: Sources) -> float:
    """Measure the FWHM in arcsec roughly, by the line of stars: the smallest size that many bright, round objects have.

    Raises:
        ScannerError: ``inject.stars``.
    """
    seeing = estimate_seeing(sources)
    if seeing is not None and len(find_stars(sources, seeing)) >= FEWEST:
        return seeing
    message = f"Tile {images.name} has too few bright stars in band {images.detection_band} to measure the seeing."
    raise ScannerError(ErrorCode.INJECT_STARS, message, "Give the FWHM in arcsec with --seeing, or leave the tile out.")


def _order(rng: np.random.Generator, hosts: Hosts) -> NDArray[np.intp]:
    """Draw the order in which hosts are tried: by their weight, each once.

    Source: Efraimidis & Spirakis 2006, Information Processing Letters 97, 181.
    """
    with np.errstate(divide="ignore"):
        key = rng.exponential(size=len(hosts)) / hosts.weight
    order = np.argsort(key, kind="stable")
    return order[hosts.weight[order] > 0]


def _bands_around(images: TileImages, sources: Sources, source: int) -> frozenset[str] | None:
    """Find the bands with data around a source; None where one has data in a part of the pixels, or the detection band
    has none: a part of the light would be lost."""
    half = round(CLEAR / images.pixel_scale)
    there = set()
    for number, band in enumerate(images.bands):
        x, y = (float(axis[source]) for axis in sources.pixels[number])
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        column, row = round(x), round(y)
        # A host may lie off the image of a band: a negative end of a slice would count from the other edge.
        down, across = (slice(max(at - half, 0), max(at + half + 1, 0)) for at in (row, column))
        around = images.flux[number][down, across]
        share = np.isfinite(around).sum() / (2 * half + 1) ** 2
        if share >= WHOLE:
            there.add(band)
        elif share > 0:
            return None
    return frozenset(there) if images.detection_band in there else None


def _conditions(band: str, field: Mapping[str, BandConditions], there: frozenset[str]) -> BandConditions:
    if band in there:
        return field[band]
    return BandConditions(band, 1.0, 3.0, 0.0, 0.0, 1.0, GAIN[band], np.inf, 0.0, present=False)


@lru_cache(maxsize=8)
def _canvas(conditions: tuple[BandConditions, ...], pixel_scale: float) -> Canvas:
    # Nothing is drawn on it; it has the PSF of each band.
    return Canvas(1, conditions, pixel_scale)


def _paint(
    rng: np.random.Generator,
    canvas: Canvas,
    place: NDArray[np.float64],
    hosts: Hosts,
    host: int,
    theta_e: tuple[float, float],
) -> PaintedLens | None:
    """Paint a lens whose theta_E lies within the limits; None where the host does not give one that can be seen."""
    look = (hosts.mag[host], float(hosts.size[host]), float(hosts.q[host]), float(hosts.angle[host]))

    def draw() -> tuple[Deflector, float]:
        for _ in range(DRAWS):
            deflector, z_source = draw_deflector_like(rng, *look)
            if theta_e[0] <= deflector.theta_e <= theta_e[1]:
                break
        return deflector, z_source

    lens = paint_lens(rng, canvas, float(place[0]), float(place[1]), draw, settings=PAINTED, is_white=False)
    return lens if lens is not None and theta_e[0] <= lens.deflector.theta_e <= theta_e[1] else None


def _row(
    images: TileImages,
    sources: Sources,
    source: int,
    hosts: Hosts,
    host: int,
    lens: PaintedLens,
    seeing: float,
    seed: int,
) -> Row:
    return {
        "tile": images.name,
        "ra": float(sources.ra[source]),
        "dec": float(sources.dec[source]),
        "x": float(sources.x[source]),
        "y": float(sources.y[source]),
        "kind": "galaxy" if lens.source.quasar is None else "quasar",
        "theta_e": float(lens.deflector.theta_e),
        "snr": lens.snr,
        "magnification": lens.magnification,
        "source_mag_r": float(ab_magnitude(source_flux(lens.source)[R])),
        "z_source": lens.source.z,
        "host_mag_r": float(hosts.mag[host][2]),
        "host_size": float(hosts.size[host]),
        "z": lens.deflector.z,
        "q": lens.deflector.q,
        "seeing": seeing,
        "seed": seed,
    }

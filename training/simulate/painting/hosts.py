"""Hosts: which galaxies of a field could bend light, and what deflector a galaxy of that look would be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from scanner.survey.bands import BANDS
from training.simulate.canvas import Canvas, fluxes
from training.simulate.conditions import Settings
from training.simulate.lens_population import Deflector, draw_deflector
from training.simulate.population import template

Array = NDArray[np.float64]

POPULATION = 6_000
"""Deflectors that stand for all."""
NEAR = 20
"""Deflectors most like a host, one of which it becomes."""
SCATTER = np.array([0.3, 0.15, 0.15, 0.1])
"""Of r (mag), of the logarithm of the size, of g - r and of r - i (mag): how like a deflector a host must be."""
BRIGHTEST, FAINTEST, FEWEST_SNR = 17.3, 22.0, 15.0
"""Magnitudes between which a host lies, since brighter ones may be saturated stars, and its least signal to noise."""
WEIGHTS = ((1.0, 1.0), (1.7, 0.4), (3.0, 0.05))
"""Weight of a galaxy whose most similar deflector is at most so unlike it, in units of ``SCATTER``; beyond it is 0."""
FLAT = 0.96
"""Least over largest of the nine pixels in the middle of a saturated star; in a galaxy they differ by more."""
STAR_SIZE = 0.65
"""Largest half-light radius of a star in FWHM."""
TYPICAL = 1.2
"""theta_E in arcsec of a host whose cross-section counts once."""
GROUP, WIDEST = 0.6, 5.5
"""Share of hosts in the potential of a group, which widens theta_E, and the widest theta_E in arcsec."""


@dataclass(frozen=True)
class Hosts:
    """Galaxies [N] of one field that may be painted on.

    ``rows`` are theirs among the detections; ``mag`` [N, 5] is AB in u g r i z, NaN where unknown; ``size`` is the
    half-light radius in arcsec, ``angle`` that of the major axis in radians. ``weight`` tells how plausible a
    deflector each is, 1 for a typical one.
    """

    rows: NDArray[np.intp]
    mag: Array
    size: Array
    q: Array
    angle: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.rows)


def find_hosts(images: TileImages, sources: Sources, seeing: float) -> Hosts:
    """Find the extended galaxies among the detections in ``images``; ``seeing`` is a FWHM in arcsec."""
    columns = sources.columns
    with np.errstate(invalid="ignore"):
        extended = columns["flux_radius"] > STAR_SIZE * seeing
        bright = (columns["mag_auto"] > BRIGHTEST) & (columns["mag_auto"] < FAINTEST)
    rows = np.flatnonzero(extended & bright & (columns["snr"] > FEWEST_SNR) & ~_has_flat_core(images, sources))
    aperture = np.column_stack(
        [columns.get(f"mag_{band}", np.full(len(sources), np.nan))[rows].astype(float) for band in BANDS]
    )
    # Colours are those of the aperture; the total magnitude is that of the detection band.
    detection = BANDS.index(sources.detection_band)
    mag = aperture + (columns["mag_auto"][rows] - aperture[:, detection])[:, None]
    # The half-light radius without the seeing.
    measured, star = columns["flux_radius"][rows].astype(float), 0.55 * seeing
    size = np.sqrt(np.maximum(measured**2 - star**2, (0.3 * measured) ** 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.clip(np.nan_to_num(columns["b"][rows] / columns["a"][rows], nan=0.8), 0.3, 0.98)
    angle = np.radians(columns["theta"][rows].astype(float))
    weight = np.array([_weigh(*look) for look in zip(mag, size, strict=True)])
    return Hosts(rows, mag, size, q, angle, weight)


def _weigh(mag: Array, size: float) -> float:
    """Compute how often a galaxy of this look is a lens: its likeness to deflectors, times their cross-section."""
    distance, deflectors = _distances(mag, size)
    nearest = np.argpartition(distance, NEAR)[:NEAR]
    area = np.mean([deflectors[k][0].theta_e ** 2 for k in nearest]) / TYPICAL**2
    likeness = next((weight for most, weight in WEIGHTS if distance[nearest].min() <= most), 0.0)
    return float(likeness * np.clip(area, 0.4, 4.0))


def _has_flat_core(images: TileImages, sources: Sources) -> NDArray[np.bool_]:
    """Find the sources whose middle is flatter than the seeing allows in some band: saturated stars."""
    flat = np.zeros(len(sources), bool)
    height, width = images.flux.shape[1:]
    for band in np.flatnonzero(images.present):
        x, y = (np.nan_to_num(axis, nan=-9).round().astype(int) for axis in sources.pixels[band])
        inside = np.flatnonzero((x > 0) & (y > 0) & (x < width - 1) & (y < height - 1))
        core = np.stack([images.flux[band][y[inside] + dy, x[inside] + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        flat[inside] |= core.min(axis=0) > FLAT * core.max(axis=0)
    return flat


def draw_deflector_like(
    rng: np.random.Generator, mag: Array, size: float, q: float, angle: float
) -> tuple[Deflector, float]:
    """Draw a deflector that looks like a galaxy of ``mag`` [5] and ``size``, and the redshift of its source.

    theta_E and redshifts are those of one of the most similar deflectors of the population; flux and shape are the
    galaxy's, and the mass follows the light within 0.1 in q and 10 degrees. Some are members of a group, whose
    potential makes theta_E wider.
    """
    distance, deflectors = _distances(mag, size)
    nearest = np.argpartition(distance, NEAR)[:NEAR]
    # Of two deflectors, the one of the larger cross-section, theta_E^2, is a lens more often.
    area = np.array([deflectors[k][0].theta_e ** 2 for k in nearest])
    one, z_source = deflectors[int(rng.choice(nearest, p=area / area.sum()))]
    if rng.random() < GROUP:
        one = _in_group(rng, one)
    known = np.isfinite(mag)
    filled = np.where(known, mag, (mag - template(0.0, one.z))[known].mean() + template(0.0, one.z))
    return replace(
        one,
        mag=filled,
        size=float(size),
        q=float(np.clip(q + rng.normal(0, 0.1), 0.4, 0.98)),
        angle=float(angle + rng.normal(0, np.radians(10))),
    ), z_source


def draw_host(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Deflector, float]:
    """Draw a galaxy of the population on the canvas, as often as its cross-section says; returns it as a deflector.

    Bright hosts are rare in small fields, so that real ones alone would be few and always the same. Wide ones have red
    neighbours of their group. The redshift of a source is returned too.
    """
    looks, deflectors = _population()
    area = np.array([one.theta_e**2 for one, _ in deflectors])
    area[(looks[:, 0] < BRIGHTEST) | (looks[:, 0] > FAINTEST)] = 0
    one, z_source = deflectors[int(rng.choice(POPULATION, p=area / area.sum()))]
    if rng.random() < GROUP:
        one = _in_group(rng, one)
    canvas.galaxy(x, y, fluxes(one.mag), one.size, float(rng.uniform(3, 5)), one.q, one.angle)
    for _ in range(min(rng.poisson(1.2 * max(one.theta_e - 0.7, 0)), 6)):
        r = one.mag[2] + rng.exponential(1.2) + 0.3
        apart, turn = rng.uniform(1.2, 8.0) / canvas.pixel_scale, rng.uniform(0, 2 * np.pi)
        mag = r + template(float(rng.uniform(0, 0.25)), one.z) + rng.normal(0, 0.05, 5)
        # A fainter neighbour is smaller, at the surface brightness of the host.
        size = one.size * 10 ** (-0.2 * (r - one.mag[2]))
        place = (x + apart * np.cos(turn), y + apart * np.sin(turn))
        canvas.galaxy(*place, fluxes(mag), size, 2.8, rng.uniform(0.4, 0.95), rng.uniform(0, np.pi))
    return one, z_source


def _in_group(rng: np.random.Generator, one: Deflector) -> Deflector:
    """Add the potential of a group: a wider theta_E, and shear."""
    turn = rng.uniform(0, 2 * np.pi)
    theta_e = min(one.theta_e * 3.0 ** rng.uniform(0.2, 1.0), max(one.theta_e, WIDEST))
    return replace(one, theta_e=float(theta_e), shear=(float(0.1 * np.cos(turn)), float(0.1 * np.sin(turn))))


def _distances(mag: Array, size: float) -> tuple[Array, list[tuple[Deflector, float]]]:
    """Compute how unlike a galaxy each deflector of the population is, [POPULATION], in units of ``SCATTER``."""
    looks, deflectors = _population()
    r = mag[2] if np.isfinite(mag[2]) else np.nanmean(mag)
    look = np.array([r, np.log10(size), mag[1] - mag[2], mag[2] - mag[3]])
    apart = (looks - look) / SCATTER
    # A colour that is not known does not count.
    return np.sqrt(np.nansum(apart**2, axis=1)), deflectors


@cache
def _population() -> tuple[Array, list[tuple[Deflector, float]]]:
    """Draw the population once: r, log10 of the size (arcsec), g - r and r - i of each, [POPULATION, 4]."""
    rng, settings = np.random.default_rng(0), Settings()
    deflectors = [draw_deflector(rng, settings) for _ in range(POPULATION)]
    looks = [(d.mag[2], np.log10(d.size), d.mag[1] - d.mag[2], d.mag[2] - d.mag[3]) for d, _ in deflectors]
    return np.array(looks), deflectors

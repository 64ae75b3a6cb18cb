"""Look-alikes of lenses: rings, face-on spirals, mergers, and red galaxies with blue companions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scanner.survey.survey import ab_magnitude
from training.simulate.canvas import Canvas, fluxes
from training.simulate.population import template

Array = NDArray[np.float64]
KINDS = ("ring", "spiral", "merger", "companion")


def draw_lookalike(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[str, Array, float, float]:
    """Draw one on the canvas; returns its kind, AB magnitudes [5], size in arcsec and redshift."""
    kind = KINDS[rng.integers(len(KINDS))]
    painters: dict[str, Callable[..., tuple[Array, float, float]]] = {
        "ring": _ring,
        "spiral": draw_spiral,
        "merger": draw_merger,
        "companion": _companion,
    }
    flux, size, z = painters[kind](rng, canvas, x, y)
    return kind, ab_magnitude(flux), size, z


def _red(rng: np.random.Generator, low: float, high: float) -> tuple[Array, float]:
    """Draw flux [5] and redshift of an early-type galaxy between two r magnitudes; fainter ones are farther."""
    r = rng.uniform(low, high)
    z = float(np.clip(0.12 + 0.11 * (r - 18) + rng.normal(0, 0.05), 0.05, 0.9))
    return fluxes(r + template(0.0, z) + rng.normal(0, 0.04, 5)), z


def _blue(rng: np.random.Generator, r: float, z: float, late: tuple[float, float] = (0.55, 1.0)) -> Array:
    return fluxes(r + template(float(rng.uniform(*late)), z) + rng.normal(0, 0.05, 5))


def _tilted(dx: Array, dy: Array, q: float, angle: float) -> tuple[Array, Array]:
    """Compute elliptical radius and azimuth of offsets."""
    u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / q
    return np.hypot(u, v), np.arctan2(v, u)


def _ring(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Array, float, float]:
    """Draw a ring galaxy: a red core in a clumpy blue ring of the same redshift."""
    core, z = _red(rng, 18.8, 21.2)
    radius, q, angle = rng.uniform(0.9, 2.8), rng.uniform(0.55, 1.0), rng.uniform(0, np.pi)
    canvas.galaxy(x, y, core, 0.35 * radius, 3.5, rng.uniform(0.7, 1.0), angle)
    ring = draw_ring(rng, canvas, x, y, float(ab_magnitude(core[2])), z, radius, q, angle)
    return core + ring, float(radius), z


def draw_ring(
    rng: np.random.Generator, canvas: Canvas, x: float, y: float, r_mag: float, z: float, radius: float,
    q: float = 1.0, angle: float = 0.0,
) -> Array:  # fmt: skip
    """Draw a clumpy blue ring of ``radius`` (arcsec) around a galaxy of ``r_mag``; returns its flux [5]."""
    r, phi = _tilted(*canvas.fine_grid(x, y, 2.2 * radius), q, angle)
    image = np.exp(-0.5 * ((r - radius) / (rng.uniform(0.12, 0.22) * radius)) ** 2) * _uneven(rng, phi)
    ring = _blue(rng, r_mag + rng.uniform(0.3, 1.4), z)
    canvas.add(x, y, canvas.convolve([image / image.sum()], ring[None]))
    return ring


def _uneven(rng: np.random.Generator, phi: Array) -> Array:
    """Draw the light around a ring, about 1: a few waves and knots."""
    wave = 1 + sum(rng.uniform(0, 0.25) * np.cos(m * phi + rng.uniform(0, 2 * np.pi)) for m in (1, 2, 3))
    for _ in range(rng.integers(2, 8)):
        # Azimuth from the knot, between -pi and pi.
        away = np.angle(np.exp(1j * (phi - rng.uniform(0, 2 * np.pi))))
        wave = wave + rng.uniform(0.3, 1.5) * np.exp(-0.5 * (away / rng.uniform(0.08, 0.25)) ** 2)
    return np.asarray(np.maximum(wave, 0.05))


def draw_spiral(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Array, float, float]:
    """Draw a nearly face-on disc with logarithmic arms about a bulge."""
    r_mag = rng.uniform(17.8, 20.8)
    z = float(np.clip(0.05 + 0.05 * (r_mag - 17.5) + rng.normal(0, 0.02), 0.03, 0.4))
    scale = float(10 ** (-0.13 * (r_mag - 19) + rng.normal(0, 0.06)))
    q, angle, arms = rng.uniform(0.65, 1.0), rng.uniform(0, np.pi), int(rng.choice([2, 2, 2, 3, 4]))
    dx, dy = canvas.fine_grid(x, y, 5.5 * scale)
    image = spiral_disc(rng, *_tilted(dx, dy, q, angle), scale, arms)
    bulge = fluxes(r_mag + rng.uniform(0.9, 2.2) + template(0.05, z))
    disc, young = _blue(rng, r_mag + 0.8, z, (0.2, 0.45)), _blue(rng, r_mag + rng.uniform(0.5, 1.5), z)
    canvas.add(x, y, canvas.convolve(image, np.stack([disc, young])))
    canvas.galaxy(x, y, bulge, 0.35 * scale, 2.2, rng.uniform(0.8, 1.0), angle)
    # The half-light radius of an exponential disc is 1.68 scale lengths.
    return bulge + disc + young, 1.68 * scale, z


def spiral_disc(rng: np.random.Generator, r: Array, phi: Array, scale: float, arms: int) -> tuple[Array, Array]:
    """Draw an exponential disc and its arms with knots, each of unit flux, on offsets ``r`` (arcsec) and ``phi``."""
    smooth = np.exp(-r / scale)
    pitch = np.tan(np.radians(rng.uniform(12, 28))) * rng.choice([-1, 1])
    # In a logarithmic spiral, the azimuth of an arm changes with the logarithm of the radius.
    phase = arms * (phi - np.log(np.maximum(r, 0.1 * scale) / scale) / pitch + rng.uniform(0, 2 * np.pi))
    armed = smooth * (0.5 + 0.5 * np.cos(phase)) ** rng.uniform(2, 5) * (1 - np.exp(-((r / (0.6 * scale)) ** 2)))
    knots = np.zeros_like(armed)
    # Knots are drawn where the arms are bright, by their cumulative light.
    weight = np.cumsum((armed * (r < 4 * scale)).ravel())
    x, y = r * np.cos(phi), r * np.sin(phi)
    for at in np.searchsorted(weight, rng.random(rng.integers(8, 25)) * weight[-1]):
        width = rng.uniform(0.05, 0.12) * scale
        near = (x - x.flat[at]) ** 2 + (y - y.flat[at]) ** 2
        knots += rng.exponential() * np.exp(-near / (2 * width**2)) / width**2
    return smooth / smooth.sum(), 0.75 * armed / armed.sum() + 0.25 * knots / max(knots.sum(), 1e-30)


def draw_merger(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Array, float, float]:
    """Draw two galaxies in contact, with one or two curved tails."""
    r = rng.uniform(18.5, 21.2)
    z = float(np.clip(0.1 + 0.1 * (r - 18) + rng.normal(0, 0.03), 0.04, 0.7))
    apart, angle = rng.uniform(0.8, 2.6), rng.uniform(0, 2 * np.pi)
    total = np.zeros(5)
    for side, share in ((0.0, 0.0), (1.0, rng.uniform(0.2, 1.5))):
        flux = fluxes(r + share + template(float(rng.uniform(0.0, 0.75)), z) + rng.normal(0, 0.05, 5))
        at = side * apart / canvas.pixel_scale
        size, index = rng.uniform(0.35, 0.9), float(rng.choice([1.0, 1.7, 2.8, 4.0]))
        place = (x + at * np.cos(angle), y + at * np.sin(angle))
        canvas.galaxy(*place, flux, size, index, rng.uniform(0.4, 0.9), rng.uniform(0, np.pi))
        total += flux
    dx, dy = canvas.fine_grid(x, y, 3.5 * apart + 1)
    for _ in range(rng.integers(1, 3)):
        tail = _tail(rng, dx, dy, apart)
        flux = _blue(rng, r + rng.uniform(1.3, 2.5), z)
        canvas.add(x, y, canvas.convolve([tail], flux[None]))
        total += flux
    return total, float(apart), z


def _tail(rng: np.random.Generator, dx: Array, dy: Array, apart: float) -> Array:
    """Draw a tidal tail of unit flux: a piece of a spiral that fades outwards."""
    r, phi = np.hypot(dx, dy), np.arctan2(dy, dx)
    start, turn, sign = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.2), rng.choice([-1, 1])
    along = np.mod(sign * (phi - start), 2 * np.pi)
    spine = apart * rng.uniform(0.8, 1.2) * (1 + 0.5 * along)
    tail = np.exp(-0.5 * ((r - spine) / (0.14 * apart + 0.12)) ** 2) * np.exp(-((along / turn) ** 2))
    return np.asarray(tail / tail.sum())


def _companion(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> tuple[Array, float, float]:
    """Draw a red elliptical with one to three small blue galaxies around it."""
    core, z = _red(rng, 18.5, 21.0)
    size = float(np.clip(10 ** (-0.12 * (ab_magnitude(core[2]) - 19.5) + rng.normal(0, 0.08)), 0.4, 2.5))
    canvas.galaxy(x, y, core, size, 4.0, rng.uniform(0.6, 0.95), rng.uniform(0, np.pi))
    return draw_companions(rng, canvas, x, y) + core, size, z


def draw_companions(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> Array:
    """Draw one to three small blue galaxies around a place; returns their flux [5]."""
    total = np.zeros(5)
    for _ in range(rng.integers(1, 4)):
        flux = _blue(rng, rng.uniform(21.3, 23.5), float(rng.uniform(0.3, 1.5)))
        apart, angle = rng.uniform(0.8, 3.2) / canvas.pixel_scale, rng.uniform(0, 2 * np.pi)
        place = (x + apart * np.cos(angle), y + apart * np.sin(angle))
        canvas.galaxy(*place, flux, rng.uniform(0.15, 0.5), 1.0, rng.uniform(0.25, 0.9), rng.uniform(0, np.pi))
        total += flux
    return total

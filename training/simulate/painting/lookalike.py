"""Look-alikes painted into real pixels: around real galaxies, or on empty sky."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.simulate import exposure, lookalikes, star_images
from training.simulate.canvas import Canvas, fluxes
from training.simulate.conditions import SATURATION
from training.simulate.population import stars, template

Array = NDArray[np.float64]

AROUND_HOST = ("companion", "ring", "group", "artefact")
"""Kinds that a galaxy of the field becomes."""
ON_SKY = ("spiral", "merger", "disc", "star")
"""Kinds that are painted whole, where nothing is known to be."""
SHARES = {
    "companion": 0.32,
    "ring": 0.04,
    "group": 0.2,
    "artefact": 0.08,
    "spiral": 0.12,
    "merger": 0.1,
    "disc": 0.08,
    "star": 0.06,
}
"""How often each kind is painted. A red core in a blue ring is rare, and an Einstein ring looks the same."""


def paint_lookalike(
    rng: np.random.Generator, canvas: Canvas, x: float, y: float, kind: str, mag: Array, z: float
) -> None:
    """Draw a look-alike of this ``kind`` on the canvas at pixel (x, y).

    Kinds of ``AROUND_HOST`` are drawn without the galaxy itself, whose magnitudes [5] (NaN where unknown) and redshift
    are ``mag`` and ``z``.
    """
    painters: dict[str, Callable[..., object]] = {
        "companion": lambda: _companions(rng, canvas, x, y),
        "ring": lambda: lookalikes.draw_ring(rng, canvas, x, y, float(np.nanmean(mag[1:4])), z, rng.uniform(0.9, 2.8)),
        "group": lambda: _group(rng, canvas, x, y, float(np.nanmean(mag[2:4])), z),
        "artefact": lambda: _artefact(rng, canvas, x, y),
        "spiral": lambda: lookalikes.draw_spiral(rng, canvas, x, y),
        "merger": lambda: lookalikes.draw_merger(rng, canvas, x, y),
        "disc": lambda: _disc(rng, canvas, x, y),
        "star": lambda: _star(rng, canvas, x, y),
    }
    painters[kind]()


def _companions(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """Draw small blue galaxies around the galaxy, or one blue disc seen edge-on beside it, which looks like an arc."""
    if rng.random() < 0.6:
        lookalikes.draw_companions(rng, canvas, x, y)
        return
    flux = fluxes(rng.uniform(20.3, 22.8) + template(float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.1, 0.8))))
    apart, angle = rng.uniform(1.0, 4.5) / canvas.pixel_scale, rng.uniform(0, 2 * np.pi)
    place = (x + apart * np.cos(angle), y + apart * np.sin(angle))
    canvas.galaxy(*place, flux, rng.uniform(0.5, 1.6), 1.0, rng.uniform(0.1, 0.3), rng.uniform(0, np.pi))


def _group(rng: np.random.Generator, canvas: Canvas, x: float, y: float, r: float, z: float) -> None:
    """Draw two to five red neighbours of the galaxy, at its redshift."""
    for _ in range(rng.integers(2, 6)):
        mag = r + rng.exponential(0.8) + template(float(rng.uniform(0, 0.2)), z) + rng.normal(0, 0.05, 5)
        apart, angle = rng.uniform(1.3, 6.0) / canvas.pixel_scale, rng.uniform(0, 2 * np.pi)
        size = float(np.clip(10 ** (-0.14 * (mag[2] - 20) + rng.normal(0, 0.1)), 0.2, 1.5))
        place = (x + apart * np.cos(angle), y + apart * np.sin(angle))
        canvas.galaxy(*place, fluxes(mag), size, 3.5, rng.uniform(0.5, 0.95), rng.uniform(0, np.pi))


def _disc(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """Draw a disc seen edge-on, with a bulge."""
    r, z = rng.uniform(18.0, 21.8), float(rng.uniform(0.03, 0.4))
    angle, size = rng.uniform(0, np.pi), float(10 ** (-0.13 * (r - 19) + 0.1))
    disc = fluxes(r + template(float(rng.uniform(0.3, 1.0)), z) + rng.normal(0, 0.05, 5))
    bulge = fluxes(r + rng.uniform(0.8, 2.5) + template(0.05, z))
    canvas.galaxy(x, y, disc, size, 1.0, rng.uniform(0.1, 0.3), angle)
    canvas.galaxy(x, y, bulge, 0.3 * size, 2.8, rng.uniform(0.5, 0.9), angle)


def _star(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """Draw a bright star with spikes, saturated as the survey would."""
    flux = fluxes(stars(rng, 1, 13.5, 17.5)[0])
    star_images.draw_star(rng, canvas, x, y, flux, bright=True)
    for band, conditions in enumerate(canvas.conditions):
        np.minimum(canvas.flux[band], SATURATION[conditions.band], out=canvas.flux[band])


def _artefact(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """Draw a satellite trail, a cosmic ray or a ghost near the galaxy, in one band."""
    band = int(rng.choice([k for k, one in enumerate(canvas.conditions) if one.present]))
    image, conditions = canvas.flux[band], canvas.conditions[band]
    match rng.integers(3):
        case 0:
            exposure.draw_trail(rng, image, conditions)
        case 1:
            for _ in range(rng.integers(1, 4)):
                exposure.draw_cosmic_ray(rng, image, conditions)
        case _:
            rows, columns = np.indices(image.shape)
            away = np.hypot(columns - x - rng.normal(0, 8), rows - y - rng.normal(0, 8))
            radius = rng.uniform(6, 25)
            image += (conditions.rms * rng.uniform(1, 6) * (np.abs(away - radius) < rng.uniform(1, 4))).astype(
                np.float32
            )

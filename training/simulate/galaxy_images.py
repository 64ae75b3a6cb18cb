"""Images of field galaxies: a Sersic profile if faint; bulge, disc and knots if bright."""

from __future__ import annotations

import galsim
import numpy as np

from training.simulate.canvas import Canvas, fluxes, sersic
from training.simulate.population import Galaxies

DETAILED = 22.3
"""i magnitude above which a galaxy is more than one Sersic profile."""
REDDER = 10 ** (0.4 * np.array([-0.45, -0.25, 0.0, 0.08, 0.12]))
BLUER = 10 ** (0.4 * np.array([0.45, 0.25, 0.0, -0.1, -0.15]))


def draw_galaxy(rng: np.random.Generator, canvas: Canvas, x: float, y: float, galaxies: Galaxies, k: int) -> None:
    """Draw galaxy ``k`` at pixel (x, y); the sum of its parts has the flux of its magnitudes."""
    flux = fluxes(galaxies.mag[k])
    size, n, q, angle = (float(v[k]) for v in (galaxies.size, galaxies.n, galaxies.q, galaxies.angle))
    if galaxies.mag[k, 3] > DETAILED or galaxies.late[k] < 0.25:
        canvas.galaxy(x, y, flux, size, n, q, angle)
        return
    # Bulge and knots have other colours; the disc takes the rest of the flux in each band.
    bulge = flux * np.clip((n - 0.7) / 4, 0.02, 0.6) * REDDER
    knots = flux * rng.uniform(0.05, 0.25) * galaxies.late[k] * BLUER
    disc = flux - bulge - knots
    if (disc < 0.3 * flux).any():  # too little is left for a disc
        canvas.galaxy(x, y, flux, size, n, q, angle)
        return
    canvas.galaxy(x, y, bulge, 0.3 * size, 2.2, max(q, 0.6), angle)
    canvas.galaxy(x, y, disc, 1.1 * size, 1.0, q, angle)
    _knots(rng, canvas, x, y, knots, 1.1 * size, q, angle)


def _knots(
    rng: np.random.Generator, canvas: Canvas, x: float, y: float, flux: np.ndarray, size: float, q: float, angle: float
) -> None:
    """Draw star-forming regions: points scattered like the disc."""
    shear = galsim.Shear(q=q, beta=angle * galsim.radians)
    noise = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
    knots = galsim.RandomKnots(int(rng.integers(8, 30)), profile=sersic(1.0), rng=noise)
    canvas.profile(x, y, flux, knots.dilate(size * np.sqrt(q)).shear(shear), 4 * size + 1)

"""Population of strong lenses: massive red galaxies, with blue galaxies or quasars far behind them, nearly in line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from numpy.typing import NDArray

from training.simulate.conditions import Settings
from training.simulate.population import k_correction, template
from training.simulate.source_images import SourceImage

Array = NDArray[np.float64]

LIGHT_SPEED = 299_792.458  # km/s


@dataclass(frozen=True)
class Deflector:
    """Lens galaxy: ``theta_e`` and ``size`` in arcsec, ``sigma`` in km/s, ``angle`` of its major axis in radians.

    ``shear`` is external, (g1, g2); ``mag`` [5] is AB in u g r i z.
    """

    z: float
    sigma: float
    theta_e: float
    q: float
    angle: float
    shear: tuple[float, float]
    mag: Array
    size: float

    @property
    def model(self) -> LensModel:
        return LensModel(["SIE", "SHEAR"])

    @property
    def parameters(self) -> list[dict[str, float]]:
        e1, e2 = phi_q2_ellipticity(self.angle, self.q)
        sie = {"theta_E": self.theta_e, "e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0}
        return [sie, {"gamma1": self.shear[0], "gamma2": self.shear[1], "ra_0": 0.0, "dec_0": 0.0}]


@dataclass(frozen=True)
class Source:
    """Lensed source: a Sersic galaxy with blue clumps at (``x``, ``y``) arcsec behind the lens, or a quasar in it.

    ``mag`` [5] is before magnification; ``clumps`` [K, 4] are x, y, size (arcsec) and share of the flux.
    """

    z: float
    x: float
    y: float
    mag: Array
    size: float
    n: float
    q: float
    angle: float
    clumps: Array
    quasar: Array | None  # magnitudes [5] of its point source
    image: SourceImage | None = None  # a real galaxy in place of the Sersic profile, turned by ``angle``


@cache
def _distances() -> tuple[Array, Array]:
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    z = np.linspace(0.01, 4, 400)
    return z, np.asarray(cosmology.comoving_distance(z).value)


def _comoving(z: float) -> float:
    """Interpolate the comoving distance in Mpc."""
    return float(np.interp(z, *_distances()))


def draw_deflector(rng: np.random.Generator, settings: Settings) -> tuple[Deflector, float]:
    """Draw a lens galaxy and the redshift of its source: theta_E first, then redshifts that give a real galaxy.

    Luminosity and size follow from the velocity dispersion, with passive evolution of one magnitude per unit redshift.

    Source: theta_E = 4 pi (sigma / c)^2 D_ls / D_s of the isothermal sphere (Narayan & Bartelmann 1996,
    arXiv:astro-ph/9606001); Faber & Jackson 1976, ApJ 204, 668; zero points of Auger et al. 2010, ApJ 724, 511.
    """
    low, high = settings.theta_e
    # Redraw until the velocity dispersion is that of a massive galaxy.
    while True:
        theta_e = float(low + (high - low) * rng.beta(1.3, 2.0))
        z = float(np.clip(rng.normal(0.48, 0.15), 0.18, 0.95))
        z_source = float(np.clip(z + 0.3 + rng.gamma(2.2, 0.45), 0.0, 3.3))
        # D_ls / D_s in a flat universe.
        ratio = 1 - _comoving(z) / _comoving(z_source)
        sigma = LIGHT_SPEED * np.sqrt(np.radians(theta_e / 3600) / (4 * np.pi * ratio))
        if 150 < sigma < 370:
            break
    # Luminosity distance in Mpc, which is 1e5 times 10 pc.
    distance = _comoving(z) * (1 + z)
    absolute = -22.7 - 8 * np.log10(sigma / 250) - z + rng.normal(0, 0.25)
    r = absolute + 5 * np.log10(distance * 1e5) + k_correction(z)
    kpc = 7.5 * (sigma / 250) ** 1.6 * 10 ** rng.normal(0, 0.1)
    q = float(np.clip(rng.normal(0.78, 0.12), 0.45, 0.98))
    gamma, angle = min(abs(rng.normal(0, 0.05)), 0.15), rng.uniform(0, np.pi)
    # Arcsec, from the angular diameter distance in Mpc; 206,265 arcsec are one radian.
    size = float(kpc / 1000 / (_comoving(z) / (1 + z)) * 206_265)
    deflector = Deflector(
        z=z,
        sigma=float(sigma),
        theta_e=theta_e,
        q=q,
        angle=float(rng.uniform(0, np.pi)),
        shear=(float(gamma * np.cos(2 * angle)), float(gamma * np.sin(2 * angle))),
        mag=r + template(float(rng.choice([0.0, 0.0, 0.0, 0.1])), z) + rng.normal(0, 0.04, 5),
        size=max(size, 0.25),
    )
    return deflector, z_source


def draw_source(rng: np.random.Generator, settings: Settings, theta_e: float, z: float, quasar: bool) -> Source:
    """Draw a source behind a deflector, near enough to its axis for more than one image."""
    # Uniform over a disc of 0.55 Einstein radii.
    radius, angle = theta_e * np.sqrt(rng.uniform(0.0, 0.55**2)), rng.uniform(0, 2 * np.pi)
    bright, faint = settings.source_mag
    # Counts rise by 0.4 dex a magnitude between the two limits.
    r = float(faint + np.log10(10 ** (0.4 * (bright - faint)) * (1 - (u := rng.random())) + u) / 0.4)
    late = float(np.clip(rng.normal(0.85, 0.15), 0.3, 1.0)) if rng.random() < 0.95 else 0.35
    size = float(np.clip(0.22 * 10 ** (-0.08 * (r - 23.5) + rng.normal(0, 0.18)), 0.07, 0.6))
    number = int(rng.integers(0, 5)) if late > 0.3 else 0
    spread = rng.normal(0, 0.8 * size, (number, 2))
    clumps = np.column_stack(
        [spread, rng.uniform(0.025, 0.07, number), rng.dirichlet(np.ones(max(number, 1)))[:number]]
    )
    return Source(
        z=z,
        x=float(radius * np.cos(angle)),
        y=float(radius * np.sin(angle)),
        mag=r + template(late, z) + rng.normal(0, 0.05, 5) + (1.2 if quasar else 0.0),
        size=size,
        n=float(np.clip(rng.normal(1.1, 0.4), 0.5, 4.0)) if late > 0.3 else 3.0,
        q=float(rng.uniform(0.3, 0.95)),
        angle=float(rng.uniform(0, np.pi)),
        clumps=clumps,
        quasar=_quasar(rng, z, r - rng.uniform(0.0, 1.5)) if quasar else None,
    )


def _quasar(rng: np.random.Generator, z: float, r: float) -> Array:
    """Draw u g r i z of a quasar of r magnitude ``r``: a blue power law; the Lyman forest dims u beyond z = 2.5."""
    slope = rng.normal(0.0, 0.12)
    colours = np.array([0.25 + 0.8 * max(z - 2.5, 0), 0.18, 0.0, -0.1, -0.15]) + slope * np.array([2, 1, 0, -0.7, -1])
    return np.asarray(r + colours + rng.normal(0, 0.05, 5))

"""Strong lenses: a massive red galaxy (SIE with shear) before a blue source or a quasar, traced by lenstronomy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from numpy.typing import NDArray

from training.simulate.canvas import FINE, HALF_PSF, Canvas, fluxes
from training.simulate.conditions import PIXEL_SCALE, Settings
from training.simulate.population import k_correction, template

Array = NDArray[np.float64]

LIGHT_SPEED = 299_792.458  # km/s
TRIES = 15
BRIGHTEST = 17.3  # r of a lens galaxy
CELL = (PIXEL_SCALE / FINE) ** 2  # square arcsec


@dataclass(frozen=True)
class Deflector:
    """The lens galaxy: ``theta_e`` and ``size`` in arcsec, ``sigma`` in km/s, ``angle`` of its major axis in radians,
    external ``shear`` (g1, g2), AB ``mag`` [5] in u g r i z."""

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
    """What is lensed: a Sersic galaxy with blue clumps, at (``x``, ``y``) arcsec behind the lens, or a quasar in it.

    ``mag`` [5] is before magnification; ``clumps`` [K, 4] are x, y, size (arcsec) and share of the flux."""

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


@dataclass(frozen=True)
class LensedLight:
    """Stamps [B, N, N] of the images in nJy, their signal to noise in the better of g and r, magnification."""

    stamps: Array
    snr: float
    magnification: float


@cache
def _distances() -> tuple[Array, Array]:
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    z = np.linspace(0.01, 4, 400)
    return z, np.asarray(cosmology.comoving_distance(z).value)


def _comoving(z: float) -> float:
    """Comoving distance in Mpc."""
    return float(np.interp(z, *_distances()))


def draw_deflector(rng: np.random.Generator, settings: Settings) -> tuple[Deflector, float]:
    """A lens galaxy and the redshift of its source: theta_E first, then redshifts that a real galaxy can do it at.

    Velocity dispersion from theta_E = 4 pi (sigma / c)^2 D_ls / D_s; luminosity and size from it (Faber & Jackson 1976;
    zero points of SLACS, Auger et al. 2010), with passive evolution of one magnitude a unit redshift.
    """
    low, high = settings.theta_e
    while True:
        theta_e = float(low + (high - low) * rng.beta(1.3, 2.0))
        z = float(np.clip(rng.normal(0.48, 0.15), 0.18, 0.95))
        z_source = float(np.clip(z + 0.3 + rng.gamma(2.2, 0.45), 0.0, 3.3))
        ratio = 1 - _comoving(z) / _comoving(z_source)
        sigma = LIGHT_SPEED * np.sqrt(np.radians(theta_e / 3600) / (4 * np.pi * ratio))
        if 150 < sigma < 370:
            break
    distance = _comoving(z) * (1 + z)
    absolute = -22.7 - 8 * np.log10(sigma / 250) - z + rng.normal(0, 0.25)
    r = absolute + 5 * np.log10(distance * 1e5) + k_correction(z)
    kpc = 7.5 * (sigma / 250) ** 1.6 * 10 ** rng.normal(0, 0.1)
    q = float(np.clip(rng.normal(0.78, 0.12), 0.45, 0.98))
    gamma, angle = min(abs(rng.normal(0, 0.05)), 0.15), rng.uniform(0, np.pi)
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
    """A source behind a deflector, near enough to its axis to be imaged more than once."""
    radius, angle = theta_e * np.sqrt(rng.uniform(0.0, 0.55**2)), rng.uniform(0, 2 * np.pi)
    bright, faint = settings.source_mag
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
    """u g r i z of a quasar of r magnitude ``r``: a blue power law, u dimmed by the Lyman forest beyond z = 2.5."""
    slope = rng.normal(0.0, 0.12)
    colours = np.array([0.25 + 0.8 * max(z - 2.5, 0), 0.18, 0.0, -0.1, -0.15]) + slope * np.array([2, 1, 0, -0.7, -1])
    return np.asarray(r + colours + rng.normal(0, 0.05, 5))


def lensed_light(canvas: Canvas, x: float, y: float, deflector: Deflector, source: Source) -> LensedLight:
    """Trace the source through the deflector onto stamps around pixel (x, y)."""
    reach = 2.2 * deflector.theta_e + 4 * source.size + 0.8
    dx, dy = canvas.fine_grid(x, y, reach)
    model, parameters = deflector.model, deflector.parameters
    beta_x, beta_y = (v.reshape(dx.shape) for v in model.ray_shooting(dx.ravel(), dy.ravel(), parameters))
    parts, weights = [], []
    total = fluxes(source.mag)
    clumpy = 0.45 * len(source.clumps) / 5
    parts.append(_brightness(source, beta_x, beta_y))
    weights.append(total * (1 - clumpy))
    if len(source.clumps):
        bluer = 10 ** (0.4 * np.array([0.2, 0.1, 0.0, -0.05, -0.1]))
        parts.append(_clump_brightness(source, beta_x, beta_y))
        weights.append(total * clumpy * bluer)
    stamps = canvas.seen_through(parts, np.array(weights))
    over = _deflector_brightness(canvas, x, y, deflector, stamps.shape[-1])
    magnification = float(parts[0].sum())
    if source.quasar is not None:
        images = _images(model, parameters, source)
        stamps, magnification = _add_points(canvas, x, y, stamps, images, fluxes(source.quasar)), images[:, 2].sum()
    return LensedLight(stamps, _snr(canvas, stamps, over), float(magnification))


def _brightness(source: Source, beta_x: Array, beta_y: Array) -> Array:
    """The Sersic body in the image plane, as part of its unlensed flux in each cell."""
    e1, e2 = phi_q2_ellipticity(source.angle, source.q)
    light = LightModel(["SERSIC_ELLIPSE"])
    shape = {"R_sersic": source.size, "n_sersic": source.n, "e1": e1, "e2": e2}
    body = [{"amp": 1.0, **shape, "center_x": source.x, "center_y": source.y}]
    flux = light.total_flux(body)[0]
    return np.asarray(light.surface_brightness(beta_x, beta_y, body) / flux * CELL)


def _clump_brightness(source: Source, beta_x: Array, beta_y: Array) -> Array:
    image = np.zeros_like(beta_x)
    for x, y, size, share in source.clumps:
        r2 = (beta_x - source.x - x) ** 2 + (beta_y - source.y - y) ** 2
        image += share / (2 * np.pi * size**2) * np.exp(-r2 / (2 * size**2)) * CELL
    return image


def _images(model: LensModel, parameters: list[dict[str, float]], source: Source) -> Array:
    """Positions in arcsec and absolute magnifications of a point source's images, [K, 3]."""
    solver = LensEquationSolver(model)
    reach = parameters[0]["theta_E"]
    x, y = solver.image_position_from_source(
        source.x, source.y, parameters, min_distance=reach / 15, search_window=5 * reach, precision_limit=1e-6
    )
    if len(x) == 0:
        return np.zeros((0, 3))
    return np.column_stack([x, y, np.minimum(np.abs(model.magnification(x, y, parameters)), 40)])


def _add_points(canvas: Canvas, x: float, y: float, stamps: Array, images: Array, flux: Array) -> Array:
    """Stamps with point images added, each drawn as one cell spread over its four nearest."""
    side = (stamps.shape[-1] // 2 - HALF_PSF) * 2 + 1
    grid = np.zeros((side * FINE, side * FINE))
    for dx, dy, magnification in images:
        column = ((x + dx / PIXEL_SCALE - round(x)) + side / 2) * FINE - 0.5
        row = ((y + dy / PIXEL_SCALE - round(y)) + side / 2) * FINE - 0.5
        i, j = int(np.floor(row)), int(np.floor(column))
        if 0 <= i < len(grid) - 1 and 0 <= j < len(grid) - 1:
            a, b = row - i, column - j
            grid[i : i + 2, j : j + 2] += magnification * np.outer([1 - a, a], [1 - b, b])
    return np.asarray(stamps + canvas.seen_through([grid], flux[None]))


def _deflector_brightness(canvas: Canvas, x: float, y: float, deflector: Deflector, side: int) -> Array:
    """Light of the lens galaxy in nJy a pixel [B, N, N]: de Vaucouleurs, round, its core as wide as the seeing."""
    steps = np.arange(side) - side // 2
    dx, dy = (steps + round(x) - x) * PIXEL_SCALE, (steps + round(y) - y) * PIXEL_SCALE
    r = np.hypot(np.hypot(dx[None, :], dy[:, None]), 0.4 * canvas.seen[2].fwhm) / (deflector.size * deflector.q**0.5)
    profile = np.exp(-7.669 * (r**0.25 - 1))
    at_half = fluxes(deflector.mag) / (22.666 * deflector.size**2 * deflector.q) * PIXEL_SCALE**2  # 22.666 = 7.215 pi
    return np.asarray(at_half[:, None, None] * profile)


def _snr(canvas: Canvas, stamps: Array, over: Array) -> float:
    """Matched-filter signal to noise of the lensed light in the better of g and r, or of the bands that are there.

    Beside the sky, a fifth of the lens galaxy's own light ``over`` is noise: images that drown in it are not seen.
    """
    clear = stamps**2 / (np.array([seen.rms for seen in canvas.seen])[:, None, None] ** 2 + (0.2 * over) ** 2)
    snr = np.sqrt(clear.sum(axis=(1, 2)))
    best = max((snr[k] for k in (1, 2) if canvas.seen[k].present), default=0.0)
    return float(best or snr.max())


def draw_lens(
    rng: np.random.Generator, settings: Settings, canvas: Canvas, x: float, y: float
) -> tuple[Deflector, Source, LensedLight]:
    """Draw a lens on the canvas: the first of ``TRIES`` whose images stand out (else the best of them).

    Seen are images of enough signal whose ring is wider than the seeing: theta_E^2 > (FWHM / 2)^2 + size^2, and a
    magnification above 2.5 (Collett 2015, ApJ 811, 20, with our own limits).
    """
    best: tuple[float, Deflector, Source, LensedLight] | None = None
    quasar = rng.random() < settings.quasar_fraction
    for _ in range(TRIES):
        deflector, z_source = draw_deflector(rng, settings)
        source = draw_source(rng, settings, deflector.theta_e, z_source, quasar)
        if deflector.mag[2] < BRIGHTEST:
            continue
        seeing = min(s.fwhm for s in canvas.seen if s.present)
        if deflector.theta_e**2 < (0.5 * seeing) ** 2 + source.size**2:
            continue
        light = lensed_light(canvas, x, y, deflector, source)
        if best is None or light.snr > best[0]:
            best = (light.snr, deflector, source, light)
        if light.snr > settings.least_snr and light.magnification > 2.5:
            break
    if best is None:
        return draw_lens(rng, settings, canvas, x, y)
    _, deflector, source, light = best
    canvas.galaxy(x, y, fluxes(deflector.mag), deflector.size, 4.0, deflector.q, deflector.angle)
    canvas.add(x, y, light.stamps)
    return deflector, source, light

"""Images of strong lenses: those of a source, traced by lenstronomy, on top of the lens galaxy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity
from numpy.typing import NDArray

from training.simulate.canvas import FINE, HALF_PSF, Canvas, fluxes
from training.simulate.conditions import Settings
from training.simulate.lens_population import Deflector, Source, draw_deflector, draw_source

Array = NDArray[np.float64]

TRIES = 15
BRIGHTEST = 17.3  # r of a lens galaxy


@dataclass(frozen=True)
class LensedLight:
    """Stamps [B, N, N] of the images in nJy, their signal to noise in the better of g and r, and the magnification."""

    stamps: Array
    snr: float
    magnification: float


def lensed_light(canvas: Canvas, x: float, y: float, deflector: Deflector, source: Source) -> LensedLight:
    """Trace the source through the deflector onto stamps around pixel (x, y).

    Source: the lens equation beta = theta - alpha(theta) at each cell; surface brightness is conserved (Schneider,
    Ehlers & Falco 1992, Gravitational Lenses).
    """
    reach = 2.2 * deflector.theta_e + 4 * source.size + 0.8
    dx, dy = canvas.fine_grid(x, y, reach)
    model, parameters = deflector.model, deflector.parameters
    beta_x, beta_y = (v.reshape(dx.shape) for v in model.ray_shooting(dx.ravel(), dy.ravel(), parameters))
    # Body and clumps of the source in the image plane; clumps are bluer, and hold up to 45 % of the flux.
    parts, weights = [], []
    cell = (canvas.pixel_scale / FINE) ** 2  # square arcsec
    total = fluxes(source.mag)
    clumpy = 0.45 * len(source.clumps) / 5
    parts.append(_brightness(source, beta_x, beta_y, cell))
    weights.append(total * (1 - clumpy))
    if len(source.clumps):
        bluer = 10 ** (0.4 * np.array([0.2, 0.1, 0.0, -0.05, -0.1]))
        parts.append(_clump_brightness(source, beta_x, beta_y, cell))
        weights.append(total * clumpy * bluer)
    stamps = canvas.convolve(parts, np.array(weights))
    over = _deflector_brightness(canvas, x, y, deflector, stamps.shape[-1])
    magnification = float(parts[0].sum())
    # A quasar is a point: its images are found by solving the lens equation.
    if source.quasar is not None:
        images = _images(model, parameters, source)
        stamps, magnification = _add_points(canvas, x, y, stamps, images, fluxes(source.quasar)), images[:, 2].sum()
    return LensedLight(stamps, _snr(canvas, stamps, over), float(magnification))


def _brightness(source: Source, beta_x: Array, beta_y: Array, cell: float) -> Array:
    """Compute the body of the source in the image plane, as share of its unlensed flux in each cell."""
    if source.image is not None:
        dx, dy = beta_x - source.x, beta_y - source.y
        cos, sin = np.cos(source.angle), np.sin(source.angle)
        return source.image.brightness(cos * dx + sin * dy, cos * dy - sin * dx, source.size) * cell
    e1, e2 = phi_q2_ellipticity(source.angle, source.q)
    light = LightModel(["SERSIC_ELLIPSE"])
    shape = {"R_sersic": source.size, "n_sersic": source.n, "e1": e1, "e2": e2}
    body = [{"amp": 1.0, **shape, "center_x": source.x, "center_y": source.y}]
    flux = light.total_flux(body)[0]
    return np.asarray(light.surface_brightness(beta_x, beta_y, body) / flux * cell)


def _clump_brightness(source: Source, beta_x: Array, beta_y: Array, cell: float) -> Array:
    image = np.zeros_like(beta_x)
    for x, y, size, share in source.clumps:
        r2 = (beta_x - source.x - x) ** 2 + (beta_y - source.y - y) ** 2
        image += share / (2 * np.pi * size**2) * np.exp(-r2 / (2 * size**2)) * cell
    return image


def _images(model: LensModel, parameters: list[dict[str, float]], source: Source) -> Array:
    """Solve for the images of a point source: positions in arcsec and absolute magnification, [K, 3]."""
    solver = LensEquationSolver(model)
    reach = parameters[0]["theta_E"]
    x, y = solver.image_position_from_source(
        source.x, source.y, parameters, min_distance=reach / 15, search_window=5 * reach, precision_limit=1e-6
    )
    if len(x) == 0:
        return np.zeros((0, 3))
    return np.column_stack([x, y, np.minimum(np.abs(model.magnification(x, y, parameters)), 40)])


def _add_points(canvas: Canvas, x: float, y: float, stamps: Array, images: Array, flux: Array) -> Array:
    """Add point images to stamps, each spread over its four nearest cells."""
    side = (stamps.shape[-1] // 2 - HALF_PSF) * 2 + 1
    grid = np.zeros((side * FINE, side * FINE))
    for dx, dy, magnification in images:
        column = ((x + dx / canvas.pixel_scale - round(x)) + side / 2) * FINE - 0.5
        row = ((y + dy / canvas.pixel_scale - round(y)) + side / 2) * FINE - 0.5
        i, j = int(np.floor(row)), int(np.floor(column))
        if 0 <= i < len(grid) - 1 and 0 <= j < len(grid) - 1:
            a, b = row - i, column - j
            grid[i : i + 2, j : j + 2] += magnification * np.outer([1 - a, a], [1 - b, b])
    return np.asarray(stamps + canvas.convolve([grid], flux[None]))


def _deflector_brightness(canvas: Canvas, x: float, y: float, deflector: Deflector, side: int) -> Array:
    """Compute the light of the lens galaxy in nJy per pixel [B, N, N]: round de Vaucouleurs, with a core of the seeing.

    Source: de Vaucouleurs 1948, Annales d'Astrophysique 11, 247; total flux = 7.215 pi R^2 I(R), 7.215 pi = 22.666.
    """
    steps = np.arange(side) - side // 2
    dx, dy = (steps + round(x) - x) * canvas.pixel_scale, (steps + round(y) - y) * canvas.pixel_scale
    r = np.hypot(np.hypot(dx[None, :], dy[:, None]), 0.4 * canvas.conditions[2].fwhm) / (
        deflector.size * deflector.q**0.5
    )
    profile = np.exp(-7.669 * (r**0.25 - 1))
    at_half = fluxes(deflector.mag) / (22.666 * deflector.size**2 * deflector.q) * canvas.pixel_scale**2
    return np.asarray(at_half[:, None, None] * profile)


def _snr(canvas: Canvas, stamps: Array, over: Array) -> float:
    """Compute the matched-filter signal to noise of the lensed light in the better of g and r, else of all bands.

    A fifth of the light ``over`` of the lens galaxy counts as noise, beside that of the background.
    """
    clear = stamps**2 / (np.array([one.rms for one in canvas.conditions])[:, None, None] ** 2 + (0.2 * over) ** 2)
    snr = np.sqrt(clear.sum(axis=(1, 2)))
    best = max((snr[k] for k in (1, 2) if canvas.conditions[k].present), default=0.0)
    return float(best or snr.max())


def draw_lens(
    rng: np.random.Generator, settings: Settings, canvas: Canvas, x: float, y: float
) -> tuple[Deflector, Source, LensedLight]:
    """Draw a lens on the canvas: the first of ``TRIES`` whose images can be detected, else the best of them.

    They need enough signal, a ring wider than the seeing, theta_E^2 > (FWHM / 2)^2 + size^2, and a magnification above
    2.5.

    Source: Collett 2015, ApJ 811, 20, with other limits.
    """
    best: tuple[float, Deflector, Source, LensedLight] | None = None
    quasar = rng.random() < settings.quasar_fraction
    for attempt in range(TRIES):
        may_skip = attempt < TRIES - 1  # the last try is always rendered
        deflector, z_source = draw_deflector(rng, settings)
        source = draw_source(rng, settings, deflector.theta_e, z_source, quasar)
        seeing = min(s.fwhm for s in canvas.conditions if s.present)
        hidden = deflector.theta_e**2 < (0.5 * seeing) ** 2 + source.size**2
        if may_skip and (hidden or deflector.mag[2] < BRIGHTEST):
            continue
        light = lensed_light(canvas, x, y, deflector, source)
        if best is None or light.snr > best[0]:
            best = (light.snr, deflector, source, light)
        if light.snr > settings.least_snr and light.magnification > 2.5:
            break
    assert best is not None
    _, deflector, source, light = best
    canvas.galaxy(x, y, fluxes(deflector.mag), deflector.size, 4.0, deflector.q, deflector.angle)
    canvas.add(x, y, light.stamps)
    return deflector, source, light

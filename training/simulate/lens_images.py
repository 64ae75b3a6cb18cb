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
R = 2  # number of the r band
FAINTEST = 1e-3  # magnification below which an image of a quasar is none, as the one in the middle of the lens
NUDGES = np.array([(0, 0), (0.002, 0.001), (0.2, 0.1), (-0.1, 0.2), (1, 0.5), (-0.5, 1), (3, 1.5), (-1.5, 3)]) / 1000
"""Places beside a quasar, in arcsec, that stand for it where the solver fails: at most a fiftieth of a pixel away."""


@dataclass(frozen=True)
class LensedLight:
    """Stamps [B, N, N] of the images in nJy, and what is known of them.

    ``snr`` is that of a matched filter, in the better of g and r. ``white_snr`` is the same if the noise of every pixel
    were independent. ``magnification`` is the flux of all images over that of all light of the source, in r.
    ``main_magnification`` is that of the body of the source alone, without clumps, or of its quasar. Lenses for
    training are selected by ``white_snr`` and ``main_magnification``.
    """

    stamps: Array
    snr: float
    white_snr: float
    magnification: float
    main_magnification: float


def lensed_light(canvas: Canvas, x: float, y: float, deflector: Deflector, source: Source) -> LensedLight:
    """Trace the source through the deflector onto stamps around pixel (x, y).

    Source: the lens equation beta = theta - alpha(theta) at each cell; surface brightness is conserved (Schneider,
    Ehlers & Falco 1992, Gravitational Lenses).
    """
    reach = 2.2 * deflector.theta_e + 4 * source.size + 0.8
    dx, dy = canvas.fine_grid(x, y, reach)
    model, parameters = deflector.model, deflector.parameters
    beta_x, beta_y = (v.reshape(dx.shape) for v in model.ray_shooting(dx.ravel(), dy.ravel(), parameters))
    # Body and clumps of the source in the image plane.
    cell = (canvas.pixel_scale / FINE) ** 2  # square arcsec
    weights = _part_fluxes(source)
    parts = [_brightness(source, beta_x, beta_y, cell)]
    if len(source.clumps):
        parts.append(_clump_brightness(source, beta_x, beta_y, cell))
    stamps = canvas.convolve(parts, weights)
    over = _deflector_brightness(canvas, x, y, deflector, stamps.shape[-1])
    main = float(parts[0].sum())
    light = sum(part.sum() * weight[R] for part, weight in zip(parts, weights, strict=True))
    # A quasar is a point: its images are found by solving the lens equation.
    if source.quasar is not None:
        images, flux = _images(model, parameters, source), fluxes(source.quasar)
        points = _point_grid(canvas, x, y, stamps.shape[-1], images)
        stamps, main = stamps + canvas.convolve([points], flux[None]), float(images[:, 2].sum())
        light += points.sum() * flux[R]
    white = _white_snr(canvas, stamps, over)
    snr = white * _noise_ratio(canvas, stamps, over)
    return LensedLight(stamps, _best(canvas, snr), _best(canvas, white), float(light / source_flux(source)[R]), main)


def source_flux(source: Source) -> Array:
    """Compute the flux of all light of a source before magnification: body, clumps and quasar, [B] in nJy."""
    flux = _part_fluxes(source).sum(axis=0)
    return np.asarray(flux if source.quasar is None else flux + fluxes(source.quasar))


def _part_fluxes(source: Source) -> Array:
    """Compute the fluxes of body and clumps, if there are any, [parts, B] in nJy; a quasar is neither.

    Clumps are bluer than the body, and hold up to 45 % of the flux.
    """
    total, clumpy = fluxes(source.mag), 0.45 * len(source.clumps) / 5
    bluer = 10 ** (0.4 * np.array([0.2, 0.1, 0.0, -0.05, -0.1]))
    return np.array([total * (1 - clumpy), total * clumpy * bluer][: 2 if len(source.clumps) else 1])


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
    """Solve for the images of a point source: positions in arcsec and absolute magnification, [K, 3].

    Raises:
        ValueError: No image was found: the mass is rounder than any that is drawn, beyond an axis ratio of 0.99.
    """
    solver = LensEquationSolver(model)
    found: list[tuple[Array, Array]] = []
    # The solver on a grid misses one of two images that are about to merge, and its random steps have no seed. This one
    # loses images of a source on an axis of the mass: two, or, up to 0.1 mas away, one. There are four or two besides
    # the one in the middle, which has no light, unless the source is so far out that it has one image. So an odd number
    # is looked at again from beside it, and two are confirmed.
    for dx, dy in NUDGES:
        x, y = solver.image_position_analytical(
            source.x + dx, source.y + dy, parameters, arrival_time_sort=False, magnification_limit=FAINTEST
        )
        found.append((x, y))
        counts = [len(images[0]) for images in found]
        if counts[-1] == 4 or counts.count(2) == 2:
            break
    x, y = max(found, key=lambda images: len(images[0]))
    if not len(x):  # a source always has an image
        raise ValueError(f"no image was found of a quasar behind {parameters}")
    return np.column_stack([x, y, np.minimum(np.abs(model.magnification(x, y, parameters)), 40)])


def _point_grid(canvas: Canvas, x: float, y: float, stamp: int, images: Array) -> Array:
    """Draw point images on the fine grid of stamps of side ``stamp``, each spread over its four nearest cells."""
    side = (stamp // 2 - HALF_PSF) * 2 + 1
    grid = np.zeros((side * FINE, side * FINE))
    for dx, dy, magnification in images:
        column = ((x + dx / canvas.pixel_scale - round(x)) + side / 2) * FINE - 0.5
        row = ((y + dy / canvas.pixel_scale - round(y)) + side / 2) * FINE - 0.5
        i, j = int(np.floor(row)), int(np.floor(column))
        if 0 <= i < len(grid) - 1 and 0 <= j < len(grid) - 1:
            a, b = row - i, column - j
            grid[i : i + 2, j : j + 2] += magnification * np.outer([1 - a, a], [1 - b, b])
    return grid


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


def _variance(canvas: Canvas, over: Array) -> Array:
    """Compute the noise that counts, squared, [B, N, N]: that of the background, and a fifth of the light ``over`` of
    the lens galaxy."""
    return np.asarray(np.array([one.rms for one in canvas.conditions])[:, None, None] ** 2 + (0.2 * over) ** 2)


def _white_snr(canvas: Canvas, stamps: Array, over: Array) -> Array:
    """Compute the signal to noise of the lensed light by a matched filter, [B], each pixel with its own noise."""
    return np.asarray(np.sqrt((stamps**2 / _variance(canvas, over)).sum(axis=(1, 2))))


def _noise_ratio(canvas: Canvas, stamps: Array, over: Array) -> Array:
    """Compute what correlated noise leaves of the white signal to noise, [B]: by the same filter, stamp over variance.

    The filter's own noise is w C w: with C = V for independent pixels, where w V w is the square of the white signal to
    noise, and more by the covariance of the background of neighbours.
    """
    filters = stamps / _variance(canvas, over)
    ratio = np.ones(len(stamps))
    for band, conditions in enumerate(canvas.conditions):
        white = (filters[band] * stamps[band]).sum()
        if conditions.correlation is not None and white > 0:
            excess = conditions.rms**2 * conditions.correlation.excess(filters[band])
            ratio[band] = np.sqrt(white / (white + excess))
    return ratio


def _best(canvas: Canvas, snr: Array) -> float:
    """Take the signal to noise [B] in the better of g and r, else of all bands."""
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
        # Both are those by which every scene was selected; the truth has the others.
        if best is None or light.white_snr > best[0]:
            best = (light.white_snr, deflector, source, light)
        if light.white_snr > settings.least_snr and light.main_magnification > 2.5:
            break
    assert best is not None
    _, deflector, source, light = best
    canvas.galaxy(x, y, fluxes(deflector.mag), deflector.size, 4.0, deflector.q, deflector.angle)
    canvas.add(x, y, light.stamps)
    return deflector, source, light

"""Population of galaxies and stars, as fitted: magnitudes in u g r i z, sizes, shapes and redshifts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BRIGHTEST, COMPLETE = 16.0, 23.25
"""Brightest i of the counts, and the i where the table ends; beyond it counts continue with ``FAINT_SLOPE``."""
FAINT_SLOPE = 0.28
TYPES = 31  # steps from E through Sbc and Scd to Im
AT_ONCE = 500  # galaxies matched to the templates at a time, to bound memory
COLOUR_SCATTER = 0.08  # mag, of u - g and i - z about the template

# Stellar locus in AB magnitudes, after Covey et al. 2007 (AJ 134, 2398): g - r, u - g, r - i, i - z.
LOCUS = np.array(
    [
        (0.20, 0.95, 0.06, 0.01),
        (0.35, 1.08, 0.12, 0.04),
        (0.50, 1.35, 0.18, 0.08),
        (0.65, 1.70, 0.25, 0.12),
        (0.80, 1.98, 0.31, 0.17),
        (1.00, 2.28, 0.40, 0.22),
        (1.20, 2.48, 0.49, 0.27),
        (1.32, 2.55, 0.65, 0.34),
        (1.38, 2.58, 0.85, 0.45),
        (1.41, 2.60, 1.15, 0.62),
        (1.44, 2.62, 1.50, 0.82),
        (1.50, 2.66, 1.85, 1.00),
    ]
)


@dataclass(frozen=True)
class Galaxies:
    """N galaxies: ``mag`` [N, 5] AB in u g r i z, ``size`` half-light radius on the major axis in arcsec, ``n`` Sersic
    index, ``q`` axis ratio, ``angle`` radians from +x, ``z`` redshift, ``late`` 0 (E) to 1 (Im)."""

    mag: Array
    size: Array
    n: Array
    q: Array
    angle: Array
    z: Array
    late: Array

    def __len__(self) -> int:
        return len(self.size)


@cache
def fitted() -> dict[str, Any]:
    """Read the fit of ``population.json``, as arrays."""
    read = json.loads(resources.files(__package__).joinpath("population.json").read_text("utf-8"))
    for part in ("mixture", "templates"):
        read[part] = {key: np.array(value) for key, value in read[part].items()}
    return read


def density(mag: Array) -> Array:
    """Compute galaxies per magnitude and square degree at i (F814W): the fitted parabola, then a straight line."""
    counts = fitted()["counts"]
    x = np.minimum(mag, COMPLETE) - counts["pivot"]
    return np.asarray(10 ** (np.polyval(counts["log_density"][::-1], x) + FAINT_SLOPE * np.maximum(mag - COMPLETE, 0)))


def expected(area: float, brightest: float, faintest: float) -> float:
    """Compute the mean number of galaxies in ``area`` (square degrees) between two i magnitudes."""
    mag = np.linspace(brightest, faintest, 400)
    return float(np.trapezoid(density(mag), mag) * area)


def magnitudes(rng: np.random.Generator, number: int, faintest: float) -> Array:
    """Draw i magnitudes [N] from the counts."""
    grid = np.linspace(BRIGHTEST, faintest, 600)
    cumulative = np.concatenate([[0.0], np.cumsum((density(grid)[1:] + density(grid)[:-1]) / 2)])
    return np.interp(rng.random(number), cumulative / cumulative[-1], grid)


def galaxies(rng: np.random.Generator, i_mag: Array) -> Galaxies:
    """Draw galaxies of given i magnitudes [N]; all other properties come from the mixture at that magnitude.

    Beyond the faint end of the table its last mixture is used, and sizes shrink further by 0.07 dex per magnitude.
    """
    anchored = np.clip(i_mag, 19.5, 23.0)
    log_size, log_n, shape, g_r, r_i = _conditional(rng, anchored).T
    log_size += -0.07 * np.maximum(i_mag - 23.0, 0) - 0.2 * np.minimum(i_mag - 19.5, 0)
    colours, z, late = _complete_colours(rng, i_mag, g_r, r_i)
    return Galaxies(
        mag=i_mag[:, None] + colours,
        size=10 ** np.clip(log_size, -1.3, 1.3),
        n=np.clip(10**log_n, 0.5, 5.5),
        q=np.clip(1 / (1 + np.exp(-shape)), 0.12, 0.99),
        angle=rng.uniform(0, np.pi, len(i_mag)),
        z=z,
        late=late,
    )


def _conditional(rng: np.random.Generator, mag: Array) -> Array:
    """Draw the other columns [N, 5] of the mixture given its first, magnitude."""
    mix = fitted()["mixture"]
    mean, cov = mix["means"], mix["covariances"]
    variance = cov[:, 0, 0]
    # Component of each galaxy, by its probability at this magnitude; then a normal conditioned on the magnitude.
    log = np.log(mix["weights"]) - 0.5 * (np.log(variance) + (mag[:, None] - mean[:, 0]) ** 2 / variance)
    share = np.exp(log - log.max(axis=1, keepdims=True))
    cumulative = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    k = np.minimum((rng.random(len(mag))[:, None] > cumulative).sum(axis=1), len(variance) - 1)
    slope = cov[:, 1:, 0] / variance[:, None]
    rest = cov[:, 1:, 1:] - slope[:, :, None] * cov[:, None, 0, 1:]
    factor = np.linalg.cholesky(rest + 1e-6 * np.eye(5))
    noise = np.einsum("nij,nj->ni", factor[k], np.clip(rng.standard_normal((len(mag), 5)), -2.5, 2.5))
    return np.asarray(mean[k, 1:] + slope[k] * (mag - mean[k, 0])[:, None] + noise)


@cache
def _grid() -> tuple[Array, Array, Array]:
    """Interpolate template colours [TYPES, Z, 5] (u g r i z less r) in type; returns redshifts and types 0 to 1 too."""
    templates = fitted()["templates"]
    late = np.linspace(0, 1, TYPES)
    at = late * (len(templates["colours"]) - 1)
    low = np.minimum(at.astype(int), len(templates["colours"]) - 2)
    part = (at - low)[:, None, None]
    flux = 10 ** (-0.4 * templates["colours"])
    return -2.5 * np.log10((1 - part) * flux[low] + part * flux[low + 1]), templates["redshifts"], late


def _complete_colours(rng: np.random.Generator, i_mag: Array, g_r: Array, r_i: Array) -> tuple[Array, Array, Array]:
    """Draw u g r i z less i [N, 5], redshift and type, from templates that are likely for g - r and r - i.

    Source: the prior of redshifts z^2 exp(-z / z0), z0 = 0.0417 i - 0.744, of the LSST Science Book, arXiv:0912.0201,
    section 3.7.
    """
    parts = [slice(k, k + AT_ONCE) for k in range(0, max(len(i_mag), 1), AT_ONCE)]
    like, z, late = (
        np.concatenate(part)
        for part in zip(*(_likely_templates(rng, i_mag[p], g_r[p], r_i[p]) for p in parts), strict=True)
    )
    u_g = like[:, 0] - like[:, 1] + rng.normal(0, COLOUR_SCATTER, len(i_mag))
    i_z = like[:, 3] - like[:, 4] + rng.normal(0, COLOUR_SCATTER, len(i_mag))
    colours = np.stack([u_g + g_r + r_i, g_r + r_i, r_i, np.zeros_like(r_i), -i_z], axis=1)
    return colours, z + rng.uniform(-0.02, 0.02, len(i_mag)), late


def _likely_templates(rng: np.random.Generator, i_mag: Array, g_r: Array, r_i: Array) -> tuple[Array, Array, Array]:
    """Draw template colours [N, 5], redshifts and types from their posterior given two colours and the prior."""
    grid, redshifts, late = _grid()
    prior_z = np.maximum(0.0417 * i_mag - 0.744, 0.04)
    prior = 2 * np.log(redshifts) - redshifts / prior_z[:, None]
    miss = (g_r[:, None, None] - (grid[..., 1] - grid[..., 2])) ** 2
    miss += (r_i[:, None, None] - (grid[..., 2] - grid[..., 3])) ** 2
    log = (prior[:, None, :] - miss / (2 * 0.1**2)).reshape(len(i_mag), grid.shape[0] * grid.shape[1])
    cell = np.argmax(log + rng.gumbel(size=log.shape), axis=1)  # a draw from exp(log): the Gumbel-max trick
    kind, step = np.unravel_index(cell, grid.shape[:2])
    return grid[kind, step], redshifts[step], late[kind]


def template(late: float, z: float) -> Array:
    """Interpolate u g r i z less r [5] of type ``late`` (0 = E, 1 = Im) at redshift ``z``."""
    grid, redshifts, types = _grid()
    kind = round(late * (len(types) - 1))
    return np.array([np.interp(z, redshifts, grid[kind, :, band]) for band in range(5)])


def k_correction(z: float) -> float:
    """Interpolate K in r of the early-type template."""
    templates = fitted()["templates"]
    return float(np.interp(z, templates["redshifts"], templates["k_correction"][0]))


def stars(rng: np.random.Generator, number: int, brightest: float, faintest: float) -> Array:
    """Draw AB magnitudes [N, 5] of stars on the locus; counts in r rise by 0.13 dex a magnitude (high latitude)."""
    slope = 0.13 * np.log(10)
    low, high = np.exp(slope * brightest), np.exp(slope * faintest)
    r = np.log(low + rng.random(number) * (high - low)) / slope
    red = rng.random(number) < 0.35 + 0.05 * (r - 18)  # M dwarfs take over towards the faint end
    turn_off = np.clip(rng.normal(0.52, 0.16, number), 0.2, 1.2)
    g_r = np.where(red, np.clip(rng.normal(1.39, 0.05, number), 1.2, 1.5), turn_off)
    u_g, r_i, i_z = (np.interp(g_r, LOCUS[:, 0], LOCUS[:, column]) for column in (1, 2, 3))
    zero = np.zeros(number)
    mag = r[:, None] + np.stack([u_g + g_r, g_r, zero, -r_i, -r_i - i_z], axis=1)
    return np.asarray(mag + rng.normal(0, 0.03, mag.shape))

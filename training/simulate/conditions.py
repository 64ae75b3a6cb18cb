"""Settings of a scene, and the conditions of each band in one tile: seeing, depth and geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.bands import BANDS
from scanner.survey.survey import AB_NANOJANSKY
from training.simulate.correlation import Correlation

DEPTH = {"u": 23.7, "g": 24.5, "r": 24.2, "i": 23.8, "z": 23.3}
"""10 sigma in a 2 arcsec aperture, AB (Gwyn et al. 2025, arXiv:2503.13783)."""
SEEING = {"u": (0.90, 0.10), "g": (0.80, 0.09), "r": (0.70, 0.08), "i": (0.78, 0.10), "z": (0.72, 0.09)}
"""Median FWHM in arcsec and its scatter from tile to tile."""
BETAS = (2.5, 3.0, 3.0, 3.5)
"""Moffat exponents: half integers, whose transform GalSim has in closed form."""
GAIN = {"u": 1.2, "g": 4.0, "r": 5.0, "i": 4.0, "z": 3.0}
"""Detected electrons per nJy in the stack: the photon noise of the objects themselves."""
SATURATION = {"u": 4e5, "g": 1.5e5, "r": 1.5e5, "i": 2.5e5, "z": 2.5e5}
"""Flux in nJy at which a pixel saturates: stars of about magnitude 17."""
OFFSET = {"u": 0.0, "g": 0.0, "r": 0.0, "i": 0.672, "z": 0.0}
"""Offset in pixels along x of the grid of a band from that of r."""
NEIGHBOUR = 0.10
"""Weight of the neighbours in the noise kernel of resampled images: a correlation of 0.2 at one pixel."""
WIDEST = 3.2
"""Largest Einstein radius in arcsec, of a galaxy of 370 km/s."""


@dataclass(frozen=True)
class Settings:
    """Contents of a tile. Fractions of lenses and look-alikes refer to the galaxies brighter than i = 23.5."""

    size: int = 1024  # px
    lens_fraction: float = 0.05
    lookalike_fraction: float = 0.05
    quasar_fraction: float = 0.15  # of the lenses
    theta_e: tuple[float, float] = (0.5, 3.0)  # arcsec
    source_mag: tuple[float, float] = (21.5, 24.6)  # r before magnification
    least_snr: float = 25.0  # white_snr of the lensed light in g or r, against sky and lens galaxy
    faintest: float = 26.0  # i of the galaxies drawn
    density: float = 1.3  # times the counts of the COSMOS table, which misses about a quarter of the galaxies
    star_density: float = 3.0  # per square arcmin with 14 < r < 25
    missing_band: float = 0.06  # chance of each band; one band always stays
    gaps: float = 0.3  # chance of each band
    trails: float = 0.03  # chance of each band
    cosmic_rays: float = 0.02  # per square arcmin and band, after rejection
    depth_scatter: float = 0.12  # mag

    def __post_init__(self) -> None:
        low, high = self.theta_e
        if not 0.3 <= low < high <= WIDEST:
            raise _bad(f"theta_e {low} to {high} must rise and lie between 0.3 and {WIDEST} arcsec")
        if self.size < 32:
            raise _bad(f"a tile of {self.size} px is smaller than 32")
        if min(self.lens_fraction, self.lookalike_fraction, self.density, self.star_density) < 0:
            raise _bad("fractions and densities cannot be negative")


@dataclass(frozen=True)
class BandConditions:
    """One band in one tile: Moffat PSF (FWHM in arcsec), noise per pixel (nJy), gain (e-/nJy), offset (px along x).

    ``correlation`` is that of the noise of neighbouring pixels; None for independent ones.
    """

    band: str
    fwhm: float
    beta: float
    g1: float
    g2: float
    rms: float
    gain: float
    saturation: float
    offset: float
    present: bool
    correlation: Correlation | None = None


def _bad(why: str) -> ScannerError:
    return ScannerError(ErrorCode.CONFIG_BAD, f"Bad settings of a simulated scene: {why}.", "Start from the defaults.")


def pixel_rms(band: str, deeper: float = 0.0) -> float:
    """Compute the noise of one pixel in nJy that gives the depth of the survey in a 2 arcsec aperture.

    Correlated noise adds up faster than white noise, by the sum of the kernel, squared, over the sum of its squares.
    """
    aperture = 10 ** (-0.4 * (DEPTH[band] + deeper - AB_NANOJANSKY)) / 10
    area = np.pi / PIXEL_SCALE**2
    inflation = (1 + 2 * NEIGHBOUR) ** 2 / (1 + 2 * NEIGHBOUR**2)
    return float(aperture / np.sqrt(area) / inflation)


def draw_conditions(rng: np.random.Generator, settings: Settings) -> tuple[BandConditions, ...]:
    """Draw seeing, depth and presence of each band of one tile."""
    present = rng.random(len(BANDS)) >= settings.missing_band
    present[rng.integers(len(BANDS))] = True
    conditions = []
    for band, there in zip(BANDS, present, strict=True):
        median, scatter = SEEING[band]
        conditions.append(
            BandConditions(
                band=band,
                fwhm=float(np.clip(rng.normal(median, scatter), 0.5, 1.3)),
                beta=float(rng.choice(BETAS)),
                g1=float(rng.normal(0, 0.012)),
                g2=float(rng.normal(0, 0.012)),
                rms=pixel_rms(band, float(rng.normal(0, settings.depth_scatter))),
                gain=GAIN[band],
                saturation=SATURATION[band],
                offset=OFFSET[band],
                present=bool(there),
            )
        )
    return tuple(conditions)

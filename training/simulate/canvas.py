"""Canvas: the five images of a tile, on which objects are drawn as GalSim profiles or as fine grids of brightness."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.survey import AB_NANOJANSKY
from training.simulate.conditions import BandConditions

Array = NDArray[np.float64]

FINE = 4
"""Cells of a fine grid along one pixel."""
INDICES = np.array([0.5, 0.7, 1.0, 1.3, 1.7, 2.2, 2.8, 3.5, 4.0, 4.7, 5.5])
"""Sersic indices that are drawn; GalSim tabulates each index once, which takes longer than to draw many galaxies."""
FAINT = 0.05
"""Surface brightness at which a stamp ends, in units of the noise of a pixel."""
PARAMETERS = galsim.GSParams(folding_threshold=1e-2, maxk_threshold=3e-3, kvalue_accuracy=1e-4, maximum_fft_size=8192)
SIDES = (24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640)
"""Sides in pixels of the stamps that profiles are drawn on."""
HALF_PSF = 24  # px, half the stamp of a PSF that fine grids are convolved with


@cache
def sersic(index: float) -> galsim.Sersic:
    """Make a Sersic profile of half-light radius 1 arcsec and the nearest tabulated index."""
    nearest = float(INDICES[np.argmin(np.abs(INDICES - index))])
    return galsim.Sersic(nearest, half_light_radius=1.0, gsparams=PARAMETERS)


def fluxes(mag: Array) -> Array:
    """Convert AB magnitudes to nJy."""
    return np.asarray(10 ** (-0.4 * (np.asarray(mag) - AB_NANOJANSKY)))


class Canvas:
    """``flux`` float32 [B, H, W] in nJy; positions are 0-based pixels of the r band, fluxes [B] in nJy.

    ``pixel_scale`` is in arcsec.
    """

    def __init__(self, size: int, conditions: Sequence[BandConditions], pixel_scale: float = PIXEL_SCALE) -> None:
        self.flux = np.zeros((len(conditions), size, size), np.float32)
        self.conditions, self.pixel_scale = tuple(conditions), pixel_scale
        self.psf = tuple(
            galsim.Moffat(beta=s.beta, fwhm=s.fwhm, gsparams=PARAMETERS).shear(g1=s.g1, g2=s.g2) for s in conditions
        )
        self._fine_psf = [self._fine(psf, s.offset) for psf, s in zip(self.psf, conditions, strict=True)]
        self._transforms: dict[int, list[Array]] = {}
        self._spectra: dict[int, list[Array]] = {}

    def galaxy(self, x: float, y: float, flux: Array, size: float, n: float, q: float, angle: float) -> None:
        """Add an elliptical Sersic galaxy; ``size`` is the half-light radius on the major axis in arcsec."""
        shear = galsim.Shear(q=q, beta=angle * galsim.radians)
        profile = sersic(n).dilate(size * np.sqrt(q)).shear(shear)
        reach = _sersic_reach(flux / [s.rms for s in self.conditions], size, n, self.pixel_scale)
        self.profile(x, y, flux, profile, reach)

    def profile(self, x: float, y: float, flux: Array, profile: galsim.GSObject, reach: float) -> None:
        """Add any GalSim profile of unit flux out to ``reach`` arcsec.

        Its transform is computed once and multiplied by the PSF and pixel of each band. That is much faster than
        ``drawImage`` for each band, and equal to it but for aliasing, which a test bounds.
        """
        side = next((s for s in SIDES if s >= 2 * reach / self.pixel_scale), SIDES[-1])
        column, row = round(x), round(y)
        # The part of a pixel goes into the transform, whole pixels into the place of the stamp.
        placed = profile.shift((x - column) * self.pixel_scale, (y - row) * self.pixel_scale)
        spectrum = _spectrum(placed, side, self.pixel_scale)
        for band, kernel in enumerate(self._pixel_kernels(side)):
            if self.conditions[band].present and flux[band] > 0:
                stamp = fft.fftshift(fft.irfft2(spectrum * kernel, (side, side)))
                self._add(band, stamp * flux[band], column - side // 2, row - side // 2)

    def star(self, x: float, y: float, flux: Array) -> None:
        """Add a point source."""
        reach = max(_moffat_reach(f / s.rms, s, self.pixel_scale) for f, s in zip(flux, self.conditions, strict=True))
        self.profile(x, y, flux, galsim.DeltaFunction(gsparams=PARAMETERS), reach)

    def _pixel_kernels(self, side: int) -> list[Array]:
        """Compute the transform of each band's PSF, pixel and offset on stamps of ``side``."""
        if side not in self._spectra:
            pixel = galsim.Pixel(self.pixel_scale, gsparams=PARAMETERS)
            pairs = zip(self.psf, self.conditions, strict=True)
            self._spectra[side] = [
                _spectrum(galsim.Convolve([psf.shift(s.offset * self.pixel_scale, 0), pixel]), side, self.pixel_scale)
                for psf, s in pairs
            ]
        return self._spectra[side]

    def _add(self, band: int, stamp: Array, left: int, bottom: int) -> None:
        height, width = self.flux.shape[1:]
        x0, x1 = max(left, 0), min(left + stamp.shape[1], width)
        y0, y1 = max(bottom, 0), min(bottom + stamp.shape[0], height)
        if x0 < x1 and y0 < y1:
            self.flux[band, y0:y1, x0:x1] += stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left]

    def fine_grid(self, x: float, y: float, reach: float) -> tuple[Array, Array]:
        """Compute offsets in arcsec from (x, y), each [S, S], of the cells of a fine grid out to ``reach`` arcsec."""
        half = ceil(reach / self.pixel_scale) + 1
        cells = (np.arange((2 * half + 1) * FINE) + 0.5) / FINE - 0.5 - half
        dx, dy = np.meshgrid((cells + round(x) - x) * self.pixel_scale, (cells + round(y) - y) * self.pixel_scale)
        return dx, dy

    def convolve(self, parts: Sequence[Array], weights: Array) -> Array:
        """Convolve fine brightnesses, [S, S] each, with PSF and pixels to stamps float64 [B, N, N] in nJy.

        A cell of unit weight holds 1 nJy; ``weights`` [parts, B] are the fluxes of the parts. A stamp is wider than the
        grid by the PSF.
        """
        # Convolution by transforms of the same size, padded so that it does not wrap around.
        side = parts[0].shape[0]
        padded = fft.next_fast_len(side + 2 * HALF_PSF * FINE, real=True)
        kernels = self._kernels(padded)
        spectra = np.stack([fft.rfft2(part, (padded, padded)) for part in parts])
        full = side + 2 * HALF_PSF * FINE
        stamps = np.zeros((len(self.conditions), full // FINE, full // FINE))
        for band, conditions in enumerate(self.conditions):
            if conditions.present:
                blurred = fft.irfft2(np.tensordot(weights[:, band], spectra, 1) * kernels[band], (padded, padded))
                stamps[band] = _bin(blurred[:full, :full])
        return stamps

    def add(self, x: float, y: float, stamps: Array) -> None:
        """Add stamps of ``convolve`` whose fine grid was made for (x, y)."""
        half = stamps.shape[-1] // 2
        for band, stamp in enumerate(stamps):
            self._add(band, stamp, round(x) - half, round(y) - half)

    def add_one(self, band: int, x: float, y: float, stamp: Array) -> None:
        """Add a stamp of odd side to one band, its middle on the pixel of (x, y)."""
        half = stamp.shape[-1] // 2
        self._add(band, stamp, round(x) - half, round(y) - half)

    def _kernels(self, padded: int) -> list[Array]:
        if padded not in self._transforms:
            self._transforms[padded] = [fft.rfft2(psf, (padded, padded)) for psf in self._fine_psf]
        return self._transforms[padded]

    def _fine(self, psf: galsim.GSObject, offset: float) -> Array:
        side = 2 * HALF_PSF * FINE + 1
        image = psf.drawImage(
            nx=side, ny=side, scale=self.pixel_scale / FINE, offset=(offset * FINE, 0), method="no_pixel", dtype=float
        )
        return np.asarray(image.array / image.array.sum())


def _spectrum(profile: galsim.GSObject, side: int, pixel_scale: float) -> Array:
    """Compute the transform of a profile on the half plane of ``irfft2``, [side, side / 2 + 1]."""
    step = 2 * np.pi / (side * pixel_scale)
    image = profile.drawKImage(nx=side, ny=side, scale=step).array
    return np.asarray(fft.ifftshift(image)[:, : side // 2 + 1])


def _bin(fine: Array) -> Array:
    side = fine.shape[0] // FINE
    # [N FINE, N FINE] to [N, N]: flux adds up over the cells of a pixel.
    return np.asarray(fine[: side * FINE, : side * FINE].reshape(side, FINE, side, FINE).sum(axis=(1, 3)))


def _sersic_reach(signal: Array, size: float, n: float, pixel_scale: float) -> float:
    """Compute the radius in arcsec where a galaxy of flux ``signal``, in units of a pixel's noise, ends (``FAINT``).

    Half of the mean brightness inside the half-light radius stands for the brightness at it.

    Source: b = 2n - 1/3 of Ciotti & Bertin 1999, A&A 352, 447.
    """
    b = 2 * n - 1 / 3
    at_half = np.max(signal) / 2 / (np.pi * size**2 / pixel_scale**2) / 2
    depth = np.log(max(at_half / FAINT, 1e-9))
    reach = size * max(1 + depth / b, 0.0) ** n
    return float(np.clip(reach + 1.0, 1.8, 40.0))


def _moffat_reach(signal: float, conditions: BandConditions, pixel_scale: float) -> float:
    """Compute the radius in arcsec where a star of flux ``signal``, in units of a pixel's noise, ends (``FAINT``)."""
    scale = conditions.fwhm / (2 * np.sqrt(2 ** (1 / conditions.beta) - 1))
    peak = signal * (conditions.beta - 1) / (np.pi * scale**2) * pixel_scale**2
    return float(np.clip(scale * np.sqrt(max((peak / FAINT) ** (1 / conditions.beta) - 1, 0.0)), 1.8, 60.0))

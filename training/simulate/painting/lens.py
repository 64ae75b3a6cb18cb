"""A lens painted on a real galaxy: the light of its images alone, in the PSF and with the photon noise of the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.simulate.canvas import Canvas
from training.simulate.conditions import Settings
from training.simulate.lens_images import LensedLight, lensed_light
from training.simulate.lens_population import Deflector, Source, draw_source
from training.simulate.source_images import SourceImage

Array = NDArray[np.float64]

TRIES = 8
BRIGHTER = 3.0
"""The flux of a source may be raised by up to this factor for its images to be seen."""
MAGNIFICATION = 2.5
RESOLVED = 1.0
"""theta_E in FWHM of the seeing above which images are apart from their host."""
SETTINGS = Settings(source_mag=(22.3, 25.3), least_snr=15.0, quasar_fraction=0.08)
REAL_SOURCES = 0.4
"""Share of the sources with the shape of a real galaxy, where some are given."""


@dataclass(frozen=True)
class PaintedLens:
    """``light`` float64 [B, N, N] in nJy, whose middle pixel is the nearest to the host, and its lens and source.

    ``snr``, ``white_snr`` and ``magnification`` are those of ``LensedLight``.
    """

    light: Array
    deflector: Deflector
    source: Source
    snr: float
    white_snr: float
    magnification: float


def paint_lens(
    rng: np.random.Generator,
    canvas: Canvas,
    x: float,
    y: float,
    draw: Callable[[], tuple[Deflector, float]],
    sources: tuple[SourceImage, ...] = (),
    settings: Settings = SETTINGS,
    is_white: bool = True,
) -> PaintedLens | None:
    """Paint a lens at pixel (x, y) of the canvas, whose deflector and source redshift ``draw`` gives anew at each try.

    The canvas gives PSF and noise, and is not drawn on. Returns None where no images that can be seen came of
    ``TRIES``: they need a signal to noise of ``settings.least_snr``, a ring wider than the seeing, and a magnification
    of the source's body, or of its quasar, above 2.5. The signal to noise is the ``white_snr`` of ``LensedLight``,
    which the cutouts of the shipped model were selected by, or with ``is_white=False`` the true one.
    """
    seeing = min(one.fwhm for one in canvas.conditions if one.present)
    quasar = bool(rng.random() < settings.quasar_fraction)
    for _ in range(TRIES):
        deflector, z_source = draw()
        source = draw_source(rng, settings, deflector.theta_e, z_source, quasar)
        if sources and not quasar and rng.random() < REAL_SOURCES:
            source = replace(source, image=sources[int(rng.integers(len(sources)))], clumps=source.clumps[:0])
        if deflector.theta_e**2 < (RESOLVED * seeing) ** 2 + source.size**2:
            continue
        light = lensed_light(canvas, x, y, deflector, source)
        snr = light.white_snr if is_white else light.snr
        brighter = settings.least_snr * rng.uniform(1.0, 2.0) / max(snr, 1e-9)
        if light.main_magnification < MAGNIFICATION or brighter > BRIGHTER:
            continue
        return _brighten(rng, canvas, deflector, source, light, max(brighter, 1.0))
    return None


def _brighten(
    rng: np.random.Generator, canvas: Canvas, deflector: Deflector, source: Source, light: LensedLight, factor: float
) -> PaintedLens:
    """Raise the flux of a source by ``factor``, and draw the photon noise of its images."""
    change = -2.5 * np.log10(factor)
    quasar = None if source.quasar is None else source.quasar + change
    source = replace(source, mag=source.mag + change, quasar=quasar)
    stamps = np.maximum(light.stamps * factor, 0)
    noisy, snr, white_snr = with_photon_noise(rng, stamps, canvas), light.snr * factor, light.white_snr * factor
    return PaintedLens(noisy, deflector, source, snr, white_snr, light.magnification)


def with_photon_noise(rng: np.random.Generator, light: Array, canvas: Canvas) -> Array:
    """Add the photon noise of ``light`` [B, N, N] in nJy; the noise of the background is in the image already."""
    gain = np.array([one.gain for one in canvas.conditions])[:, None, None]
    return np.asarray(light + np.sqrt(np.maximum(light, 0) / gain) * rng.standard_normal(light.shape))

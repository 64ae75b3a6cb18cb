"""What is known of lensed light is true of its pixels: its flux, and its signal to noise in noise of any kind."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import galsim
import numpy as np
import pytest

from scanner.survey.bands import BANDS
from scanner.survey.survey import ab_magnitude
from training.simulate.canvas import Canvas, fluxes
from training.simulate.conditions import BandConditions, Settings
from training.simulate.correlation import Correlation
from training.simulate.exposure import CORRELATION, correlated_noise
from training.simulate.lens_images import LensedLight, R, lensed_light, source_flux
from training.simulate.lens_population import Deflector, Source, draw_source
from training.simulate.painting.field import measure_correlation
from training.simulate.painting.hosts import draw_deflector_like
from training.simulate.painting.lens import SETTINGS, paint_lens
from training.simulate.source_images import SourceImage

RMS = 3.0
MAG = np.array([22.5, 20.9, 19.5, 18.9, 18.6])


def canvas(correlation: Correlation | None = None, gain: float = 1e15) -> Canvas:
    conditions = tuple(
        BandConditions(band, 0.7, 3.0, 0.01, 0.0, RMS, gain, np.inf, 0.0, True, correlation) for band in BANDS
    )
    return Canvas(80, conditions)


def deflector(mag: float = 40.0) -> Deflector:
    """A lens galaxy that is too faint to be seen, by default."""
    return Deflector(0.4, 250.0, 1.4, 0.8, 0.3, (0.03, 0.0), np.full(5, mag), 1.0)


def source(kind: str) -> Source:
    drawn = replace(draw_source(np.random.default_rng(1), Settings(), 1.4, 2.0, kind == "quasar"), x=0.3, y=0.2)
    clumps = np.array([[0.25, 0.1, 0.04, 0.5], [-0.2, 0.2, 0.05, 0.2], [0.0, -0.3, 0.04, 0.3]])
    drawn = replace(drawn, clumps=clumps if kind == "clumpy" else np.zeros((0, 4)))
    if kind != "real":
        return drawn
    image = galsim.Gaussian(half_light_radius=1).shear(g1=0.2).drawImage(nx=81, ny=81, scale=0.1).array.astype(float)
    return replace(drawn, image=SourceImage(image / image.sum(), 40.0, 40.0, 10.0))


def light_of(kind: str, sky: Canvas) -> tuple[Source, LensedLight]:
    return (one := source(kind)), lensed_light(sky, 40.2, 39.7, deflector(), one)


@pytest.mark.parametrize("kind", ["smooth", "clumpy", "quasar", "real"])
def test_the_painted_flux_is_that_of_the_source_times_the_magnification(kind: str) -> None:
    one, light = light_of(kind, canvas())
    mag = ab_magnitude(source_flux(one)[R])
    assert light.stamps[R].sum() == pytest.approx(fluxes(mag) * light.magnification, rel=1e-9)
    # All light of the source: the clumps are a part of the galaxy in r, the quasar comes on top of its host.
    whole = fluxes(one.mag)[R] + (0 if one.quasar is None else fluxes(one.quasar)[R])
    assert source_flux(one)[R] == pytest.approx(whole, rel=1e-12)
    if kind in ("clumpy", "quasar"):
        assert abs(light.main_magnification / light.magnification - 1) > 0.005
    else:
        assert light.main_magnification == pytest.approx(light.magnification, rel=1e-12)


@pytest.mark.parametrize("quasars", [0.0, 1.0])
def test_it_is_so_after_a_source_was_made_brighter(quasars: float) -> None:
    rng, settings = np.random.default_rng(2), replace(SETTINGS, source_mag=(24.0, 25.5), quasar_fraction=quasars)
    sky, brighter = canvas(), 0
    for _ in range(4):
        painted = paint_lens(rng, sky, 40.2, 39.7, lambda: draw_deflector_like(rng, MAG, 1.1, 0.8, 0.2), (), settings)
        if painted is not None:
            brighter += 1
            flux = source_flux(painted.source)[R] * painted.magnification
            assert painted.light[R].sum() == pytest.approx(flux, rel=1e-4)
    assert brighter


def behind(x: float, y: float) -> Source:
    """A quasar at this place behind the lens."""
    return replace(source("quasar"), x=x, y=y)


def test_a_quasar_behind_a_nearly_round_lens_has_the_magnification_of_the_textbook() -> None:
    # Source: Narayan & Bartelmann 1996, eq. 3.20: images at beta + and - theta_E, of magnification 1 +- theta_E / beta.
    # One beyond theta_E has one image.
    lens = replace(deflector(), q=0.989, shear=(0.0, 0.0))
    for beta, expected in ((0.2, 2 * 1.4 / 0.2), (1.0, 2 * 1.4), (2.0, 1 + 1.4 / 2)):
        light = lensed_light(canvas(), 40.2, 39.7, lens, behind(beta, 0.0))
        assert light.main_magnification == pytest.approx(expected, rel=0.02)
    # The solver finds nothing where the mass is rounder than any that is drawn.
    with pytest.raises(ValueError, match="no image was found"):
        lensed_light(canvas(), 40.2, 39.7, replace(lens, q=1 - 1e-7), behind(2.0, 0.0))


def test_two_images_of_a_quasar_that_are_about_to_merge_are_two() -> None:
    lens = replace(deflector(), theta_e=0.74813, q=0.694515, angle=1.800013, shear=(0.01766, 0.013404))
    light = lensed_light(canvas(), 40.2, 39.7, lens, behind(0.05779, -0.16737))
    # Each counts as 40 at most; the other two have 6.18 and 1.24.
    assert light.main_magnification == pytest.approx(87.4, abs=0.1)


@pytest.mark.parametrize("away", [0.0, 1e-6, 5e-5])
@pytest.mark.parametrize("axis", [0.0, np.pi / 2, np.pi])
@pytest.mark.parametrize("distance", [0.05, 0.5])  # with four and with two images
def test_a_quasar_on_an_axis_of_the_mass_has_all_its_images(away: float, axis: float, distance: float) -> None:
    lens = replace(deflector(), shear=(0.0, 0.0))

    def seen(angle: float) -> float:
        quasar = behind(distance * np.cos(angle), distance * np.sin(angle))
        return lensed_light(canvas(), 40.2, 39.7, lens, quasar).main_magnification

    assert seen(lens.angle + axis + away) == pytest.approx(seen(lens.angle + axis + 0.01), rel=0.02)


def test_the_images_of_a_quasar_depend_on_no_state_of_the_process() -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        lens, quasar = draw_deflector_like(rng, MAG, 1.1, 0.8, 0.2)[0], behind(*rng.normal(0, 0.2, 2))
        one = lensed_light(canvas(), 40.2, 39.7, lens, quasar)
        before = np.random.get_state()
        np.random.seed(5)
        other = lensed_light(canvas(), 40.2, 39.7, lens, quasar)
        np.random.set_state(before)
        assert other.stamps.tobytes() == one.stamps.tobytes()


def scatter(stamp: np.ndarray, noise: np.ndarray) -> float:
    """Standard deviation of a filter over windows of noise."""
    side = len(stamp)
    rows, columns = (n // side for n in noise.shape)
    windows = noise[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return float(np.einsum("aybx,yx->ab", windows, stamp).std())


@pytest.mark.parametrize("kind", ["smooth", "quasar"])
def test_the_signal_to_noise_is_that_in_correlated_noise(kind: str) -> None:
    _, light = light_of(kind, sky := canvas(CORRELATION))
    # The same noise in every band: the better band is the one with more light.
    noise = correlated_noise(np.random.default_rng(3), (3000, 3000), RMS)
    true = max((stamp**2).sum() / scatter(stamp, noise) for stamp in light.stamps[1:3])
    assert light.snr == pytest.approx(true, rel=0.05)
    assert light.white_snr > 1.2 * light.snr
    # A bright lens galaxy is noise of its own, and that of the sky counts less.
    bright = lensed_light(sky, 40.2, 39.7, deflector(18.0), source(kind))
    assert bright.snr < light.snr
    assert bright.white_snr / bright.snr < light.white_snr / light.snr


def test_white_noise_has_the_white_signal_to_noise() -> None:
    _, light = light_of("smooth", canvas())
    assert light.snr == light.white_snr
    delta = np.zeros((17, 17))
    delta[8, 8] = 1
    _, same = light_of("smooth", canvas(Correlation(delta)))
    assert same.snr == pytest.approx(light.white_snr, rel=1e-9)
    # As it is measured in an image of white noise.
    white = np.random.default_rng(4).normal(0, RMS, (900, 900)).astype(np.float32)
    _, measured = light_of("smooth", canvas(measure_correlation(white)))
    assert measured.snr == pytest.approx(light.white_snr, rel=0.03)


def test_the_correlation_is_measured_between_sources_and_beside_haloes() -> None:
    rng, shape = np.random.default_rng(5), (1100, 1000)
    image = correlated_noise(rng, shape, RMS)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for column, row in zip(rng.uniform(0, 1000, 150), rng.uniform(0, 1100, 150), strict=True):
        near = np.s_[max(int(row) - 15, 0) : int(row) + 16, max(int(column) - 15, 0) : int(column) + 16]
        away = np.hypot(y[near] - row, x[near] - column)
        image[near] += np.float32(60 * RMS) * np.exp(-0.5 * (away / 2.5) ** 2).astype(np.float32)
    # The halo of a star that is brighter than all else, and a gap.
    image += (4000 * RMS / (1 + (np.hypot(x - 200, y - 300) / 8) ** 2) ** 1.5).astype(np.float32)
    image[500:540] = np.nan
    measured = measure_correlation(image)
    assert measured is not None
    _, exact = light_of("smooth", canvas(CORRELATION))
    _, light = light_of("smooth", canvas(measured))
    assert light.snr == pytest.approx(exact.snr, rel=0.05)


def test_an_image_without_background_tells_nothing() -> None:
    assert measure_correlation(np.full((200, 200), np.nan, np.float32)) is None


def test_lenses_for_training_are_selected_as_if_noise_were_white() -> None:
    """Cutouts made again have the same pixels; where completeness is measured, the true value is the limit."""

    def paint(sky: Canvas, is_white: bool) -> list[tuple[float, float, np.ndarray]]:
        rng, settings = np.random.default_rng(6), Settings(source_mag=(24.5, 26.0), least_snr=30.0, quasar_fraction=0.0)
        draw = partial(draw_deflector_like, rng, MAG, 1.1, 0.8, 0.2)
        drawn = [paint_lens(rng, sky, 40.2, 39.7, draw, (), settings, is_white) for _ in range(14)]
        return [(one.snr, one.white_snr, one.light) for one in drawn if one is not None]

    plain, correlated = paint(canvas(gain=5.0), True), paint(canvas(CORRELATION, gain=5.0), True)
    assert len(plain) == len(correlated) >= 2
    for (_, white, light), (true, same, pixels) in zip(plain, correlated, strict=True):
        np.testing.assert_array_equal(light, pixels)
        assert same == white >= 30.0
        assert true < 0.95 * white
    assert min(true for true, _, _ in correlated) < 30.0
    assert min(true for true, _, _ in paint(canvas(CORRELATION, gain=5.0), False)) >= 30.0

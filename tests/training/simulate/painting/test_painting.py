"""Painted light is that of the field: its PSF, its noise, on hosts that could bend light, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np
import pytest

from scanner.images.sky.wcs import flat_wcs
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources, detect
from scanner.survey.bands import BANDS
from scanner.windows.stars import FEWEST, find_stars
from training.cutouts.simulated import plate
from training.simulate.canvas import Canvas
from training.simulate.conditions import BandConditions, Settings, pixel_rms
from training.simulate.lens_images import lensed_light
from training.simulate.lens_population import draw_source
from training.simulate.painting import lookalike
from training.simulate.painting.field import measure_conditions
from training.simulate.painting.hosts import draw_deflector_like, draw_host, find_hosts
from training.simulate.painting.lens import SETTINGS, paint_lens
from training.simulate.scene import Scene, simulate_tile
from training.simulate.source_images import SourceImage

SEEING = {"u": 0.95, "g": 0.85, "r": 0.65, "i": 0.75, "z": 0.8}


def conditions(**changes: object) -> tuple[BandConditions, ...]:
    made = [
        BandConditions(band, SEEING[band], 3.0, 0.0, 0.0, pixel_rms(band), 4.0, np.inf, 0.0, True) for band in BANDS
    ]
    return tuple(replace(one, **changes) for one in made)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene() -> Scene:
    settings = Settings(size=700, gaps=0, trails=0, cosmic_rays=0, star_density=12.0, lens_fraction=0.0)
    return simulate_tile("217.292", 3, settings, conditions())


@pytest.fixture(scope="module")
def field(scene: Scene) -> tuple[TileImages, Sources]:
    images = plate(scene).images
    return images, detect(images, min_snr=10.0)


def test_the_psf_is_that_of_the_stars(field: tuple[TileImages, Sources]) -> None:
    """Every band has its own width; the noise is that of the background, not of its objects."""
    measured = measure_conditions(*field, seeing=0.7)
    for one in measured:
        assert one.fwhm == pytest.approx(SEEING[one.band], rel=0.08)
        assert one.rms == pytest.approx(pixel_rms(one.band), rel=0.1)


def test_without_stars_the_psf_is_that_of_the_seeing(field: tuple[TileImages, Sources]) -> None:
    images, sources = field
    stars = find_stars(sources, 0.7)
    assert len(stars) >= FEWEST
    galaxies = sources.take(np.setdiff1d(np.arange(len(sources)), stars))
    few = galaxies.take(galaxies.columns["flux_radius"] > 0.6)
    assert {round(one.fwhm, 2) for one in measure_conditions(images, few, seeing=0.9)} == {0.89}


def test_hosts_are_galaxies_that_deflectors_look_like(scene: Scene) -> None:
    """Deflectors without a source, drawn into a field, are its most plausible hosts; its stars are none."""
    rng, canvas = np.random.default_rng(3), Canvas(700, conditions())
    places = [(150.0 + 200 * column, 150.0 + 200 * row) for row in range(3) for column in range(3)]
    for place in places:
        draw_host(rng, canvas, *place)
    images = TileImages.of("made", BANDS, scene.flux + canvas.flux, scene.wcs, 0.18577, detection_band="r")
    sources = detect(images, min_snr=10.0)
    hosts = find_hosts(images, sources, 0.7)
    x, y = sources.x[hosts.rows], sources.y[hosts.rows]
    apart = np.array([np.hypot(x - a, y - b).min() for a, b in places])
    assert (apart < 3).sum() >= 6, "most of them are found as galaxies"
    # Between them lie members of their groups, which may be hosts as well.
    away = np.array([min(np.hypot(a - p, b - q) for p, q in places) for a, b in zip(x, y, strict=True)])
    assert np.median(hosts.weight[away < 3]) >= 0.4
    assert np.median(hosts.weight[away > 60]) <= 0.1
    truth = scene.truth[scene.truth["mag_r"] < 22]
    nearest = [int(np.argmin((truth["x"] - a) ** 2 + (truth["y"] - b) ** 2)) for a, b in zip(x, y, strict=True)]
    near = [np.hypot(truth["x"][k] - a, truth["y"][k] - b) < 2 for k, a, b in zip(nearest, x, y, strict=True)]
    near &= hosts.weight >= 0.4
    assert "star" not in set(truth["label"][np.array(nearest)[near]])


def test_a_saturated_star_is_no_host() -> None:
    """Its middle is flat, though its colours may be those of a red galaxy."""
    size, rng = 160, np.random.default_rng(0)
    canvas = Canvas(size, conditions())
    canvas.galaxy(50.0, 50.0, np.array([300.0, 3000, 12000, 20000, 26000]), 1.0, 4.0, 0.8, 0.3)
    canvas.galaxy(110.0, 110.0, np.array([300.0, 3000, 12000, 20000, 26000]) * 4, 1.2, 4.0, 0.9, 0.3)
    flux = canvas.flux + rng.normal(0, 3, canvas.flux.shape).astype(np.float32)
    near = np.s_[:, 100:121, 100:121]
    flux[near] = np.minimum(flux[near], flux[:, 110:111, 115:116])
    images = TileImages.of("made", BANDS, flux, [flat_wcs((size, size), 0.18577)] * 5, 0.18577, detection_band="r")
    sources = detect(images, min_snr=10.0)
    hosts = find_hosts(images, sources, 0.7)
    assert [round(float(x)) for x in sources.x[hosts.rows]] == [50]


def test_a_deflector_has_the_look_of_its_host() -> None:
    rng, mag = np.random.default_rng(1), np.array([np.nan, 21.4, 20.0, 19.4, np.nan])
    drawn = [draw_deflector_like(rng, mag, 1.0, 0.7, 0.5)[0] for _ in range(60)]
    assert all(one.size == 1.0 and np.isfinite(one.mag).all() and one.mag[2] == 20.0 for one in drawn)
    assert np.median([one.q for one in drawn]) == pytest.approx(0.7, abs=0.06)
    faint = [draw_deflector_like(rng, mag + 1.5, 0.6, 0.7, 0.5)[0].theta_e for _ in range(60)]
    assert np.median([one.theta_e for one in drawn]) > np.median(faint)


def test_painted_light_is_what_was_traced(scene: Scene) -> None:
    """The flux of a painted lens is the magnified flux of its source, within photon noise; no negative sky is added."""
    rng, canvas = np.random.default_rng(5), Canvas(80, conditions())
    mag = np.array([22.5, 20.9, 19.5, 18.9, 18.6])
    painted = paint_lens(rng, canvas, 39.6, 39.3, lambda: draw_deflector_like(rng, mag, 1.1, 0.8, 0.2))
    assert painted is not None
    assert painted.snr >= SETTINGS.least_snr
    assert painted.deflector.theta_e > min(SEEING.values())
    plain = lensed_light(canvas, 39.6, 39.3, painted.deflector, painted.source)
    noise = np.sqrt(plain.stamps.sum(axis=(1, 2)) / 4.0)
    assert np.abs(painted.light.sum(axis=(1, 2)) - plain.stamps.sum(axis=(1, 2))).max() < 5 * noise.max()
    assert canvas.flux.sum() == 0


def test_a_real_source_keeps_its_flux() -> None:
    """An image in place of the Sersic profile: unlensed, its flux and half-light radius are those of the source."""
    image = galsim.Gaussian(half_light_radius=1).shear(g1=0.2).drawImage(nx=81, ny=81, scale=0.1).array.astype(float)
    source = SourceImage(image / image.sum(), 40.0, 40.0, 10.0)
    steps = (np.arange(400) - 199.5) * 0.01
    dx, dy = np.meshgrid(steps, steps)
    light = source.brightness(dx, dy, size=0.3) * 0.01**2
    assert light.sum() == pytest.approx(1.0, abs=0.01)
    assert light[np.hypot(dx, dy) < 0.3].sum() == pytest.approx(0.5, abs=0.03)
    rng = np.random.default_rng(0)
    lensed = replace(draw_source(rng, SETTINGS, 1.5, 2.0, quasar=False), image=source, clumps=np.zeros((0, 4)))
    deflector, _ = draw_host(rng, canvas := Canvas(80, conditions()), 40.0, 40.0)
    assert lensed_light(canvas, 40.0, 40.0, deflector, lensed).magnification > 1


@pytest.mark.parametrize("kind", [*lookalike.AROUND_HOST, *lookalike.ON_SKY])
def test_every_lookalike_adds_light(kind: str) -> None:
    canvas = Canvas(80, conditions())
    lookalike.paint_lookalike(
        np.random.default_rng(2), canvas, 39.5, 39.5, kind, np.array([22.0, 20.8, 19.5, 19.0, 18.7]), 0.4
    )
    assert np.isfinite(canvas.flux).all()
    assert canvas.flux.sum() > 0
    assert sum(lookalike.SHARES.values()) == pytest.approx(1)

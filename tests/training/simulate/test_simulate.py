"""A simulated object is where the truth says, as bright, as sharp and as noisy: else a model learns from a lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("lenstronomy")

import galsim
from click.testing import CliRunner

from catalogs.errors import ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import open_tile
from scanner.survey.bands import BANDS
from scanner.survey.survey import load
from scanner.survey.tile import Tile
from tools.make_demo_tile import conditions
from training.cli.simulate import simulate
from training.simulate.canvas import Canvas, fluxes, sersic
from training.simulate.conditions import DEPTH, Settings, pixel_rms
from training.simulate.exposure import correlated_noise, saturate
from training.simulate.lens_images import lensed_light
from training.simulate.lens_population import Deflector, Source
from training.simulate.scene import Scene, simulate_tile
from training.simulate.write import file_name, write_tile

PLAIN = Settings(size=300, missing_band=0, gaps=0, trails=0, cosmic_rays=0, lens_fraction=0, lookalike_fraction=0)
LENSES = Settings(size=400, lens_fraction=0.3, lookalike_fraction=0.15, star_density=8, missing_band=0, gaps=0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_tile("217.292", 2, LENSES, conditions())


def canvas(size: int = 200) -> Canvas:
    return Canvas(size, conditions())


@pytest.mark.parametrize(("index", "size", "q"), [(1.0, 0.3, 0.4), (1.0, 1.2, 0.8), (4.0, 0.4, 0.7), (2.2, 0.8, 0.3)])
def test_a_galaxy_has_the_flux_of_its_magnitudes(index: float, size: float, q: float) -> None:
    image, mag = canvas(), np.array([22.0, 21.0, 20.5, 20.2, 20.0])
    image.galaxy(100.3, 99.6, fluxes(mag), size, index, q, 0.5)
    np.testing.assert_allclose(image.flux.sum(axis=(1, 2)), fluxes(mag), rtol=0.01)


@pytest.mark.parametrize(("index", "size"), [(1.0, 0.5), (4.0, 0.5), (0.5, 0.25)])
def test_stamps_agree_with_galsim(index: float, size: float) -> None:
    image, q, angle = canvas(), 0.6, 0.8
    image.galaxy(100.3, 99.6, np.full(5, 3000.0), size, index, q, angle)
    galaxy = sersic(index).dilate(size * np.sqrt(q)).shear(galsim.Shear(q=q, beta=angle * galsim.radians))
    for band, one in enumerate(conditions()):
        profile = galsim.Convolve([galaxy, image.psf[band]]) * 3000
        offset = (0.3 + one.offset, -0.4)
        reference = profile.drawImage(nx=201, ny=201, scale=PIXEL_SCALE, offset=offset).array[:200, :200]
        assert np.abs(image.flux[band] - reference).max() < 0.006 * reference.max()


def lens(theta_e: float, q: float = 1.0) -> Deflector:
    return Deflector(0.5, 250.0, theta_e, q, 0.0, (0.0, 0.0), np.full(5, 30.0), 1.0)


def source(x: float, size: float = 0.08) -> Source:
    return Source(1.5, x, 0.0, np.full(5, 22.0), size, 1.0, 0.999, 0.0, np.zeros((0, 4)), None)


@pytest.mark.parametrize("theta_e", [0.8, 1.5, 2.7])
def test_a_source_behind_the_centre_is_a_ring_of_einstein_radius(theta_e: float) -> None:
    image = canvas()
    stamp = lensed_light(image, 100.0, 100.0, lens(theta_e), source(0.0)).stamps[2]
    half = stamp.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * PIXEL_SCALE
    r = np.hypot(x, y)
    ring, edges = np.histogram(r, np.arange(0, half * PIXEL_SCALE, 0.1), weights=stamp)
    area, _ = np.histogram(r, edges)
    brightness = ring / np.maximum(area, 1)
    middle = (edges[1:] + edges[:-1]) / 2
    peak = np.abs(middle - theta_e) < 0.45
    assert np.average(middle[peak], weights=brightness[peak] ** 2) == pytest.approx(theta_e, abs=0.04 + 0.02 * theta_e)


def test_two_images_of_a_sis_lie_where_theory_has_them() -> None:
    """beta +- theta_E along the line of source and lens, fluxes in the ratio (theta_E + beta) / (theta_E - beta)."""
    sky, theta_e, beta = canvas(), 1.6, 0.6
    light = lensed_light(sky, 100.0, 100.0, lens(theta_e), source(beta, 0.05))
    stamp = light.stamps[2]
    half = stamp.shape[0] // 2
    x = (np.arange(stamp.shape[1]) - half) * PIXEL_SCALE
    right, left = np.where(x > 0, stamp, 0), np.where(x < 0, stamp, 0)
    for image, at in ((right, beta + theta_e), (left, beta - theta_e)):
        column = x[np.argmax(image.sum(axis=0))]
        near = np.abs(x - column) < 0.6
        centroid = np.average(x[near], weights=image.sum(axis=0)[near])
        assert centroid == pytest.approx(at, abs=0.05)
    assert right.sum() / left.sum() == pytest.approx((theta_e + beta) / (theta_e - beta), rel=0.06)
    assert light.magnification == pytest.approx(2 * theta_e / beta, rel=0.03)
    assert stamp.sum() == pytest.approx(light.magnification * fluxes(np.array(22.0)), rel=0.02)


@pytest.mark.parametrize("band", BANDS)
def test_an_aperture_of_two_arcsec_has_the_depth_of_the_survey(band: str) -> None:
    noise = correlated_noise(np.random.default_rng(1), (1200, 1200), pixel_rms(band))
    assert noise.std() == pytest.approx(pixel_rms(band), rel=0.01)
    side = 22  # px between apertures
    y, x = np.mgrid[:side, :side]
    inside = np.hypot(x - 10, y - 10) * PIXEL_SCALE < 1.0
    blocks = noise[: 1200 // side * side, : 1200 // side * side].reshape(1200 // side, side, 1200 // side, side)
    sums = np.einsum("aybx,yx->ab", blocks, inside)
    depth = 31.4 - 2.5 * np.log10(10 * sums.std())
    assert depth == pytest.approx(DEPTH[band], abs=0.08)


def test_neighbouring_pixels_share_their_noise_as_after_resampling() -> None:
    noise = correlated_noise(np.random.default_rng(2), (800, 800), 1.0)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) == pytest.approx(0.2, abs=0.02)
    assert abs(np.mean(noise[:, 4:] * noise[:, :-4])) < 0.01


def test_truth_positions_are_where_each_band_has_its_peak(scene: Scene) -> None:
    stars = scene.truth[(scene.truth["label"] == "star") & (scene.truth["mag_r"] < 22)]
    alone = [row for row in stars if _nearest(scene, row) > 15]
    assert len(alone) >= 3
    for row in alone:
        for band, wcs in enumerate(scene.wcs):
            x, y = wcs.all_world2pix(row["ra"], row["dec"], 0)
            if not (8 < x < 392 and 8 < y < 392) or row[f"mag_{BANDS[band]}"] > 22:
                continue
            cx, cy = _centroid(scene.flux[band], float(x), float(y))
            assert np.hypot(cx - x, cy - y) < 0.15
    shift = scene.wcs[3].wcs.crpix[0] - scene.wcs[2].wcs.crpix[0]
    assert shift == pytest.approx(0.672)


def _nearest(scene: Scene, row: object) -> float:
    bright = scene.truth[scene.truth["mag_r"] < 24]
    away = np.hypot(bright["x"] - row["x"], bright["y"] - row["y"])  # type: ignore[index]
    return float(np.sort(away)[1])


def _centroid(image: np.ndarray, x: float, y: float) -> tuple[float, float]:
    for _ in range(4):
        yy, xx = np.mgrid[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7]
        weight = image[yy, xx] * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8)
        x, y = x + 2 * ((weight * (xx - x)).sum() / weight.sum()), y + 2 * ((weight * (yy - y)).sum() / weight.sum())
    return x, y


def test_every_lens_has_what_makes_it_one(scene: Scene) -> None:
    lenses = scene.truth[scene.truth["label"] == "lens"]
    assert len(lenses) >= 3
    assert np.all((lenses["theta_e"] >= 0.5) & (lenses["theta_e"] <= 3.0))
    assert np.all(lenses["z_source"] > lenses["z"])
    assert np.all(lenses["snr"] > 15)
    assert np.median(lenses["mag_g"] - lenses["mag_r"]) > 1.0  # red galaxies
    assert np.all(np.isnan(scene.truth["theta_e"][scene.truth["label"] != "lens"]))


@pytest.mark.parametrize("bad", [{"theta_e": (0.1, 2.0)}, {"theta_e": (2.0, 9.0)}, {"size": 8}, {"density": -1.0}])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ScannerError, match="simulated scene") as refused:
        Settings(**bad)  # type: ignore[arg-type]
    assert refused.value.code == "config.bad"


def test_small_lenses_in_bad_seeing_are_drawn_all_the_same() -> None:
    one = tuple(replace(s, fwhm=1.3) for s in conditions())
    scene = simulate_tile("100.240", 1, replace(LENSES, theta_e=(0.3, 0.4)), one)
    assert (scene.truth["label"] == "lens").any()


def test_fractions_are_honoured() -> None:
    none = simulate_tile("100.240", 1, replace(PLAIN, size=400))
    assert not np.isin(none.truth["label"], ["lens", "lookalike"]).any()
    many = simulate_tile("100.240", 1, replace(LENSES, lens_fraction=0.6, star_density=0))
    assert (many.truth["label"] == "lens").sum() > 8


def test_tile_and_seed_fix_every_bit() -> None:
    first, again = (simulate_tile("100.240", 3, LENSES) for _ in range(2))
    assert first.flux.tobytes() == again.flux.tobytes()
    assert simulate_tile("100.241", 3, PLAIN).flux.tobytes() != simulate_tile("100.242", 3, PLAIN).flux.tobytes()
    assert simulate_tile("100.241", 4, PLAIN).flux.tobytes() != simulate_tile("100.241", 3, PLAIN).flux.tobytes()


def test_a_missing_band_is_nan_and_has_no_file(tmp_path: Path) -> None:
    one = tuple(replace(s, present=s.band != "z") for s in conditions())
    scene = simulate_tile("100.240", 1, PLAIN, one)
    assert np.isnan(scene.flux[4]).all()
    assert np.isfinite(scene.flux[:4]).all()
    names = {path.name for path in write_tile(scene, tmp_path)}
    assert "WISHES.100.240.z.fits" not in names
    assert len(names) == 5


def test_some_band_is_always_there() -> None:
    for seed in range(10):
        scene = simulate_tile("100.240", seed, replace(PLAIN, size=64, missing_band=0.999))
        assert any(s.present for s in scene.conditions)


@pytest.mark.parametrize("compress", [False, True])
def test_written_tiles_read_back_as_simulated(tmp_path: Path, compress: bool) -> None:
    scene = simulate_tile("100.240", 11, replace(PLAIN, gaps=1.0))
    assert np.isnan(scene.flux).any()
    write_tile(scene, tmp_path, compress)
    files = {band: tmp_path / (file_name("100.240", band) + (".fz" if compress else "")) for band in BANDS}
    images = open_tile(load("unions"), Tile("100.240", files))
    for band, one in enumerate(scene.conditions):
        assert np.array_equal(np.isnan(images.flux[band]), np.isnan(scene.flux[band]))
        worst = np.nanmax(np.abs(images.flux[band] - scene.flux[band]))
        assert worst < (0.3 * one.rms if compress else 1e-3 * np.nanmax(scene.flux[band]))
        if images.variance[band] is not None:
            assert np.nanmedian(images.variance[band]) == pytest.approx(one.rms**2, rel=1e-3)
        assert np.allclose(images.wcs[band].wcs.crpix, scene.wcs[band].wcs.crpix)


def test_compressed_files_do_not_tell_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = simulate_tile("100.240", 11, replace(PLAIN, size=64), conditions())
    first = write_tile(scene, tmp_path / "a", compress=True)
    monkeypatch.setattr("time.time", lambda: 2e9)
    for path, again in zip(first, write_tile(scene, tmp_path / "b", compress=True), strict=True):
        assert path.read_bytes() == again.read_bytes()


def test_full_pixels_are_clipped_and_bleed_along_columns() -> None:
    one = conditions()[2]
    image = np.zeros((100, 100), np.float32)
    image[49:52, 50] = 5 * one.saturation
    full = saturate(image, one)
    assert full.max() == pytest.approx(one.saturation)
    assert (full[:, 50] > 0).sum() > 5
    assert (full[:, 51] == 0).all()


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    options = ["--tiles", "2", "--size", "160", "--seed", "4"]
    for workers in ("1", "2"):
        result = CliRunner().invoke(simulate, [str(tmp_path / workers), *options, "--workers", workers])
        assert result.exit_code == 0, result.output
    files = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "2").iterdir())
    assert "list.txt" in files
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()

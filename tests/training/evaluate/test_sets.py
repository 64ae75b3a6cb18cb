"""Windows to measure on: pictures back to flux, simulated tiles with their truth, and the baselines fitted to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from catalogs.errors import ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from training.evaluate import baselines
from training.evaluate.sets import pictures, simulated
from training.evaluate.sets.lenses import central
from training.evaluate.sets.simulated import FRAGMENT, SETTINGS
from training.evaluate.statistics import probes
from training.evaluate.tasks.lenses import is_own_nearest


def picture_of(nanomaggies: np.ndarray) -> np.ndarray:
    """The SDSS way from i, r, g [3, H, W] to bytes [H, W, 3]."""
    scaled = nanomaggies * pictures.SCALES[:, None, None]
    total = scaled.sum(axis=0)
    colour = scaled * np.arcsinh(pictures.NONLINEARITY * total) / pictures.NONLINEARITY / total
    return np.moveaxis(np.clip(np.rint(colour * 255), 0, 255).astype(np.uint8), 0, -1)


def test_the_stretch_of_a_colour_picture_is_undone() -> None:
    y, x = np.mgrid[:40, :40] - 19.5
    galaxy = np.array([0.12, 0.09, 0.05])[:, None, None] * np.exp(-np.hypot(x, y) / 12)
    flux = pictures.surface_brightness(picture_of(galaxy)) * pictures.SDSS_SCALE**2 / pictures.NANOMAGGY
    bright = galaxy[2] > 0.01
    assert np.median(np.abs(flux[:, bright] / galaxy[:, bright] - 1)) < 0.02


def test_pictures_of_any_shape_become_windows_of_equal_surface_brightness(tmp_path: Path) -> None:
    paths = []
    for name, shape in (("square", (128, 128)), ("wide", (100, 212))):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(np.full((*shape, 3), 60, np.uint8)).save(paths[-1])
    flux = pictures.windows(paths, 64)
    assert flux.shape == (2, 5, 64, 64)
    assert np.isnan(flux[:, [0, 4]]).all()
    np.testing.assert_allclose(flux[0, 1:4], flux[1, 1:4], rtol=1e-5)
    expected = pictures.surface_brightness(np.full((1, 1, 3), 60, np.uint8))[:, 0, 0] * PIXEL_SCALE**2
    np.testing.assert_allclose(flux[0, [3, 2, 1], 5, 5], expected, rtol=1e-5)


def test_labelled_pictures_have_plausible_magnitudes_and_colours(shipped: Path) -> None:
    flux = pictures.windows(sorted((shipped / "pictures").glob("*.jpg")), 64)[:, :, 16:48, 16:48].sum(axis=(2, 3))
    colour = 2.5 * np.log10(flux[:, 2] / flux[:, 1])  # g - r
    assert 0.3 < np.median(colour) < 1.2


def test_cutouts_smaller_than_a_model_are_refused() -> None:
    """A negative first pixel would count from the other edge."""
    flux = np.zeros((2, 5, 10, 10), np.float32)
    flux[..., 5, 5] = 1
    assert central(flux, 4)[..., 2, 2].all()
    with pytest.raises(ScannerError, match="10 px are smaller than the 13 px"):
        central(flux, 13)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> simulated.SimulatedWindows:
    settings = replace(SETTINGS, size=256, lens_fraction=0.3)
    return simulated.load(tmp_path_factory.mktemp("cache"), 48, number=2, settings=settings, workers=1)


def test_simulated_objects_know_what_they_are(small: simulated.SimulatedWindows) -> None:
    assert small.flux.shape[1:] == (5, 48, 48)
    assert {"lens", "galaxy"} <= set(small.label)
    galaxy = (small.label == "galaxy") & (small.truth["mag_r"] < 23)
    middle = np.nansum(small.flux[galaxy, 2, 12:36, 12:36], axis=(1, 2))
    error = 31.4 - 2.5 * np.log10(np.maximum(middle, 1)) - small.truth["mag_r"][galaxy]
    assert abs(np.median(error)) < 0.3
    assert set(small.tile) == {0, 1}


def test_one_detection_is_the_lens_and_its_neighbours_are_pieces_of_it() -> None:
    truth = Table(
        {"x": [50.0, 50.5, 200.0], "y": [50.0, 50.0, 50.0], "label": ["galaxy", "lens", "galaxy"]}
        | {name: [19.0, 20.0, 21.0] for name in simulated.TRUE}
    )
    x = np.array([51.0, 48.0, 70.0, 200.0, 400.0])
    label, values = simulated._match_truth(truth, x, np.full(5, 50.0))
    assert label.tolist() == ["lens", FRAGMENT, FRAGMENT, "galaxy", ""]
    assert values["mag_r"][3] == 21
    assert np.isnan(values["mag_r"][4])


def test_the_same_objects_are_seen_twice_with_other_noise() -> None:
    pair = simulated.exposure_pairs(32, number=1, size=320)
    assert len(pair.flux) == len(pair.other) > 5
    corner = np.s_[:, 2, :5, :5]
    noise = [np.nanstd(flux[corner]) for flux in (pair.flux, pair.other)]
    assert noise[1] > noise[0]
    total = [np.nansum(flux[:, 2], axis=(1, 2)) for flux in (pair.flux, pair.other)]
    bright = total[0] > np.median(total[0])
    assert np.median(total[1][bright] / total[0][bright]) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", baselines.installed())
def test_baselines_give_unit_vectors_with_and_without_bands(name: str, small: simulated.SimulatedWindows) -> None:
    flux = np.pad(small.flux[:24], [(0, 0), (0, 0), (8, 8), (8, 8)], constant_values=np.nan)
    model = baselines.fit(name, flux)
    less = flux.copy()
    less[:, [0, 4]] = np.nan
    vectors = model.embed(less)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert is_own_nearest(model.embed(flux), model.embed(flux)).mean() > 0.9


def test_seeds_give_other_random_networks(small: simulated.SimulatedWindows) -> None:
    flux = np.pad(small.flux[:6], [(0, 0), (0, 0), (8, 8), (8, 8)], constant_values=np.nan)
    one, same, other = (baselines.fit(baselines.RANDOM_WEIGHTS, flux, seed).embed(flux) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_a_probe_never_judges_a_tile_it_saw() -> None:
    """Vectors that tell the tile, labels that follow the tile: all is learned within tiles, nothing across them."""
    random = np.random.default_rng(0)
    tile = np.repeat(np.arange(10), 30)
    truth = random.normal(size=10)[tile]
    vectors = np.eye(10)[tile] + random.normal(0, 0.01, (300, 10))
    guess = probes.predicted(vectors, truth, tile)
    assert np.corrcoef(guess, truth)[0, 1] < 0.5


def test_answers_are_the_label_of_the_largest_score() -> None:
    assert probes.answers(np.array([[0, 2, 1], [3, 0, 0]]), ["a", "b", "c"]).tolist() == ["b", "a"]
    assert probes.answers(np.array([-1.0, 1.0]), ["No", "Yes"]).tolist() == ["No", "Yes"]

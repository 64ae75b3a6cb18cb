"""Simulated galaxies are the COSMOS ones: as many, as large, as red. The demo tile is the scene that it says it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("galsim")

import galsim

from scanner.images.tile_images import open_tile
from scanner.survey.bands import BANDS
from scanner.survey.survey import load
from scanner.survey.tile import Tile
from tools import fit_population
from tools.make_demo_tile import SETTINGS, TILE, demo_scene
from training.simulate.conditions import Settings
from training.simulate.population import expected, fitted, galaxies, magnitudes, stars
from training.simulate.write import file_name

DEMO = Path(__file__).parents[3] / "scanner" / "demo"


@pytest.fixture(scope="module")
def table(shipped: Path) -> dict[str, Any]:
    """Counts, means and quartiles of the COSMOS table, which itself may not be passed on."""
    return dict(json.loads((shipped / "cosmos" / "summary.json").read_text()))


def test_counts_are_those_of_the_table_to_a_tenth(table: dict[str, Any]) -> None:
    area = fitted()["counts"]["area_deg2"]
    assert len(table["counts"]) == 6
    for low, count in table["counts"].items():
        assert expected(area, float(low), float(low) + 0.5) == pytest.approx(count, rel=0.1)


@pytest.mark.shared("the COSMOS table of 54,444 galaxies, which may not be passed on")
def test_the_committed_counts_are_what_the_fit_gives(shared_data: Path) -> None:
    assert fit_population.counts(shared_data / "sim/cosmos_sersic_54444.parquet") == fitted()["counts"]


def test_the_committed_mixture_fits_the_table(table: dict[str, Any]) -> None:
    """Its mean and spread of every column are the table's, for the whole sample."""
    columns, mix = table["features"], fitted()["mixture"]
    mean = mix["weights"] @ mix["means"]
    spread = mix["covariances"].diagonal(axis1=1, axis2=2) + (mix["means"] - mean) ** 2
    np.testing.assert_allclose(mean, columns["mean"], atol=0.01)
    np.testing.assert_allclose(np.sqrt(mix["weights"] @ spread), columns["std"], rtol=0.02)


def test_drawn_magnitudes_follow_the_counts() -> None:
    mag = magnitudes(np.random.default_rng(0), 200_000, 25.0)
    for low in (21.0, 22.0, 23.0, 24.0):
        share = ((mag >= low) & (mag < low + 1)).mean()
        assert share == pytest.approx(expected(1, low, low + 1) / expected(1, 16, 25), rel=0.03)


@pytest.mark.parametrize("low", [20.5, 21.5, 22.5])
def test_sizes_shapes_and_colours_at_a_magnitude_are_those_of_the_table(table: dict[str, Any], low: float) -> None:
    real = table["at"][str(low)]
    mag = np.interp(np.random.default_rng(2).uniform(0, 100, 4000), np.arange(101), real["magnitude percentiles"])
    sample = galaxies(np.random.default_rng(1), mag)
    pairs = {
        "size": (np.log10(sample.size), 0.06),
        "n": (np.log10(sample.n), 0.08),
        "q": (sample.q, 0.05),
        "g - r": (sample.mag[:, 1] - sample.mag[:, 2], 0.08),
        "r - i": (sample.mag[:, 2] - sample.mag[:, 3], 0.06),
    }
    for name, (ours, within) in pairs.items():
        np.testing.assert_allclose(np.percentile(ours, [25, 50, 75]), real[name], atol=within, rtol=0, err_msg=name)


def test_colours_of_all_bands_hang_together() -> None:
    sample = galaxies(np.random.default_rng(3), np.full(4000, 21.5))
    u_r, g_r = sample.mag[:, 0] - sample.mag[:, 2], sample.mag[:, 1] - sample.mag[:, 2]
    assert np.corrcoef(u_r, g_r)[0, 1] > 0.6
    early, late = sample.late < 0.15, sample.late > 0.6
    assert np.median(g_r[early]) - np.median(g_r[late]) > 0.5
    assert np.median(sample.n[early]) > np.median(sample.n[late])
    i_z = sample.mag[:, 3] - sample.mag[:, 4]
    assert -0.2 < np.median(i_z) < 0.6


def test_stars_lie_on_the_stellar_locus() -> None:
    mag = stars(np.random.default_rng(4), 3000, 15, 24)
    g_r, r_i = mag[:, 1] - mag[:, 2], mag[:, 2] - mag[:, 3]
    assert mag[:, 2].min() > 14.8
    assert np.percentile(g_r, 99) < 1.62
    blue = g_r < 0.9
    assert np.median(r_i[blue] - 0.4 * g_r[blue]) == pytest.approx(0.0, abs=0.08)
    assert np.median(r_i[g_r > 1.35]) > 0.6


def test_the_demo_is_small_enough_to_ship() -> None:
    files = [path for path in DEMO.iterdir() if path.suffix in (".fz", ".csv")]
    assert {file_name(TILE, band) + ".fz" for band in BANDS} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) < 11e6


def test_the_demo_is_what_its_command_makes() -> None:
    from astropy.table import Table

    truth = Table.read(DEMO / "truth.csv")
    assert 6 <= (truth["label"] == "lens").sum() <= 9
    if galsim.__version__ != truth_galsim():
        pytest.skip(f"made with GalSim {truth_galsim()}, here is {galsim.__version__}")
    scene = demo_scene()
    np.testing.assert_allclose(scene.truth["ra"], truth["ra"], atol=1e-6)
    for name in ("source_mag_r", "magnification", "snr"):
        np.testing.assert_allclose(scene.truth[name], truth[name], rtol=1e-3)
    files = {band: DEMO / (file_name(TILE, band) + ".fz") for band in BANDS}
    images = open_tile(load("unions"), Tile(TILE, files))
    assert images.flux.shape == (5, SETTINGS.size, SETTINGS.size)
    for band, one in enumerate(scene.conditions):
        assert np.nanmax(np.abs(images.flux[band] - scene.flux[band])) < 0.3 * one.rms


def truth_galsim() -> str:
    """GalSim's version as the demo's r file tells it."""
    from astropy.io import fits

    return str(fits.getheader(DEMO / (file_name(TILE, "r") + ".fz"), 1)["GALSIM"])


def test_settings_say_what_training_gets() -> None:
    assert Settings().lens_fraction == Settings().lookalike_fraction == 0.05

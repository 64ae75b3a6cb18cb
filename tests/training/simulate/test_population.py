"""Simulated galaxies are the COSMOS ones: as many, as large, as red. The demo tile is the scene that it says it is."""

from __future__ import annotations

from pathlib import Path

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
TABLE = "sim/cosmos_sersic_54444.parquet"


@pytest.fixture(scope="module")
def table(shared_data: Path) -> dict[str, np.ndarray]:
    path = shared_data / TABLE
    if not path.exists():
        pytest.skip(f"no {TABLE}")
    return fit_population.load(path)


def test_counts_are_those_of_the_table_to_a_tenth(shared_data: Path) -> None:
    import pyarrow.parquet as pq

    mag = np.asarray(pq.read_table(shared_data / TABLE, columns=["mag_auto"])["mag_auto"])
    area = fitted()["counts"]["area_deg2"]
    for low in np.arange(20.0, 23.0, 0.5):
        found = ((mag >= low) & (mag < low + 0.5)).sum()
        assert expected(area, low, low + 0.5) == pytest.approx(found, rel=0.1)


def test_the_committed_counts_are_what_the_fit_gives(shared_data: Path) -> None:
    assert fit_population.counts(shared_data / TABLE) == fitted()["counts"]


def test_the_committed_mixture_fits_the_table(table: dict[str, np.ndarray]) -> None:
    """Its mean and spread of every column are the table's, for the whole sample."""
    x, mix = fit_population.features(table), fitted()["mixture"]
    mean = mix["weights"] @ mix["means"]
    spread = mix["covariances"].diagonal(axis1=1, axis2=2) + (mix["means"] - mean) ** 2
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(np.sqrt(mix["weights"] @ spread), x.std(axis=0), rtol=0.02)


def test_drawn_magnitudes_follow_the_counts() -> None:
    mag = magnitudes(np.random.default_rng(0), 200_000, 25.0)
    for low in (21.0, 22.0, 23.0, 24.0):
        share = ((mag >= low) & (mag < low + 1)).mean()
        assert share == pytest.approx(expected(1, low, low + 1) / expected(1, 16, 25), rel=0.03)


@pytest.mark.parametrize("low", [20.5, 21.5, 22.5])
def test_sizes_shapes_and_colours_at_a_magnitude_are_those_of_the_table(
    table: dict[str, np.ndarray], low: float
) -> None:
    here = (table["mag_auto"] > low) & (table["mag_auto"] < low + 0.5)
    real = {name: column[here] for name, column in table.items()}
    drawn = galaxies(np.random.default_rng(1), np.random.default_rng(2).choice(real["mag_auto"], 4000))
    pairs = {
        "size": (np.log10(drawn.size), np.log10(real["reff_pix"] * fit_population.TABLE_PIXEL), 0.06),
        "n": (np.log10(drawn.n), np.log10(np.clip(real["sersic_n"], 0.5, 5.5)), 0.08),
        "q": (drawn.q, real["b_a"], 0.05),
        "g - r": (drawn.mag[:, 1] - drawn.mag[:, 2], real["subaru_g"] - real["subaru_r"], 0.08),
        "r - i": (drawn.mag[:, 2] - drawn.mag[:, 3], real["subaru_r"] - real["subaru_i"], 0.06),
    }
    for name, (ours, theirs, within) in pairs.items():
        for percent in (25, 50, 75):
            assert np.percentile(ours, percent) == pytest.approx(np.percentile(theirs, percent), abs=within), name


def test_colours_of_all_bands_hang_together() -> None:
    drawn = galaxies(np.random.default_rng(3), np.full(4000, 21.5))
    u_r, g_r = drawn.mag[:, 0] - drawn.mag[:, 2], drawn.mag[:, 1] - drawn.mag[:, 2]
    assert np.corrcoef(u_r, g_r)[0, 1] > 0.6
    early, late = drawn.late < 0.15, drawn.late > 0.6
    assert np.median(g_r[early]) - np.median(g_r[late]) > 0.5
    assert np.median(drawn.n[early]) > np.median(drawn.n[late])
    i_z = drawn.mag[:, 3] - drawn.mag[:, 4]
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
    files = {band: DEMO / (file_name(TILE, band) + ".fz") for band in BANDS}
    images = open_tile(load("unions"), Tile(TILE, files))
    assert images.flux.shape == (5, SETTINGS.size, SETTINGS.size)
    for band, seen in enumerate(scene.seen):
        assert np.nanmax(np.abs(images.flux[band] - scene.flux[band])) < 0.3 * seen.rms


def truth_galsim() -> str:
    """GalSim's version as the demo's r file tells it."""
    from astropy.io import fits

    return str(fits.getheader(DEMO / (file_name(TILE, "r") + ".fz"), 1)["GALSIM"])


def test_settings_say_what_training_gets() -> None:
    assert Settings().lens_fraction == Settings().lookalike_fraction == 0.05

"""The hand-off to lens models: a fit of its JSON by lenstronomy recovers the lens that was painted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_linear_solve import ImageLinearFit
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.optimize import least_squares

from catalogs.errors import ErrorCode
from scanner.candidates.handoff import NO_DATA, OTHER_SOURCE, Target, hand_off
from scanner.images.sky.wcs import CelestialWCS
from scanner.survey.bands import BANDS
from scanner.survey.survey import load
from scanner.windows.by_position import WindowReader
from scanner.windows.frame import WindowFrame
from training.simulate.canvas import Canvas, fluxes
from training.simulate.conditions import BandConditions, pixel_rms
from training.simulate.lens_images import lensed_light
from training.simulate.lens_population import Deflector, Source
from training.simulate.scene import Scene, tile_wcs
from training.simulate.write import write_tile

TILE, SIZE = "217.292", 420
THETA_E = 1.45
HERE = (210.3, 209.6)
FWHM = {"g": 0.8, "r": 0.65}
GALAXY = np.array([23.0, 21.2, 19.8, 19.3, 19.0])


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CelestialWCS]:
    """A tile in g and r: a lens in its middle, a galaxy 6 arcsec beside it, a dozen stars; its folder and WCS."""
    conditions = tuple(
        BandConditions(band, FWHM.get(band, 0.8), 3.0, 0.01, -0.01, pixel_rms(band), 4.0, np.inf, 0.0, band in FWHM)
        for band in BANDS
    )
    canvas, rng = Canvas(SIZE, conditions), np.random.default_rng(4)
    lens = Deflector(0.5, 250.0, THETA_E, 0.75, 0.6, (0.03, -0.02), GALAXY, 1.1)
    light = np.array([22.6, 22.4, 22.2, 22.1, 22.0])
    source = Source(1.8, 0.12, -0.08, light, 0.25, 1.0, 0.7, 1.0, np.zeros((0, 4)), None)
    canvas.galaxy(*HERE, fluxes(lens.mag), lens.size, 4.0, 0.8, 0.6)
    canvas.add(*HERE, lensed_light(canvas, *HERE, lens, source).stamps)
    canvas.galaxy(HERE[0] + 31.0, HERE[1] + 4.0, fluxes(GALAXY + 2.0), 0.5, 1.0, 0.8, 0.3)
    for number in range(12):
        angle = 2 * np.pi * number / 12
        x, y = HERE[0] + (130 + 5 * number) * np.cos(angle), HERE[1] + (130 + 5 * number) * np.sin(angle)
        canvas.star(x, y, fluxes(np.full(5, 18.5) + 0.1 * number))
    rms = np.array([one.rms for one in conditions])[:, None, None]
    flux = (canvas.flux + rng.normal(0, 1, canvas.flux.shape) * rms).astype(np.float32)
    flux[1, :40, :40] = np.nan
    wcs = tile_wcs(TILE, SIZE)
    folder = tmp_path_factory.mktemp("painted")
    write_tile(Scene(TILE, 0, flux, (wcs,) * 5, Table({"ra": [0.0]}), conditions), folder)
    return folder, wcs


@pytest.fixture(scope="module")
def handed(painted: tuple[Path, CelestialWCS], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, wcs = painted
    ra, dec = (float(axis) for axis in wcs.pixels_to_sky(*HERE))
    out = tmp_path_factory.mktemp("handoff")
    said: list[str] = []
    assert hand_off([Target("UNIONS J1+1", TILE, ra, dec)], reader(folder), out, 9.0, said.append) == (1, 0), said
    return out / "UNIONS_J1+1"


def reader(folder: Path) -> WindowReader:
    return WindowReader(load("unions"), WindowFrame(("g", "r"), 64, 0.18577), folder)


def test_each_band_has_pixels_noise_psf_and_mask(handed: Path, painted: tuple[Path, CelestialWCS]) -> None:
    assert sorted(path.name for path in handed.iterdir()) == ["g.fits", "lens.json", "r.fits"]
    for band in "gr":
        with fits.open(handed / f"{band}.fits") as hdus:
            assert [hdu.name for hdu in hdus] == ["FLUX", "RMS", "PSF", "MASK"]
            flux, rms, psf, mask = (hdu.data for hdu in hdus)
            assert flux.shape == rms.shape == mask.shape == (49, 49)
            assert np.median(rms) == pytest.approx(pixel_rms(band), rel=0.15)
            assert hdus["RMS"].header["RMSKIND"] == ("variance" if band == "g" else "background")
            assert psf.sum() == pytest.approx(1, abs=1e-5)
            assert hdus["PSF"].header["PSFSTARS"] >= 5
            # The width of the PSF, with the pixel's own.
            assert width(psf) == pytest.approx(np.hypot(FWHM[band], 0.7 * 0.18577), rel=0.12)
            # The neighbour is masked, and the arcs are not.
            assert mask[24 + 4, 24 + 24] & OTHER_SOURCE or mask[24 + 4, 24 + 23] & OTHER_SOURCE
            assert not mask[12:37, 12:37].any()
            x, y = WCS(hdus["FLUX"].header).all_world2pix(*sky(painted[1]), 0)
            assert (x, y) == pytest.approx((24 + HERE[0] - round(HERE[0]), 24 + HERE[1] - round(HERE[1])), abs=0.01)
            assert flux[24, 24] > 20 * np.median(rms)


def test_a_fit_recovers_the_einstein_radius(handed: Path) -> None:
    """SIE and shear, with lenstronomy, from the start and the limits that the JSON gives."""
    told = json.loads((handed / "lens.json").read_text(encoding="utf-8"))
    residuals, names, vector, limits = problem(told, "r")
    radius = names.index(("lens_model", 0, "theta_E"))
    best = None
    for theta_e in (0.8, 1.6):
        start = vector.copy()
        start[radius] = theta_e
        # A source behind the very middle would be a saddle of the fit.
        for axis in ("center_x", "center_y"):
            start[names.index(("source_model", 0, axis))] = 0.05
        fit = least_squares(residuals, start, bounds=limits, x_scale=np.maximum(np.abs(vector), 0.1), max_nfev=25)
        best = fit if best is None or fit.cost < best.cost else best
    assert best is not None
    assert best.x[radius] == pytest.approx(THETA_E, rel=0.05)
    # The model explains the arcs. Not 1: the core of the galaxy is steeper than a pixel, and is not supersampled here.
    assert 2 * best.cost / len(best.fun) < 2.0


def problem(
    told: dict[str, Any], band: str
) -> tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], list[Any], NDArray[np.float64], tuple[Any, Any]]:
    """The residuals of a model in one band as a function of its parameters, their names, start, and limits."""
    one, model = told["bands"][band], told["kwargs_model"]
    data = ImageData(**{key: np.array(value) for key, value in one["kwargs_data"].items()})
    psf = PSF("PIXEL", kernel_point_source=np.array(one["kwargs_psf"]["kernel_point_source"]))
    image = ImageLinearFit(
        data, psf, LensModel(model["lens_model_list"]), LightModel(model["source_light_model_list"]),
        LightModel(model["lens_light_model_list"]), kwargs_numerics=one["kwargs_numerics"],
        likelihood_mask=np.array(one["likelihood_mask"]),
    )  # fmt: skip
    params = told["kwargs_params"]
    names = [
        (part, number, key)
        for part in ("lens_model", "lens_light_model", "source_model")
        for number, values in enumerate(params[part][0])
        for key in values
    ]

    def residuals(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        filled = {part: [dict(fixed) for fixed in params[part][2]] for part in params}
        for (part, number, key), value in zip(names, vector, strict=True):
            filled[part][number][key] = float(value)
        made, _, _, _ = image.image_linear_solve(
            *(filled[p] for p in ("lens_model", "source_model", "lens_light_model"))
        )
        return np.asarray(image.reduced_residuals(made)[np.array(one["likelihood_mask"]) > 0]).ravel()

    start, low, high = (np.array([params[p][k][n][key] for p, n, key in names]) for k in (0, 3, 4))
    return residuals, names, start, (low, high)


def width(psf: NDArray[np.float64]) -> float:
    """The full width at half maximum in arcsec of a round image, by the area above half its peak."""
    large = zoom(psf, 5, order=3)
    return float(2 * np.sqrt((large > large.max() / 2).sum() / np.pi) / 5 * 0.18577)


def sky(wcs: CelestialWCS) -> tuple[float, float]:
    ra, dec = wcs.pixels_to_sky(*HERE)
    return float(ra), float(dec)


def test_what_cannot_be_handed_off_is_said(painted: tuple[Path, CelestialWCS], tmp_path: Path) -> None:
    folder, wcs = painted
    ra, dec = sky(wcs)
    said: list[str] = []
    targets = [Target("off", TILE, ra + 1.0, dec), Target("gone", "218.292", ra, dec)]
    assert hand_off(targets, reader(folder), tmp_path / "out", 9.0, said.append) == (0, 2)
    assert ErrorCode.QUERY_OUTSIDE_COVERAGE in said[0]
    assert ErrorCode.TILE_MISSING_FILE in said[1]


def test_a_gap_is_masked_and_has_no_nan_in_json(painted: tuple[Path, CelestialWCS], tmp_path: Path) -> None:
    folder, wcs = painted
    ra, dec = (float(axis) for axis in wcs.pixels_to_sky(45.0, 45.0))
    assert hand_off([Target("gap", TILE, ra, dec)], reader(folder), tmp_path, 9.0, print)[0] == 1
    with fits.open(tmp_path / "gap" / "g.fits") as hdus:
        gap = np.isnan(hdus["FLUX"].data)
        assert gap.any()
        assert (hdus["MASK"].data[gap] & NO_DATA).all()
    one = json.loads((tmp_path / "gap" / "lens.json").read_text(encoding="utf-8"))["bands"]["g"]
    assert (np.array(one["likelihood_mask"])[gap] == 0).all()
    assert np.isfinite(np.array(one["kwargs_data"]["image_data"])).all()

"""Windows: the right pixels of every band, NaN beyond the edge, and the same whichever way they are gathered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ScannerError
from scanner.images.sky.wcs import CelestialWCS
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources.sources import Sources, detect
from scanner.survey import survey
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows, check_scale

FRAME = WindowFrame(("u", "g", "r", "i", "z"), 64, 0.18577)


def at(images: TileImages, x: list[float], y: list[float]) -> Sources:
    """Sources at pixels of the detection band."""
    right, up = np.array(x, float), np.array(y, float)
    return Sources.at(images, right, up)


@pytest.fixture
def ramp(unions: Survey) -> TileImages:
    """Made-up bands r, i: every pixel's value tells where it is; i is shifted by 3.0 and -2.0 px."""
    rows, columns = np.mgrid[0:200, 0:300].astype(np.float32)
    coded = rows * 1000 + columns
    wcs = CelestialWCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [85.0, 50.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-0.18577 / 3600, 0.18577 / 3600], [150.5, 100.5]
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = [153.5, 98.5]
    flux = np.stack([coded, coded])
    return TileImages.of("217.292", "ri", flux, (wcs, shifted), 0.18577, detection_band="r")


@pytest.mark.parametrize("side", [64, 63, 8])
@pytest.mark.parametrize("x", [100.0, 100.3, 100.5, 100.7, 100.99])
def test_the_source_is_within_half_a_pixel_of_the_centre(side: int, x: float, ramp: TileImages) -> None:
    windows = Windows(ramp, at(ramp, [x], [90.2]), WindowFrame(("r", "i"), side, 0.18577))
    flux = windows.gather(0, 1)[0]
    for band, shift in ((0, (0, 0)), (1, (3, -2))):
        left, top = flux[band, 0, 0] % 1000, flux[band, 0, 0] // 1000
        assert abs(left + (side - 1) / 2 - (x + shift[0])) <= 0.5 + 1e-4
        assert abs(top + (side - 1) / 2 - (90.2 + shift[1])) <= 0.5 + 1e-4
        np.testing.assert_array_equal(np.diff(flux[band], axis=1), 1)
        np.testing.assert_array_equal(np.diff(flux[band], axis=0), 1000)


def test_neighbouring_grid_points_give_neighbouring_windows(ramp: TileImages) -> None:
    """Whole-pixel positions of an even window are ties: all go the same way, in every band."""
    windows = Windows(ramp, at(ramp, list(range(100, 120)), [90] * 20), WindowFrame(("r", "i"), 64, 0.18577))
    corners = windows.gather(0, 20)[:, :, 0, 0]
    np.testing.assert_array_equal(np.diff(corners, axis=0), 1)


def test_beyond_the_edge_there_is_no_data(ramp: TileImages) -> None:
    windows = Windows(ramp, at(ramp, [0, 299, 150, 5000], [0, 199, 100, 50]), WindowFrame(("r", "i"), 64, 0.18577))
    flux = windows.gather(0, 4)
    assert flux[0, 0, 31, 31] == 0
    assert flux[0, 0, 32, 33] == 1002
    assert np.isnan(flux[0, 0, :31]).all()
    assert np.isnan(flux[0, 0, :, :31]).all()
    assert np.isfinite(flux[0, 0, 31:, 31:]).all()
    assert np.isfinite(flux[2]).all()
    assert np.isnan(flux[3]).all()
    share = windows.valid_fraction(flux)
    assert share[2] == 1
    assert share[3] == 0
    assert share[0] == pytest.approx(np.isfinite(flux[0]).mean())


def test_batches_of_any_size_give_the_same_windows(real_images: TileImages) -> None:
    windows = Windows(real_images, detect(real_images), FRAME)
    whole = windows.gather(0, len(windows))
    buffer = np.full((7, *windows.shape), 99, np.float32)
    parts = [windows.gather(start, start + 7, buffer).copy() for start in range(0, len(windows), 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert np.isnan(whole[:, [0, 4]]).all()
    assert np.nanmin(windows.valid_fraction(whole)) > 0
    assert windows.valid_fraction(whole).max() == 1


def test_bands_come_in_the_order_of_the_model(real_images: TileImages) -> None:
    sources = detect(real_images, min_snr=50)
    forward = Windows(real_images, sources, FRAME).gather(0, 5)
    backward = Windows(real_images, sources, replace(FRAME, bands=("i", "g", "r"))).gather(0, 5)
    np.testing.assert_array_equal(backward, forward[:, [3, 1, 2]])


@pytest.mark.shared("bands whose real positions differ by pixels: SDSS frames of 900 px")
def test_each_band_is_cut_through_its_own_wcs(shared_data: Path, tmp_path: Path) -> None:
    """Real SDSS frames, shifted against each other by pixels: a star is at the centre of its window in every band."""
    bands = "".join(
        f'[bands.{band}]\nhdu = 0\nzero_point = 22.5\nfiles = "SDSS_{band}{{any}}.fits"\n' for band in "uriz"
    )
    path = tmp_path / "sdss.toml"
    path.write_text(
        'name = "sdss"\npixel_scale = 0.396\ndetection = "r"\nsuffixes = [".gz"]\ntile = "f{any}"\n'
        'fields = { any = "" }\n' + bands
    )
    sdss = survey.load(path)
    folder = shared_data / "fields" / "sdss_uriz_2010H"
    files = {band: folder / f"SDSS_{band}.fits.gz" for band in "uriz"}
    images = open_tile(sdss, Tile("2010H", files))
    sources = detect(images, min_snr=100)
    bright = sources.take((sources.columns["flux_radius"] < 1.0) & (sources.columns["flags"] == 0))
    windows = Windows(images, bright, WindowFrame(("u", "r", "i", "z"), 16, 0.396)).gather(0, len(bright))
    for band in (1, 2, 3):
        peak = np.argmax(np.nan_to_num(windows[:, band]).reshape(len(bright), -1), axis=1)
        distance = np.hypot(peak // 16 - 7.5, peak % 16 - 7.5)
        assert np.median(distance) < 1.2
    x, _ = images.wcs[2].all_world2pix(bright.ra, bright.dec, 0)
    assert np.abs(x - bright.x).min() > 0.6


def test_another_pixel_scale_is_refused_by_name(real_images: TileImages) -> None:
    images = replace(real_images, pixel_scale=0.339)
    with pytest.raises(ScannerError) as caught:
        check_scale(images, FRAME)
    assert '0.3390"' in caught.value.message
    assert caught.value.code == "tile.pixel_scale"
    assert "--resample" in caught.value.hint
    check_scale(replace(images, pixel_scale=0.18577 * 1.009), FRAME)


@pytest.mark.shared("flux kept from 0.339 to 0.186 arcsec: isolated galaxies of a KiDS field of 2600 px")
def test_resampled_real_galaxies_keep_their_flux(open_dev: Callable[[str], TileImages]) -> None:
    """Isolated galaxies of the KiDS tile: flux in 5 arcsec of the native pixels and of the resampled window agree."""
    images = open_dev("112.280")
    sources = detect(images, min_snr=60)
    height, width = images.shape
    whole = (np.minimum(sources.x, width - sources.x) > 40) & (np.minimum(sources.y, height - sources.y) > 40)
    well = sources.take((sources.columns["flags"] == 0) & (sources.columns["flux_radius"] > 0.5) & whole)
    windows = Windows(images, well, FRAME).gather(0, len(well))
    native = Windows(images, well, replace(FRAME, pixel_scale=0.339, window=35)).gather(0, len(well))
    assert windows.shape[1:] == (5, 64, 64)
    for band in (1, 2, 3):
        for i in range(0, len(well), 5):
            px, py = images.wcs[band].all_world2pix(well.ra[i], well.dec[i], 0)
            left = np.floor(px - 17 + 0.5)
            top = np.floor(py - 17 + 0.5)
            inner = _disc(native[i, band], px - left, py - top, 2.5 / 0.339)
            outer = _disc(windows[i, band], 31.5, 31.5, 2.5 / 0.18577)
            assert outer == pytest.approx(inner, rel=0.02, abs=float(0.02 * np.abs(native[i, band]).sum()))


def _disc(image: np.ndarray, x: float, y: float, radius: float) -> float:
    """Flux in a circle with soft edges of a pixel."""
    rows, columns = np.indices(image.shape)
    weight = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
    return float((image * weight).sum())


def test_a_missing_band_is_named(real_images: TileImages) -> None:
    with pytest.raises(ScannerError) as caught:
        Windows(real_images, at(real_images, [100.0], [100.0]), replace(FRAME, bands=("g", "y")))
    assert caught.value.code == "survey.unknown_band"


def test_no_sources_no_windows(real_images: TileImages) -> None:
    windows = Windows(real_images, at(real_images, [], []), FRAME)
    assert len(windows) == 0
    assert windows.gather(0, 16).shape == (0, 5, 64, 64)

"""Pixels in nanojansky: what counts as data, on real tiles of four surveys and on made-up ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catalogs.sky import unions_grid
from scanner.images.tile_images import TileImages, open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from tests.support.images import bands_with_data

TO_NJY_30 = 10 ** (-0.4 * (30 - 31.4))
TO_NJY_27 = 10 ** (-0.4 * (27 - 31.4))


@pytest.fixture
def made_tile(tmp_path: Path) -> Callable[..., Path]:
    """Writes a made-up r image: ``made_tile(counts, scale=0.18577, name=..., **cards)``."""

    def make(counts: np.ndarray, scale: float = 0.18577, name: str = "CFIS.217.292.r.fits", **cards: object) -> Path:
        path = tmp_path / name
        fits.PrimaryHDU(counts.astype(np.float32), header(counts.shape, scale, **cards)).writeto(path)
        return path

    return make


def header(shape: tuple[int, ...], scale: float, **cards: object) -> fits.Header:
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"], made["CUNIT1"], made["CUNIT2"] = "RA---TAN", "DEC--TAN", "deg", "deg"
    made["CRVAL1"], made["CRVAL2"] = unions_grid.centre("217.292")
    made["CRPIX1"], made["CRPIX2"] = shape[1] / 2 + 0.5, shape[0] / 2 + 0.5
    made["CD1_1"], made["CD1_2"], made["CD2_1"], made["CD2_2"] = -scale / 3600, 0.0, 0.0, scale / 3600
    for card, value in cards.items():
        made[card] = value
    return made


@pytest.mark.shared("five real bands of one field: KiDS and VIKING")
def test_five_bands_of_a_real_tile(tiles_dev: Path, unions: Survey, open_dev: Callable[[str], TileImages]) -> None:
    """KiDS and VIKING pixels in UNIONS names: z tells its planes by EXTTYPE only."""
    images = open_dev("112.280")
    assert images.flux.shape == (5, 2600, 2600)
    assert images.flux.dtype == np.float32
    assert bands_with_data(images) == "ugriz"
    assert images.detection_band == "r"
    assert images.pixel_scale == pytest.approx(0.339)
    raw_r = fits.getdata(tiles_dev / "CFIS.112.280.r.fits")
    raw_z = fits.getdata(tiles_dev / "WISHES.112.280.z.fits", 1)
    np.testing.assert_allclose(images.flux[2], raw_r * TO_NJY_30, rtol=1e-6)
    np.testing.assert_allclose(images.flux[4], raw_z * TO_NJY_27, rtol=1e-6)
    variance = images.variance[4]
    assert variance is not None
    np.testing.assert_allclose(variance, fits.getdata(tiles_dev / "WISHES.112.280.z.fits", 3) * TO_NJY_27**2, rtol=1e-6)
    assert images.variance[2] is None


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "RICE"])
def test_gaps_are_no_data_whatever_fills_them(
    packed: bool, shipped: Path, real_tile: Path, unions: Survey, real_images: TileImages
) -> None:
    """Between the fields lie strips of 16 and 10 px: 0 in r, NaN in i, 0 and bit 8 of the mask in g."""
    suffix, folder = (".fz", shipped / "tile") if packed else ("", real_tile)
    images = open_tile(unions, tile_list.find(unions, "113.280", folder)) if packed else real_images
    gaps = np.zeros((928, 928), bool)
    gaps[:16] = gaps[456:472] = gaps[912:] = gaps[231:241, :456] = True
    gaps[:, :16] = gaps[:, 456:472] = gaps[:, 912:] = gaps[:456, 231:241] = True
    np.testing.assert_array_equal(fits.getdata(folder / f"CFIS.113.280.r.fits{suffix}")[gaps], 0.0)
    np.testing.assert_array_equal(fits.getdata(folder / f"PSS.DR4.113.280.i.fits{suffix}")[gaps], np.nan)
    assert images.present == (False, True, True, True, False)
    for band in (1, 2, 3):
        np.testing.assert_array_equal(np.isnan(images.flux[band]), gaps)
        assert images.valid[band] == pytest.approx(1 - gaps.mean())
    assert np.isnan(images.flux[0]).all()


def test_counts_become_nanojansky_by_the_zero_point_of_each_band(real_tile: Path, real_images: TileImages) -> None:
    """27 in g, whose planes are named; 30 in r and i."""
    assert real_images.detection_band == "r"
    assert real_images.pixel_scale == pytest.approx(0.18577, rel=1e-4)
    for band, name, hdu, to_njy in (
        (1, "calexp-CFIS_113_280.fits", "IMAGE", TO_NJY_27),
        (2, "CFIS.113.280.r.fits", 0, TO_NJY_30),
        (3, "PSS.DR4.113.280.i.fits", 0, TO_NJY_30),
    ):
        data = np.isfinite(real_images.flux[band])
        raw = fits.getdata(real_tile / name, hdu)
        np.testing.assert_allclose(real_images.flux[band][data], raw[data] * to_njy, rtol=1e-6)
    variance, raw = real_images.variance[1], fits.getdata(real_tile / "calexp-CFIS_113_280.fits", "VARIANCE")
    assert variance is not None
    np.testing.assert_allclose(variance, raw * TO_NJY_27**2, rtol=1e-6)


def test_a_missing_band_is_nan_and_no_error(real_images: TileImages) -> None:
    assert real_images.wcs[0] is None
    assert real_images.variance[0] is None
    assert bands_with_data(real_images) == "gri"


def test_pixels_go_into_the_caller_s_memory(real_tile: Path, unions: Survey, real_images: TileImages) -> None:
    tile = tile_list.find(unions, "113.280", real_tile)
    slot = np.zeros((3, 928, 928), np.float32)
    images = open_tile(unions, tile, ["i", "r"], room=lambda shape: slot[: shape[0]])
    assert images.flux.shape == (2, 928, 928)
    assert np.shares_memory(images.flux, slot)
    np.testing.assert_array_equal(slot[:2], real_images.flux[[3, 2]])
    assert not slot[2].any()
    with pytest.raises(ValueError, match="float32"):
        open_tile(unions, tile, ["i", "r"], room=lambda shape: slot)


@pytest.mark.shared("mask and variance as HSC-SSP writes them: a patch of HSC-SSP of 1.5 MB")
def test_hsc_with_mask_and_variance(shared_data: Path, tmp_path: Path) -> None:
    """A patch of HSC-SSP: planes told by EXTTYPE, mask bits by the header's own numbers."""
    source = shared_data / "fields" / "hsc_gri" / "cutout-HSC-R-9071-s18a_wide-181211-014627.fits.gz"
    target = tmp_path / "calexp-HSC-R-9071-4,4.fits.gz"
    shutil.copy(source, target)
    hsc = survey.load("hsc")
    images = open_tile(hsc, tile_list.find(hsc, "9071-4,4", tmp_path))
    assert bands_with_data(images) == "r"
    assert images.pixel_scale == pytest.approx(0.168, rel=1e-3)
    assert images.valid[1] == 1
    variance = images.variance[1]
    assert variance is not None
    flux = images.flux[1]
    assert np.median(variance) ** 0.5 == pytest.approx(np.median(np.abs(flux - np.median(flux))) * 1.4826, rel=0.5)
    # ask for another bit by name: the header says it is 16, whatever the survey file thinks
    band = hsc.band("r")
    assert band.mask is not None
    strict = replace(hsc, bands=(replace(band, mask=replace(band.mask, bits={"INEXACT_PSF": 3})),))
    masked = open_tile(strict, tile_list.find(strict, "9071-4,4", tmp_path), ["r"])
    assert 1 - masked.valid[0] == pytest.approx(0.0261, abs=1e-3)


def test_a_legacy_survey_brick_that_is_nearly_empty(shipped: Path) -> None:
    legacy = survey.load("legacysurvey")
    tile = tile_list.find(legacy, "1238p245", shipped / "legacysurvey")
    images = open_tile(legacy, tile)
    assert images.flux.shape == (4, 3600, 3600)
    assert bands_with_data(images) == "z"
    assert images.detection_band == "z"
    assert images.valid[3] == pytest.approx(0.0027, abs=1e-4)
    variance = images.variance[3]
    assert variance is not None
    np.testing.assert_array_equal(np.isfinite(variance), np.isfinite(images.flux[3]))
    noise = np.nanstd(images.flux[3] / np.sqrt(variance))
    assert 0.5 < noise < 3


def test_cfhtls_compressed(shipped: Path, tmp_path: Path, unions: Survey) -> None:
    """A real .fits.fz of MegaCam: the image moved from HDU 0 to HDU 1."""
    source = shipped / "megacam" / "CFHTLS_03_g_sci.fits.fz"
    shutil.copy(source, tmp_path / "CFIS.217.292.r.fits.fz")
    images = open_tile(unions, tile_list.find(unions, "217.292", tmp_path))
    assert bands_with_data(images) == "r"
    assert images.pixel_scale == pytest.approx(0.186)
    np.testing.assert_allclose(images.flux[2], fits.getdata(source, 1) * np.float32(TO_NJY_30), rtol=1e-5)


@pytest.mark.shared("bz2 and a position of its own for each band: whole SDSS frames")
def test_sdss_frames_by_a_survey_file_of_ones_own(shared_data: Path, tmp_path: Path) -> None:
    """Five bands, bz2, each with its own WCS: one object lies at different pixels."""
    bands = "".join(
        f"[bands.{band}]\nhdu = 0\nzero_point = 22.5\n"
        f'files = "frame-{band}-{{run:06d}}-{{camcol}}-{{field:04d}}.fits"\n'
        for band in "ugriz"
    )
    path = tmp_path / "sdss.toml"
    path.write_text(
        'name = "sdss"\npixel_scale = 0.396\ndetection = ["r", "i"]\nsuffixes = ["", ".bz2"]\n'
        'tile = "{run:06d}-{camcol}-{field:04d}"\nfields = { run = "int", camcol = "int", field = "int" }\n' + bands
    )
    sdss = survey.load(path)
    images = open_tile(
        sdss, tile_list.find(sdss, "002583-2-0136", shared_data / "fields" / "sdss_ugriz_M2"), ["g", "r", "i"]
    )
    assert images.pixel_scale == pytest.approx(0.396, rel=1e-3)
    ra, dec = images.wcs[1].all_pix2world(1000, 700, 0)
    x, y = images.wcs[2].all_world2pix(ra, dec, 0)
    assert np.hypot(x - 1000, y - 700) > 1


def test_compression_does_not_make_dark_sky_no_data(
    made_tile: Callable[..., Path], tmp_path: Path, unions: Survey
) -> None:
    """Rounding turns sky into exact zeros here and there; a gap of zeros stays a gap."""
    sky = np.random.default_rng(0).normal(0, 1, (300, 400)).astype(np.float32)
    sky[100:116] = 0
    plain = made_tile(sky)
    packed = fits.CompImageHDU(sky, fits.getheader(plain), compression_type="RICE_1", quantize_level=4)
    packed.writeto(tmp_path / "CFIS.217.293.r.fits.fz")
    image = open_tile(unions, tile_list.find(unions, "217.293", tmp_path), ["r"]).flux[0]
    assert (fits.getdata(tmp_path / "CFIS.217.293.r.fits.fz") == 0).sum() > 1.2 * 16 * 400
    assert np.isnan(image[100:116]).all()
    assert np.isnan(np.delete(image, np.s_[98:118], axis=0)).sum() == 0


def test_scaled_integers_and_blanks(tmp_path: Path, made_tile: Callable[..., Path], unions: Survey) -> None:
    """16-bit images with BZERO, BSCALE and BLANK, as older surveys store them."""
    made_tile(np.ones((20, 20)))
    hdu = fits.PrimaryHDU(
        np.arange(400, dtype=np.int16).reshape(20, 20), fits.getheader(tmp_path / "CFIS.217.292.r.fits")
    )
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 100.0, 7
    hdu.writeto(tmp_path / "CFIS.217.293.r.fits")
    image = open_tile(unions, tile_list.find(unions, "217.293", tmp_path), ["r"]).flux[0]
    raw = np.arange(400).reshape(20, 20)
    with fits.open(tmp_path / "CFIS.217.293.r.fits") as hdus:
        expected = hdus[0].data * TO_NJY_30
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert np.isnan(image[raw == 7]).all() == np.isnan(expected[raw == 7]).all()


def test_what_is_not_finite_is_no_data(made_tile: Callable[..., Path], tmp_path: Path, unions: Survey) -> None:
    counts = np.ones((30, 30))
    counts[3, 4], counts[5, 6], counts[7, 8], counts[9, 10] = np.inf, -np.inf, np.nan, 3e38
    counts[11, 12] = np.finfo(np.float32).min  # a common filling of gaps
    image = open_tile(unions, tile_list.find(unions, str(made_tile(counts).name[5:12]), tmp_path), ["r"]).flux[0]
    assert np.isnan(image).sum() == 5
    assert image[0, 0] == pytest.approx(TO_NJY_30)


@pytest.mark.parametrize(
    ("dtype", "bit"), [("u1", 7), ("i2", 15), ("i4", 3), ("i4", 31), ("u4", 31), ("i8", 40), ("i8", 63), ("f4", 8)]
)
def test_mask_bits_of_planes_of_any_kind(
    dtype: str, bit: int, made_tile: Callable[..., Path], tmp_path: Path, unions: Survey
) -> None:
    """The sign's bit is one as others are; a bit that no integer has room for is never set, and costs nothing."""
    flags = np.zeros((30, 40), dtype)
    flags[3:5] = np.array(1 << bit, np.uint64).astype(dtype)
    flags[7] = 1
    made = made_tile(np.ones(flags.shape))
    mask, full = fits.ImageHDU(flags), fits.ImageHDU(np.full(flags.shape, 255, "u1"))
    for name, plane, masked in (("calexp-CFIS_217_292.fits", mask, 80), ("calexp-CFIS_217_293.fits", full, 0)):
        plane.header["EXTTYPE"], plane.header["HIERARCH MP_NO_DATA"] = "MASK", bit if plane is mask else 2**31 - 1
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(fits.getdata(made), fits.getheader(made)), plane]).writeto(
            tmp_path / name
        )
        image = open_tile(unions, tile_list.find(unions, name[12:19].replace("_", "."), tmp_path), ["g"]).flux[0]
        assert np.isnan(image).sum() == masked
        assert np.isnan(image[3:5]).all() == bool(masked)


@pytest.mark.parametrize(("covered", "band"), [(1.0, "r"), (0.3, "i")])
def test_the_band_that_finds_the_objects_must_cover_the_tile(
    covered: float, band: str, made_tile: Callable[..., Path], tmp_path: Path, unions: Survey
) -> None:
    counts = np.ones((100, 100))
    counts[int(100 * covered) :] = 0
    made_tile(counts)
    made_tile(np.ones((100, 100)), name="PSS.DR4.217.292.i.fits")
    assert open_tile(unions, tile_list.find(unions, "217.292", tmp_path)).detection_band == band


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_number_of_rows_at_once_changes_nothing(
    rows: int, real_tile: Path, unions: Survey, real_images: TileImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.images.fits.ROWS_AT_ONCE", rows)
    images = open_tile(unions, tile_list.find(unions, "113.280", real_tile), ["r"])
    np.testing.assert_array_equal(images.flux[0], real_images.flux[2])

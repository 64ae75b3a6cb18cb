"""A cutout of the user's own is brought to the pixels, units and bands of the survey's tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from scanner.images import fits as fits_files
from scanner.images.sky.wcs import FLAT_CENTRE
from scanner.survey import survey
from scanner.windows import cutout_file
from scanner.windows.frame import WindowFrame
from tests.support import tiny_encoder
from tests.support.images import bands_with_data

UNIONS = survey.load("unions")
MODEL = WindowFrame(*tiny_encoder.contract().frame)
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
TO_NJY = {"r": 10 ** (0.4 * 1.4), "g": 10 ** (0.4 * 4.4)}


def image(size: int = 40, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(5, 1, (size, size)).astype(np.float32)


def write(path: Path, *hdus: Any) -> Path:
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def test_hdus_named_by_band_have_the_zero_points_of_the_survey(tmp_path: Path) -> None:
    path = write(tmp_path / "c.fits", fits.ImageHDU(image(), name="R"), fits.ImageHDU(image(seed=2), name="G"))
    read = cutout_file.read(path, UNIONS, MODEL)
    assert read.bands == MODEL.bands
    assert bands_with_data(read) == "gr"
    np.testing.assert_allclose(read.flux[2], image() * TO_NJY["r"], rtol=1e-6)
    np.testing.assert_allclose(read.flux[1], image(seed=2) * TO_NJY["g"], rtol=1e-6)
    assert np.isnan(read.flux[0]).all()
    assert read.pixel_scale == MODEL.pixel_scale


def test_a_message_names_the_bands_that_have_the_zero_points_of_the_survey(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    g = fits.ImageHDU(image(), fits.Header({"BUNIT": "nJy"}), name="G")
    path = write(tmp_path / "c.fits", fits.ImageHDU(image(), name="R"), g)
    with caplog.at_level("INFO"):
        cutout_file.read(path, UNIONS, MODEL)
    assert caplog.messages == [f"{path} gives no zero points; those of survey unions are taken: r 30.0."]


@pytest.mark.parametrize(
    ("cards", "factor"),
    [
        ({"MAGZERO": 31.4}, 1.0),
        ({"BUNIT": "nJy"}, 1.0),
        ({"BUNIT": "uJy"}, 1e3),
        ({"BUNIT": "nanomaggy"}, 10 ** (0.4 * 8.9)),
        ({"BUNIT": "counts"}, TO_NJY["r"]),
        ({"BUNIT": "MJy"}, 1e15),
        ({"BUNIT": "10.0*nanoJansky"}, 10),
        ({"FLUXMAG0": 1e10}, 10 ** (0.4 * 6.4)),
        ({"BUNIT": "MJy/sr", "PIXSCALE": 0.25}, 1e15 * (0.25 / 206264.80625) ** 2),
        ({"BUNIT": "Jy/arcsec2", "CD2_1": 0.5 / 3600, "CD1_2": 0.5 / 3600, **TAN}, 1e9 * 0.5**2),
    ],
)
def test_the_header_knows_its_units_better(tmp_path: Path, cards: dict[str, Any], factor: float) -> None:
    hdu = fits.ImageHDU(image(), fits.Header(cards), name="r")
    read = cutout_file.read(write(tmp_path / "c.fits", hdu), UNIONS, MODEL)
    np.testing.assert_allclose(read.flux[2], image() * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("cards", "code"),
    [
        ({"MAGZERO": "unknown"}, "tile.unknown_unit"),
        ({"BUNIT": "mag"}, "tile.unknown_unit"),
        ({"BUNIT": "MJy/sr"}, "tile.unknown_unit"),  # of which the pixels have no known size
        ({"BUNIT": "electron/s"}, "tile.unknown_unit"),
        ({"BSOFTEN": 2.0}, "tile.unknown_unit"),
        ({"PIXSCALE": 5e-5}, "tile.unknown_unit"),  # degrees
        ({"PIXSCALE": "wide"}, "tile.unknown_unit"),
        ({"BUNIT": "nJy", "MAGZERO": 25.0}, "tile.zero_point"),
    ],
)
def test_a_header_that_cannot_be_converted_is_refused(tmp_path: Path, cards: dict[str, Any], code: str) -> None:
    error = refusal(write(tmp_path / "c.fits", fits.ImageHDU(image(), fits.Header(cards), name="r")))
    assert error.code == code
    assert all(card in error.message for card in cards)


def test_the_primary_header_speaks_for_its_extensions(tmp_path: Path) -> None:
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image(), name="r"), fits.ImageHDU(image(), name="g")]
    hdus[0].header["MAGZERO"] = 25.0
    hdus[2].header["MAGZERO"] = 31.4
    fits.HDUList(hdus).writeto(tmp_path / "c.fits")
    read = cutout_file.read(tmp_path / "c.fits", UNIONS, MODEL)
    np.testing.assert_allclose(read.flux[2], image() * 10 ** (0.4 * 6.4), rtol=1e-6)
    np.testing.assert_allclose(read.flux[1], image(), rtol=1e-6)


def test_asinh_pixels_are_expanded(tmp_path: Path) -> None:
    softening, offset = 1.7, 0.2
    stored = 2.5 * np.log10(np.e) * np.arcsinh((image() - offset) / (2 * softening))
    hdu = fits.ImageHDU(stored, fits.Header({"BSOFTEN": softening, "BOFFSET": offset}), name="i")
    read = cutout_file.read(write(tmp_path / "c.fits", hdu), UNIONS, MODEL)
    np.testing.assert_allclose(read.flux[3], image() * TO_NJY["r"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "uint8", "float64"])
def test_integers_are_counts_and_their_blank_is_no_data(tmp_path: Path, kind: str) -> None:
    data = np.round(image() * 10).astype(kind)
    hdu = fits.ImageHDU(data, name="i")
    if kind in ("int16", "int32", "uint8"):
        hdu.header["BLANK"] = int(data[3, 4])
    read = cutout_file.read(write(tmp_path / "c.fits", hdu), UNIONS, MODEL)
    right = data.astype(float) * TO_NJY["r"]
    if "BLANK" in hdu.header:
        right[data == data[3, 4]] = np.nan
    np.testing.assert_allclose(read.flux[3], right, rtol=1e-6)


@pytest.mark.parametrize("cards", [{"EXTNAME": "WGT"}, {"IMAGETYP": "invvar"}, {"EXTTYPE": "VARIANCE"}])
def test_a_plane_of_weights_is_no_image_wherever_it_stands(tmp_path: Path, cards: dict[str, str]) -> None:
    weights = fits.ImageHDU(image(seed=2), fits.Header({**cards, "BAND": "r"}))
    path = write(tmp_path / "c.fits", weights, fits.ImageHDU(image(), fits.Header({"BAND": "r"})))
    np.testing.assert_allclose(cutout_file.read(path, UNIONS, MODEL).flux[2], image() * TO_NJY["r"], rtol=1e-6)


@pytest.mark.parametrize(
    "cards", [{"BAND": "R"}, {"FILTER": "r.MP9602"}, {"FILTER": "HSC-R"}, {"FILTER": "r DECam c2"}]
)
def test_a_band_is_known_by_the_names_that_cameras_give_it(tmp_path: Path, cards: dict[str, str]) -> None:
    path = write(tmp_path / "c.fits", fits.ImageHDU(image(), fits.Header(cards)))
    assert bands_with_data(cutout_file.read(path, UNIONS, MODEL)) == "r"


def test_a_model_of_one_band_does_not_take_an_image_of_another(tmp_path: Path) -> None:
    one = WindowFrame(("g",), MODEL.window, MODEL.pixel_scale)
    plain = write(tmp_path / "a.fits", fits.ImageHDU(image(), name="SCI"))
    assert bands_with_data(cutout_file.read(plain, UNIONS, one)) == "g"
    other = write(tmp_path / "b.fits", fits.ImageHDU(image(), fits.Header({"FILTER": "r.MP9602"}), name="SCI"))
    with pytest.raises(ScannerError, match="does not say which of its images are in g"):
        cutout_file.read(other, UNIONS, one)


def test_two_images_of_a_band_are_refused(tmp_path: Path) -> None:
    twice = write(tmp_path / "a.fits", fits.ImageHDU(image(), name="r"), fits.ImageHDU(image(seed=2), name="r"))
    cube = write(tmp_path / "b.fits", fits.ImageHDU(np.stack([image()] * 3), fits.Header({"BANDS": "grr"})))
    for path in (twice, cube):
        error = refusal(path)
        assert error.code == "cutout.unknown_bands"
        assert "more than one image in band r" in error.message


def test_bands_of_different_pixels_are_refused(tmp_path: Path) -> None:
    r, g = (
        fits.ImageHDU(image(), fits.Header({"PIXSCALE": scale}), name=band) for band, scale in (("r", 0.2), ("g", 0.3))
    )
    assert refusal(write(tmp_path / "c.fits", r, g)).code == "cutout.shape_mismatch"


@pytest.mark.parametrize("cards", [{"BANDS": "gri"}, {"BANDS": "g,r,i"}, {"BAND0": "g", "BAND1": "r", "BAND2": "i"}])
def test_the_planes_of_a_cube_are_named_in_its_header(tmp_path: Path, cards: dict[str, str]) -> None:
    cube = np.stack([image(seed=seed) for seed in range(3)])
    read = cutout_file.read(write(tmp_path / "c.fits", fits.ImageHDU(cube, fits.Header(cards))), UNIONS, MODEL)
    assert bands_with_data(read) == "gri"
    np.testing.assert_allclose(read.flux[2], cube[1] * TO_NJY["r"], rtol=1e-6)


def test_gaps_are_gaps(tmp_path: Path) -> None:
    data = image()
    data[:5], data[5, 5], data[6, 6] = 0, np.nan, np.inf
    read = cutout_file.read(write(tmp_path / "c.fits", fits.ImageHDU(data, name="r")), UNIONS, MODEL)
    assert np.isnan(read.flux[2]).sum() == 5 * 40 + 2
    assert read.valid[2] == pytest.approx(1 - (5 * 40 + 2) / 1600)


@pytest.mark.parametrize(
    "cards",
    [
        {"PIXSCALE": 0.25},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.25 / 3600, "CDELT2": 0.25 / 3600},
        {"CDELT1": -0.25, "CDELT2": 0.25, "CUNIT1": "arcsec", "CUNIT2": "arcsec", **TAN},
        {"CD1_2": 0.25 / 3600, "CD2_1": 0.25 / 3600, **TAN},
        {"PIXSCALE": "0.25"},
    ],
)
def test_the_pixel_scale_is_read(tmp_path: Path, cards: dict[str, Any]) -> None:
    hdu = fits.ImageHDU(image(), fits.Header(cards), name="r")
    read = cutout_file.read(write(tmp_path / "c.fits", hdu), UNIONS, MODEL)
    assert read.pixel_scale == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("size", [39, 40])
def test_the_middle_is_at_the_centre(tmp_path: Path, size: int) -> None:
    read = cutout_file.read(write(tmp_path / "c.fits", fits.ImageHDU(image(size), name="r")), UNIONS, MODEL)
    assert read.wcs[2] is not None
    x, y = read.wcs[2].all_world2pix(*FLAT_CENTRE, 0)
    assert (round(float(x), 6), round(float(y), 6)) == ((size - 1) / 2, (size - 1) / 2)


def refusal(path: Path) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        cutout_file.read(path, UNIONS, MODEL)
    assert path.name in caught.value.message
    return caught.value


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "a.fits", fits.ImageHDU(image()))).code == "cutout.unknown_bands"
    assert "EXTNAME" in refusal(tmp_path / "a.fits").hint
    two = write(tmp_path / "b.fits", fits.ImageHDU(image(), name="r"), fits.ImageHDU(image(30), name="g"))
    assert refusal(two).code == "cutout.shape_mismatch"
    empty = write(tmp_path / "c.fits", fits.ImageHDU(image() * np.float32(np.nan), name="r"))
    assert refusal(empty).code == "cutout.no_pixels"
    (tmp_path / "d.fits").write_text("no FITS")
    assert refusal(tmp_path / "d.fits").code == "tile.not_fits"
    assert refusal(tmp_path / "e.fits").code == "tile.missing_file"


@pytest.mark.parametrize("name", ["lens_galaxy", "lens_group", "star"])
def test_real_objects_of_the_cfhtls(name: str, shipped: Path) -> None:
    path = shipped / "cutouts" / f"{name}.fits.fz"
    read = cutout_file.read(path, UNIONS, MODEL)
    assert bands_with_data(read) == "gri"
    assert read.pixel_scale == pytest.approx(0.186)
    with fits.open(path) as hdus:
        np.testing.assert_allclose(read.flux[1], hdus["G"].data * TO_NJY["r"], rtol=1e-5)  # zero point 30 in its header


@pytest.mark.shared("a cube of the Legacy Surveys as its server gives it")
def test_a_legacy_survey_cube_with_its_own_scale(shared_data: Path) -> None:
    read = cutout_file.read(shared_data / "fields" / "decals_grz" / "temp_small.fits.gz", UNIONS, MODEL)
    assert bands_with_data(read) == "grz"
    assert 0.1 < read.pixel_scale < 0.3


@pytest.mark.parametrize("cube", [False, True])
def test_a_compressed_cutout_that_lies_about_its_size_is_refused(cube: bool, tmp_path: Path) -> None:
    """Its decoder would write as many pixels as the stream says."""
    pixels = np.rint(np.stack([image()] * 3) if cube else image()).astype(np.int32)
    cards = fits.Header({"BANDS": "gri"}) if cube else None
    step = (1, 20, 40) if cube else (20, 40)
    hdu = fits.CompImageHDU(pixels, cards, name="r", compression_type="HCOMPRESS_1", tile_shape=step)
    path = write(tmp_path / "c.fits", hdu)
    flux = cutout_file.read(path, UNIONS, MODEL).flux[2]
    np.testing.assert_allclose(flux, (pixels[1] if cube else pixels) * TO_NJY["r"], rtol=1e-6)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"\xdd\x99")
    raw[at + 2 : at + 10] = b"\0\0\x10\0\0\0\x10\0"
    path.write_bytes(bytes(raw))
    assert refusal(path).code == "tile.bad_header"
    assert "of a compressed image is damaged" in refusal(path).message


def test_an_image_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its pixels are read."""
    monkeypatch.setattr(fits_files, "MAX_PIXELS", 40 * 40 - 1)
    assert refusal(write(tmp_path / "c.fits", fits.ImageHDU(image(), name="r"))).code == "tile.too_large"


def test_a_cutout_is_held_against_its_sums(tmp_path: Path) -> None:
    path = tmp_path / "c.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(), name="r")]).writeto(path, checksum=True)
    assert bands_with_data(cutout_file.read(path, UNIONS, MODEL)) == "r"
    raw = bytearray(path.read_bytes())
    raw[-4_000] ^= 1
    path.write_bytes(bytes(raw))
    assert refusal(path).code == "tile.checksum"


def test_single_zeros_of_a_rounded_cutout_are_pixels(tmp_path: Path) -> None:
    pixels = image()
    pixels[5, 5] = pixels[20:24, 20:25] = 0
    gaps = {}
    lossless: dict[str, Any] = {"compression_type": "GZIP_2", "quantize_level": 0}
    for name, compression in (("lossless", lossless), ("rounded", {"quantize_method": -1})):
        hdu = fits.CompImageHDU(pixels, name="r", **compression)
        gaps[name] = np.isnan(cutout_file.read(write(tmp_path / f"{name}.fits", hdu), UNIONS, MODEL).flux[2])
    np.testing.assert_array_equal(gaps["lossless"], pixels == 0)
    assert not gaps["rounded"][5, 5]
    assert gaps["rounded"][20:24, 20:25].all()

"""What a header says about the number of a pixel is converted to nanojansky, or refused by the name of its card."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from catalogs.sky import unions_grid
from scanner.images.flux_units import choose_zero_point, read_cards
from scanner.images.strips import read_strips
from scanner.images.tile_images import OpenTile, TileImages, open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey

PATH = Path("image.fits")
SCALE = unions_grid.PIXEL_SCALE
STERADIANS = (SCALE / 206264.80625) ** 2  # of a pixel
JY = 1e9  # nJy
AB = 3.6307805e12  # nJy of magnitude 0: 10**(-48.6 / 2.5) erg/s/cm2/Hz


def factor(cards: dict[str, Any], scale: float | None = SCALE, primary: dict[str, Any] | None = None) -> float:
    """nJy of a pixel of 1 in an image with these cards, by the survey's zero point 30 where they say nothing."""
    hdus = [fits.PrimaryHDU(header=fits.Header(primary or {})), fits.ImageHDU(header=fits.Header(cards))]
    zero_point = choose_zero_point(read_cards(hdus[1], hdus, PATH), PATH, scale, default=30.0)
    return float(10 ** (0.4 * (31.4 - zero_point)))


@pytest.mark.parametrize(
    ("unit", "right"),
    [
        ("nJy", 1),
        ("uJy", 1e3),
        ("mJy", 1e6),
        ("MJy", 1e15),
        ("Jy", JY),
        ("JY", JY),
        ("njy", 1),
        ("Jansky", JY),
        ("microJy", 1e3),
        ("\N{MICRO SIGN}Jy", 1e3),
        ("10.0*nanoJansky", 10),
        ("10^-9 Jy", 1),
        ("10**-9 Jy", 1),
        ("1e-6 Jy", 1e3),
        ("1.0E-09 Jy", 1),
        ("3.631 uJy", 3631),
        ("nmgy", AB / 1e9),
        ("nanomaggy", AB / 1e9),
        ("nanomaggies", AB / 1e9),
        ("NANOMAGGIES", AB / 1e9),
        ("maggies", AB),
        ("Mgy", AB),
        ("erg/s/cm2/Hz", 1e32),
        ("erg s-1 cm-2 Hz-1", 1e32),
        ("ERG/S/CM2/HZ", 1e32),
        ("10**(-29) erg/(s cm**2 Hz)", 1e3),
        ("W/m2/Hz", 1e35),
        ("W m-2 Hz-1", 1e35),
        ("nJy/pixel", 1),
        ("Jy/pix", JY),
        ("uJy pixel-1", 1e3),
        ("MJy/sr", 1e15 * STERADIANS),
        ("MJy sr-1", 1e15 * STERADIANS),
        ("Jy/arcsec2", JY * SCALE**2),
        ("nJy arcsec**-2", SCALE**2),
        ("nmgy/arcsec^2", AB / 1e9 * SCALE**2),
        ("flux, AB zp 25", 10 ** (0.4 * 6.4)),
        ("counts (zero point = 22.5)", 10 ** (0.4 * 8.9)),
        *(
            (text, 10**0.56)
            for text in ("", "  ", "1", "adu", "ADU", "counts", "ct", "DN", "e-", "electrons", "photons")
        ),
    ],
)
def test_a_unit_is_its_flux(unit: str, right: float) -> None:
    # A header cannot hold a micro sign.
    zero_point = choose_zero_point({"BUNIT": unit}, PATH, SCALE, default=30.0)
    assert 10 ** (0.4 * (31.4 - zero_point)) == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize(
    "unit",
    [
        *("mag", "mag(AB)", "ABmag", "AB", "STmag", "ST", "mag/arcsec2", "dex", "dB", "log10(flux)", "asinh mag"),
        *("Jy/beam", "JY/BEAM", "MJY", "MJY/SR", "mjy", "K", "Jy km/s", "nJy2", "0 Jy", "sigma", "normalised"),
        *("erg/s/cm2/Angstrom", "erg/s/cm2/A", "W/m2/um", "1e-17 erg/s/cm2/AA"),
        *("10 adu", "adu2", "1/electron", "AB mag zp 25", "flux, Vega zp 30", "electron m"),
        *("1 nmgy99999999", "10^999999 Jy", "(" * 30 + "Jy"),
    ],
)
def test_what_is_no_flux_is_refused_by_its_text(unit: str) -> None:
    for cards in ({"BUNIT": unit}, {"BUNIT": unit, "MAGZERO": 25.0}):
        with pytest.raises(ScannerError) as caught:
            factor(cards)
        assert caught.value.code == "tile.unknown_unit"
        assert str(PATH) in caught.value.message
        assert f"BUNIT is {unit!r}" in caught.value.message


def test_a_surface_brightness_needs_the_size_of_a_pixel() -> None:
    assert factor({"BUNIT": "MJy/sr"}, scale=0.5) == pytest.approx(1e15 * (0.5 / 206264.80625) ** 2)
    with pytest.raises(ScannerError, match="no pixel scale"):
        factor({"BUNIT": "MJy/sr"}, scale=None)


@pytest.mark.parametrize("unit", ["adu/s", "ELECTRONS/S", "e-/s", "cps", "DN/s", "counts/sec"])
def test_counts_a_second_need_a_zero_point_of_their_own(unit: str) -> None:
    """They are not the counts of the survey's stacks, so the survey's zero point says nothing about them."""
    assert factor({"BUNIT": unit, "MAGZERO": 26.0}) == pytest.approx(10 ** (0.4 * 5.4))
    with pytest.raises(ScannerError, match="a second without a zero point"):
        factor({"BUNIT": unit})


@pytest.mark.parametrize(
    ("cards", "zero_point"),
    [
        ({}, 30.0),
        ({"MAGZERO": 25}, 25.0),
        ({"MAGZERO": "25.0 "}, 25.0),
        ({"PHOTZP": 27.5}, 27.5),
        ({"PHOTZPT": 27.5}, 27.5),
        ({"HIERARCH MAGZEROPOINT": 27.5}, 27.5),
        ({"ZP": 0.0}, 0.0),
        ({"MZP_AB": 26.0, "MZP_VEGA": 26.1}, 26.0),
        ({"FLUXMAG0": 63095734448.0194}, 27.0),
        ({"FLUXMAG0": 63095734448.0194, "MAGZERO": 27.0, "BUNIT": "adu"}, 27.0),
        ({"BUNIT": "nanomaggy", "MAGZERO": 22.5}, 22.5),
        ({"MAGZERO": None, "BUNIT": "nJy"}, 31.4),
        ({"PHOTSYS": "AB", "MAGZPT": 25.0}, 25.0),
        ({"FPA.ZP": 25.0, "EXPTIME": 860.0}, 25 + 2.5 * math.log10(860)),
        ({"FPA.ZP": 25.0, "EXPTIME": "860.0"}, 25 + 2.5 * math.log10(860)),
        # WFC3 F160W: AB 25.946, in the handbook.
        ({"BUNIT": "ELECTRONS/S", "PHOTFLAM": 1.9275602e-20, "PHOTPLAM": 15369.176}, 25.946),
        ({"BUNIT": "ELECTRONS/S", "PHOTFNU": 1.5187624e-07}, 25.946),
        ({"PHOT_C": 26.5, "EXPTIME": 3500.0}, 30.0),
    ],
)
def test_a_zero_point_is_that_of_the_header(cards: dict[str, Any], zero_point: float) -> None:
    assert factor(cards) == pytest.approx(10 ** (0.4 * (31.4 - zero_point)), rel=1e-3)


@pytest.mark.parametrize(
    "cards",
    [
        *({"MAGZERO": value} for value in ("unknown", True, -999.0, 99.0)),
        *({"FLUXMAG0": value} for value in (0.0, -1.0, "N/A")),
        {"FPA.ZP": 25.0},
        {"FPA.ZP": 25.0, "EXPTIME": 0.0},
        {"PHOTFLAM": 1.9e-20, "PHOTPLAM": 15369.0, "BUNIT": "ELECTRONS"},
        {"PHOTFNU": 1.5e-7},
        {"PHOTSYS": "VEGA", "MAGZERO": 25.0},
    ],
)
def test_a_zero_point_that_is_none_is_refused_by_its_card(cards: dict[str, Any]) -> None:
    with pytest.raises(ScannerError) as caught:
        factor(cards)
    assert caught.value.code == "tile.unknown_unit"
    assert any(f"{card} is {value!r}" in caught.value.message for card, value in cards.items())


@pytest.mark.parametrize(
    ("cards", "both"),
    [
        ({"MAGZERO": 25.0, "PHOTZP": 26.0}, ("MAGZERO = 25.0", "PHOTZP = 26.0")),
        ({"FLUXMAG0": 63095734448.0, "ZP": 30.0}, ("FLUXMAG0 = 63095734448.0", "ZP = 30.0")),
        ({"BUNIT": "nJy", "MAGZERO": 30.0}, ("BUNIT = 'nJy'", "MAGZERO = 30.0")),
        ({"BUNIT": "flux, AB zp 30", "MAGZERO": 25.0}, ("BUNIT = 'flux, AB zp 30'", "MAGZERO = 25.0")),
        ({"FPA.ZP": 25.0, "EXPTIME": 860.0, "MAGZERO": 25.0}, ("FPA.ZP = 25.0", "MAGZERO = 25.0")),
    ],
)
def test_cards_that_contradict_each_other_are_both_named(cards: dict[str, Any], both: tuple[str, str]) -> None:
    with pytest.raises(ScannerError) as caught:
        factor(cards)
    assert caught.value.code == "tile.zero_point"
    assert all(text in caught.value.message for text in both)


def test_a_card_that_occurs_twice_must_say_one_thing() -> None:
    header = fits.Header([("MAGZERO", 25.0), ("MAGZERO", 25.0)])
    hdus = [fits.PrimaryHDU(header=header)]
    assert read_cards(hdus[0], hdus, PATH) == {"MAGZERO": 25.0}
    hdus[0].header.append(("MAGZERO", 30.0))
    with pytest.raises(ScannerError, match=r"MAGZERO = 25\.0 and MAGZERO = 30\.0"):
        read_cards(hdus[0], hdus, PATH)
    stack = [fits.PrimaryHDU(header=fits.Header([("EXPTIME", 200.0), ("EXPTIME", 240.0)]))]
    assert not read_cards(stack[0], stack, PATH)


def test_an_extension_inherits_what_it_does_not_say_itself() -> None:
    assert factor({}, primary={"MAGZERO": 25.0}) == pytest.approx(10 ** (0.4 * 6.4))
    assert factor({"BUNIT": "adu"}, primary={"FLUXMAG0": 1e10}) == pytest.approx(10 ** (0.4 * 6.4))
    assert factor({"MAGZERO": 27.0}, primary={"MAGZERO": 25.0}) == pytest.approx(10 ** (0.4 * 4.4))
    assert factor({"INHERIT": False}, primary={"MAGZERO": 25.0}) == pytest.approx(10**0.56)
    with pytest.raises(ScannerError, match="MAGZERO is 'none'"):
        factor({}, primary={"MAGZERO": "none"})


# Tiles: the survey file decides, and the header must not contradict it.


def counts(seed: int = 1) -> NDArray[np.float32]:
    """Noise and one bright star."""
    image = np.random.default_rng(seed).normal(0, 1, (90, 100)).astype(np.float32)
    y, x = np.mgrid[:90, :100]
    return image + np.float32(5e4) * np.exp(-0.5 * ((x - 50) ** 2 + (y - 40) ** 2) / 4).astype(np.float32)


def header(**cards: Any) -> fits.Header:
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"], made["CUNIT1"], made["CUNIT2"] = "RA---TAN", "DEC--TAN", "deg", "deg"
    made["CRVAL1"], made["CRVAL2"] = unions_grid.centre("217.292")
    made["CRPIX1"], made["CRPIX2"] = 50.5, 45.5
    made["CDELT1"], made["CDELT2"] = -SCALE / 3600, SCALE / 3600
    made.update(cards)
    return made


Opened = Callable[..., TileImages]


@pytest.fixture
def open_image(tmp_path: Path, unions: Survey) -> Opened:
    """Writes an image as the band of a tile and opens it: ``open_image(pixels, band, **cards)``."""

    def write(pixels: NDArray[Any], band: str = "r", hdu: type = fits.PrimaryHDU, **cards: Any) -> TileImages:
        name = {"r": "CFIS.217.292.r.fits", "i": "PSS.DR4.217.292.i.fits"}[band]
        hdus = [hdu(pixels, header(**cards))]
        if hdu is not fits.PrimaryHDU:
            hdus.insert(0, fits.PrimaryHDU())
        fits.HDUList(hdus).writeto(tmp_path / name, overwrite=True)
        return open_tile(unions, tile_list.find(unions, "217.292", tmp_path), [band])

    return write


@pytest.mark.parametrize(
    "cards",
    [
        {"MAGZERO": 30.0},
        {"MAGZERO": 30.004},
        {"PHOTZP": "30.0", "BUNIT": "ADU"},
        {"FLUXMAG0": 1e12},
        {"BUNIT": "electron/s"},
        {"BUNIT": "3.6307805 nJy"},
        {"PHOT_C": 26.5, "EXPTIME": 3500.0, "MZP_VEGA": 30.1},
    ],
)
def test_a_header_that_agrees_with_the_survey_changes_nothing(open_image: Opened, cards: dict[str, Any]) -> None:
    np.testing.assert_array_equal(open_image(counts(), **cards).flux, open_image(counts()).flux)


@pytest.mark.parametrize(
    ("cards", "text"),
    [
        ({"MAGZERO": 25.0}, "MAGZERO = 25.0"),
        ({"MAGZERO": 30.02}, "MAGZERO = 30.02"),
        ({"PHOTZP": "27.0"}, "PHOTZP = '27.0'"),
        ({"FLUXMAG0": 63095734448.0194}, "FLUXMAG0 = 63095734448.0194"),
        ({"BUNIT": "nJy"}, "BUNIT = 'nJy'"),
        ({"BUNIT": "MJy/sr"}, "BUNIT = 'MJy/sr'"),
    ],
)
def test_a_header_that_contradicts_the_survey_is_refused(open_image: Opened, cards: dict[str, Any], text: str) -> None:
    with pytest.raises(ScannerError) as caught:
        open_image(counts(), **cards)
    assert caught.value.code == "tile.zero_point"
    assert all(part in caught.value.message for part in ("CFIS.217.292.r.fits", text, "zero_point = 30.0", "band r"))
    assert "zero_point of band r in a survey file" in caught.value.hint


def test_the_primary_header_of_a_tile_counts(tmp_path: Path, unions: Survey) -> None:
    """As HSC writes its patches: FLUXMAG0 in the primary header, pixels in an extension."""
    path = tmp_path / "calexp-CFIS_217_292.fits"
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(counts(), header(), name="IMAGE")])
    hdus[0].header["FLUXMAG0"] = 63095734448.0194
    hdus.writeto(path)
    tile = tile_list.find(unions, "217.292", tmp_path)
    np.testing.assert_allclose(open_tile(unions, tile, ["g"]).flux[0], counts() * 10**1.76, rtol=1e-6)
    hdus[0].header["FLUXMAG0"] = 10 ** (0.4 * 31.4)
    hdus.writeto(path, overwrite=True)
    with pytest.raises(ScannerError, match=r"FLUXMAG0 = .*31\.400.*zero_point = 27\.0 for band g"):
        open_tile(unions, tile, ["g"])


@pytest.mark.parametrize("cards", [{"BUNIT": "mag"}, {"BUNIT": "erg/s/cm2/AA"}, {"MAGZERO": "none"}])
def test_a_tile_without_a_known_unit_is_refused(open_image: Opened, cards: dict[str, Any]) -> None:
    with pytest.raises(ScannerError) as caught:
        open_image(counts(), **cards)
    assert caught.value.code == "tile.unknown_unit"


# Pixels that are the asinh of counts.

SOFTENING, OFFSET = 2.2, 0.31
ALPHA = 1.0857362047581294  # 2.5 log10 e


def asinh(linear: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(ALPHA * np.arcsinh((linear.astype(np.float64) - OFFSET) / (2 * SOFTENING)))


ASINH = {"BSOFTEN": SOFTENING, "BOFFSET": OFFSET}


def test_asinh_pixels_are_the_counts_that_they_were(open_image: Opened) -> None:
    right = open_image(counts(), "i").flux[0]
    np.testing.assert_allclose(
        open_image(asinh(counts()).astype(np.float32), "i", **ASINH).flux[0], right, rtol=3e-6, atol=1e-5
    )
    np.testing.assert_allclose(open_image(asinh(counts()), "i", **ASINH).flux[0], right, rtol=1e-6)


def test_asinh_in_the_integers_of_a_compressed_image(open_image: Opened) -> None:
    """As Pan-STARRS writes its stacks: 16 bits with a scale, a zero and a BLANK, compressed by Rice's code."""
    step, zero, blank = 2.4155e-4, 3.6325, 32767
    stored = np.round((asinh(counts()) - zero) / step)
    assert np.abs(stored).max() < blank
    stored[:6, :7] = blank
    right = open_image(counts(), "i").flux[0]
    right[:6, :7] = np.nan
    cards = {**ASINH, "BSCALE": step, "BZERO": zero, "BLANK": blank}
    # Half a step, times the derivative of the sinh.
    near = 10**0.56 * step * np.sqrt(SOFTENING**2 * 4 + counts().astype(np.float64) ** 2) / ALPHA
    for hdu in (fits.ImageHDU, fits.CompImageHDU):
        integers = hdu(stored.astype(np.int16), header())
        integers.header.update(cards)
        flux = open_image(stored.astype(np.int16), "i", lambda pixels, _, made=integers: made).flux[0]
        np.testing.assert_array_equal(np.isnan(flux), np.isnan(right))
        assert np.nanmax(np.abs(flux - right) / near) <= 1


@pytest.mark.parametrize("before", [True, False])
def test_gaps_of_asinh_images_are_blocks_of_zeros_before_or_after(open_image: Opened, before: bool) -> None:
    linear = counts()
    linear[10:20, 30:45] = 0
    stored = asinh(linear).astype(np.float32)
    if not before:
        stored[10:20, 30:45] = 0
    stored[60, 60] = 0  # alone: a pixel of OFFSET counts
    gaps = np.isnan(open_image(stored, "r", **ASINH).flux[0])
    assert gaps[10:20, 30:45].all()
    assert gaps.sum() == 150
    assert not np.isnan(open_image(stored, "i", **ASINH).flux).any()


def test_nan_and_fillers_of_asinh_images_are_no_data(open_image: Opened) -> None:
    stored = asinh(counts()).astype(np.float32)
    stored[0, :4] = np.nan, np.inf, -np.finfo(np.float32).max, 1e31
    gaps = np.isnan(open_image(stored, "i", **ASINH).flux[0])
    assert gaps[0, :4].all()
    assert gaps.sum() == 4


def test_strips_and_regions_of_asinh_images_are_parts_of_the_whole(
    open_image: Opened, tmp_path: Path, unions: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_image(asinh(counts()).astype(np.float32), "i", **ASINH).flux[0]
    tile = tile_list.find(unions, "217.292", tmp_path)
    region = slice(20, 61), slice(33, 80)
    read = OpenTile(unions, tile).read(region).flux[unions.band_names.index("i")]
    np.testing.assert_array_equal(read, whole[region])
    monkeypatch.setattr("scanner.images.sections.MESH", 16)
    monkeypatch.setattr("scanner.images.sections.SECTION", (32, 5000))
    i = unions.band_names.index("i")
    rows = [
        strip.flux[i][strip.strip.local((strip.strip.core, slice(None)))]
        for strip in read_strips(unions, tile, lambda _: 5)
    ]
    assert len(rows) > 1
    np.testing.assert_array_equal(np.concatenate(rows), whole)


@pytest.mark.parametrize(
    ("cards", "card"),
    [
        ({"BSOFTEN": 2.0}, "BOFFSET"),
        ({"BOFFSET": 0.3}, "BSOFTEN"),
        ({"BSOFTEN": 0.0, "BOFFSET": 0.3}, "BSOFTEN"),
        ({"BSOFTEN": "x", "BOFFSET": 0.3}, "BSOFTEN"),
    ],
)
def test_incomplete_cards_of_asinh_are_refused(open_image: Opened, cards: dict[str, Any], card: str) -> None:
    with pytest.raises(ScannerError, match=card) as caught:
        open_image(counts(), "i", **cards)
    assert caught.value.code == "tile.unknown_unit"


def test_linear_counts_with_the_cards_of_asinh_are_refused(open_image: Opened) -> None:
    with pytest.raises(ScannerError, match=r"PSS\.DR4\.217\.292\.i\.fits: BSOFTEN and BOFFSET .* but one is") as caught:
        open_image(counts(), "i", **ASINH)
    assert caught.value.code == "tile.unknown_unit"


# Variances.


def variance_of(tmp_path: Path, inverse: bool, image: dict[str, Any], plane: dict[str, Any]) -> NDArray[np.float32]:
    """The variance in nJy^2 that a tile has whose plane, all of 4, has a header of these cards."""
    pixels = np.full(counts().shape, 4, np.float32)
    if inverse:  # in a file of its own, zero point 22.5
        folder, name = tmp_path, "legacysurvey-1238p245-{}-g.fits"
        fits.PrimaryHDU(counts(), header(**image)).writeto(folder / name.format("image"), overwrite=True)
        fits.PrimaryHDU(pixels, fits.Header(plane)).writeto(folder / name.format("invvar"), overwrite=True)
        plan, tile, band = survey.load("legacysurvey"), "1238p245", "g"
    else:  # zero point 27
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(counts(), header(**image), name="IMAGE"),
            fits.ImageHDU(pixels, fits.Header(plane), name="VARIANCE"),
        ]
        fits.HDUList(hdus).writeto(tmp_path / "calexp-CFIS_217_292.fits", overwrite=True)
        plan, tile, band = survey.load("unions"), "217.292", "g"
    variance = open_tile(plan, tile_list.find(plan, tile, tmp_path), [band]).variance[0]
    assert variance is not None
    return variance


@pytest.mark.parametrize(
    ("inverse", "image", "plane"),
    [
        (False, {}, {"BUNIT": "adu2"}),
        (False, {}, {"BUNIT": "variance"}),
        (False, {}, {"BUNIT": "3311.311215 nJy2"}),
        (False, {"BUNIT": "57.543994 nJy"}, {"BUNIT": "57.543994 nJy"}),  # copied from the image
        (True, {"BUNIT": "nanomaggy"}, {"BUNIT": "1/nanomaggy^2"}),
        (True, {}, {"BUNIT": "nmgy^-2"}),
        (True, {"BUNIT": "electrons"}, {"BUNIT": "electrons"}),
    ],
)
def test_a_unit_of_variances_that_fits_changes_nothing(
    tmp_path: Path, inverse: bool, image: dict[str, Any], plane: dict[str, Any]
) -> None:
    right = 10 ** (0.8 * 8.9) / 4 if inverse else 10 ** (0.8 * 4.4) * 4
    np.testing.assert_allclose(variance_of(tmp_path, inverse, image, plane), right, rtol=1e-5)


@pytest.mark.parametrize(
    ("inverse", "plane"),
    [
        (False, {"BUNIT": "nJy2"}),
        (False, {"BUNIT": "57.543994 nJy"}),  # a standard deviation
        (False, {"BUNIT": "nJy-2"}),
        (False, {"BSOFTEN": 2.0, "BOFFSET": 0.0}),
        (True, {"BUNIT": "nanomaggy^2"}),
        (True, {"BUNIT": "nJy-2"}),
    ],
)
def test_variances_that_are_something_else_are_refused(tmp_path: Path, inverse: bool, plane: dict[str, Any]) -> None:
    with pytest.raises(ScannerError) as caught:
        variance_of(tmp_path, inverse, {}, plane)
    assert caught.value.code == "tile.unknown_unit"
    file = "legacysurvey-1238p245-invvar-g.fits" if inverse else "calexp-CFIS_217_292.fits"
    assert all(part in caught.value.message for part in (file, *list(plane)[:1]))


@pytest.mark.parametrize("file", ["CFIS.113.280.r.fits.fz", "PSS.DR4.113.280.i.fits.fz", "calexp-CFIS_113_280.fits.fz"])
def test_headers_of_real_tiles_agree_with_the_survey_file(shipped: Path, file: str) -> None:
    right = 27.0 if file.startswith("calexp") else 30.0
    with fits.open(shipped / "tile" / file) as hdus:
        cards = read_cards(hdus[1], hdus, PATH)
        assert choose_zero_point(cards, PATH, SCALE, default=math.nan) == pytest.approx(right)


HEADERS = [
    ("cfhtls_gri/CFHTLS-test_g.fits.gz", 0, 30.0),
    ("hsc_gri/cutout-HSC-R-9071-s18a_wide-181211-014627.fits.gz", 1, 27.0),
    ("sn2006bh_griz_des_ps1_sdss/DES_g.fits.gz", 0, 30.0),
    ("sn2006bh_griz_des_ps1_sdss/PS1_g.fits.gz", 0, 25 + 2.5 * math.log10(860)),
    ("sn2006bh_griz_des_ps1_sdss/SDSS_g.fits.gz", 0, 22.5),
    ("legacysurvey_brick_z/legacysurvey-1238p245-image-z.fits.fz", 1, 22.5),
    ("kids_viking_ugriz/kids_viking_r.fits.fz", 1, 0.0),
]
"""Of real images: file, HDU and zero point."""


@pytest.mark.shared("headers of five surveys")
def test_headers_of_other_surveys(shared_data: Path) -> None:
    for file, hdu, zero_point in HEADERS:
        with fits.open(shared_data / "fields" / file) as hdus:
            cards = read_cards(hdus[hdu], hdus, PATH)
            assert choose_zero_point(cards, PATH, SCALE, default=math.nan) == pytest.approx(zero_point, abs=1e-5), file

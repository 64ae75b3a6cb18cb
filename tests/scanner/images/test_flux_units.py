"""What a header says about the number of a pixel is converted to nanojansky, or refused by the name of its card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from catalogs.sky import unions_grid
from scanner.images.flux_units import choose_zero_point, read_cards

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

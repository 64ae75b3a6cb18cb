"""The survey file says what the pixels of a tile are; a header that contradicts it, or a variance, is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner.images.tile_images import open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from tests.support.written_images import Opened, counts, header


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

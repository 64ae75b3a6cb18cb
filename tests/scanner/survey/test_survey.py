"""A survey is a file: what the built-in ones say, and how a file of one's own is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from scanner.survey import survey

SDSS = """
name = "sdss"
pixel_scale = 0.396
detection = ["r"]
tile = "{run:06d}-{camcol}-{field:04d}"
fields = { run = "int", camcol = "int", field = "int" }
suffixes = ["", ".bz2"]
[bands.r]
files = ["frame-r-{run:06d}-{camcol}-{field:04d}.fits"]
hdu = 0
zero_point = 22.5
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        survey.load(written(tmp_path, text))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("band", "file"),
    [
        ("u", "CFIS.217.292.u.fits"),
        ("g", "calexp-CFIS_217_292.fits"),
        ("r", "CFIS.217.292.r.fits"),
        ("r", "CFIS_LSB.217.292.r.fits.fz"),
        ("i", "PSS.DR4.217.292.i.fits"),
        ("i", "PS-DR3.217.292.i.fits"),
        ("z", "WISHES.217.292.z.fits.fz"),
    ],
)
def test_unions_file_names_tell_band_and_tile(band: str, file: str) -> None:
    assert survey.load("unions").read_file_name(file) == (band, {"x": 217, "y": 292})


def test_unions_numbers_are_padded_in_some_bands_only() -> None:
    read = survey.load("unions").read_file_name
    assert read("CFIS.001.180.u.fits") == ("u", {"x": 1, "y": 180})
    assert read("calexp-CFIS_1_180.fits") == ("g", {"x": 1, "y": 180})
    assert read("WISHES.1.180.z.fits") == ("z", {"x": 1, "y": 180})


def test_other_files_of_a_tile_are_no_images() -> None:
    read = survey.load("unions").read_file_name
    for name in ("CFIS.217.292.r.weight.fits", "CFIS.217.292.r.cat", "CFIS.217.292.r.fits.tmp", "xCFIS.217.292.r.fits"):
        assert read(name) is None


def test_counts_become_nanojansky() -> None:
    """A magnitude of 31.4 is 1 nJy, whatever the zero point of the band."""
    bands = {band.name: band for band in survey.load("unions").bands}
    assert bands["r"].to_nanojansky * 10 ** (-0.4 * (31.4 - 30)) == pytest.approx(1)
    assert bands["z"].to_nanojansky * 10 ** (-0.4 * (31.4 - 27)) == pytest.approx(1)
    assert survey.load("legacysurvey").band("z").to_nanojansky == pytest.approx(3630.78, rel=1e-5)


def test_other_surveys_are_files_only() -> None:
    assert survey.load("hsc").read_file_name("calexp-HSC-R2-9813-3,4.fits") == ("r", {"tract": 9813, "patch": "3,4"})
    assert survey.load("hsc").read_id("9813-3,4") == {"tract": 9813, "patch": "3,4"}
    found = survey.load("legacysurvey").read_file_name("legacysurvey-1238p245-image-z.fits.fz")
    assert found == ("z", {"brick": "1238p245"})
    assert survey.load("legacysurvey").read_id("1238x245") is None


def test_a_survey_of_ones_own(tmp_path: Path) -> None:
    mine = survey.load(written(tmp_path, SDSS))
    assert mine.band_names == ("r",)
    assert mine.grid is None
    read = mine.read_file_name("frame-r-002583-2-0136.fits.bz2")
    assert read == ("r", {"run": 2583, "camcol": 2, "field": 136})


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    first = survey.load(written(tmp_path, SDSS)).digest
    assert survey.load(written(tmp_path, "# a comment\n" + SDSS)).digest == first
    assert survey.load(written(tmp_path, SDSS.replace("22.5", "22.6"))).digest != first


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("pixel_scale = 0.396", ""), "pixel_scale is missing"),
        (("pixel_scale = 0.396", "pixel_scale = -1"), "pixel_scale must be a positive number"),
        (("pixel_scale = 0.396", "pixel_scale = nan"), "pixel_scale must be a positive number"),
        (("pixel_scale = 0.396", 'pixel_scale = "a"'), "pixel_scale must be a number, not 'a'"),
        (("zero_point", "zeropoint"), "bands.r.zero_point is missing"),
        (
            ("hdu = 0", "hdu = 0\nzero_is_mising = true"),
            "bands.r has the unknown key 'zero_is_mising'; is it 'zero_is_missing'",
        ),
        (("hdu = 0", "hdu = -1"), "bands.r.hdu must be HDUs: numbers from 0"),
        (("hdu = 0", "hdu = []"), "bands.r.hdu must be"),
        (("hdu = 0", "hdu = 0\nmask = { hdu = 1, bits = { BAD = 99 } }"), "bands.r.mask.bits must be"),
        (("hdu = 0", 'hdu = 0\nvariance = { hdu = 1, beside = ["a"] }'), "bands.r.variance.beside must be"),
        (
            ("hdu = 0", 'hdu = 0\nmask = { hdu = 1, beside = ["frame", "../mask"] }'),
            "bands.r.mask.beside must be parts",
        ),
        (("hdu = 0", 'hdu = 0\nvariance = { hdu = 1, beside = ["", "x"] }'), "bands.r.variance.beside must be parts"),
        (('field = "int"', 'field = "x{99999999999}"'), "fields.field must be"),
        (('detection = ["r"]', 'detection = ["q"]'), "detection must name bands of this survey, not ['q']"),
        (('"int" }', '"(" }'), "fields.field must be"),
        (("{field:04d}.fits", "{nosuch}.fits"), "bands.r.files has"),
        (("{field:04d}.fits", "{field.__class__}.fits"), "bands.r.files has"),
        (("{field:04d}.fits", "{field!r}.fits"), "bands.r.files has"),
        (("{field:04d}.fits", "{field:0999999999d}.fits"), "bands.r.files has"),
        (("frame-r", "../frame-r"), "bands.r.files must be names"),
        (('tile = "{run:06d}-', 'tile = "'), "tile must hold every one of the fields"),
        (('suffixes = ["", ".bz2"]', 'suffixes = ["", 3]'), "suffixes[1] must be a text, not 3"),
        (('name = "sdss"', 'name = "sdss"\ngrid = "healpix"'), "grid must be one of"),
        (("[bands.r]", '[bands."r/.."]'), "bands.r/.. must be letters"),
    ],
)
def test_an_error_names_the_key_that_is_wrong(tmp_path: Path, change: tuple[str, str], key: str) -> None:
    error = refusal(tmp_path, SDSS.replace(*change))
    assert error.code == "survey.bad_file"
    assert f"mine.toml: {key}" in error.message


@pytest.mark.parametrize(
    "text", ["name = ", "name = " + "[" * 200_000, "a = " + "[" * 50 + "]" * 50, "name = 'caf\udce9'"]
)
def test_a_file_that_is_no_toml(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ScannerError) as caught:
        survey.load(tmp_path / "mine.toml")
    assert caught.value.code == "survey.bad_file"
    assert "mine.toml" in caught.value.message


@pytest.mark.parametrize("name", ["sloan", "nowhere.toml", "../unions", ""])
def test_a_survey_that_is_not_there(name: str) -> None:
    with pytest.raises(ScannerError, match="urvey") as caught:
        survey.load(name)
    assert caught.value.code == "survey.missing"
    assert "unions" in caught.value.hint


def test_a_plane_in_a_file_of_its_own_is_never_the_image_itself(tmp_path: Path) -> None:
    text = SDSS.replace("hdu = 0", 'hdu = 0\nmask = { hdu = 1, beside = ["frame-", "mask-"] }')
    mask = survey.load(written(tmp_path, text)).band("r").mask
    assert mask is not None
    assert mask.name_beside("frame-r-002583-2-0136.fits") == "mask-r-002583-2-0136.fits"
    with pytest.raises(ScannerError, match="'frame-'") as caught:
        mask.name_beside("image-r-002583-2-0136.fits")
    assert caught.value.code == "tile.missing_file"


def test_an_unknown_band_is_named() -> None:
    with pytest.raises(ScannerError, match="no band 'y'") as caught:
        survey.load("unions").band("y")
    assert caught.value.code == "survey.unknown_band"
    assert "u, g, r, i, z" in caught.value.hint

"""Bad tiles: each is refused by a code that stays, with a message that names the file and a hint of what to do."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from catalogs.errors import ScannerError
from scanner.images.tile_images import open_tile
from scanner.survey import tile_list
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from tests.support.images import bands_with_data

Files = dict[str, Path]
FILES = {"g": "calexp-CFIS_113_280.fits", "r": "CFIS.113.280.r.fits", "i": "PSS.DR4.113.280.i.fits"}


@pytest.fixture
def small_tile(real_tile: Path, tmp_path: Path) -> dict[str, Path]:
    """g, r and i files of 440 x 440 real pixels (one field of the shipped tile) in UNIONS names, to be spoilt."""
    paths = {}
    for band, name in FILES.items():
        with fits.open(real_tile / name) as hdus:
            for hdu in hdus:
                if hdu.data is not None:
                    cut = WCS(hdu.header)[16:456, 472:912].to_header()
                    hdu.data = hdu.data[16:456, 472:912]
                    for card in ("CRPIX1", "CRPIX2"):
                        hdu.header[card] = cut[card]
            paths[band] = tmp_path / name
            hdus.writeto(paths[band])
    return paths


def refusal(unions: Survey, folder: Path, code: str, **options: object) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile_list.find(unions, "113.280", folder), **options)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint
    return caught.value


def outcome(unions: Survey, tile: Tile) -> str:
    """The code with which a tile is refused, "tile.opened" if it is not; anything else is raised."""
    try:
        open_tile(unions, tile)
    except ScannerError as error:
        return error.code
    return "tile.opened"


def patch_card(path: Path, card: str, value: str) -> None:
    """Change a header card in place, valid or not, as a faulty disk or program would."""
    raw = bytearray(path.read_bytes())
    at = raw.index(card.upper().ljust(8).encode() + b"=")
    raw[at : at + 80] = f"{card:<8}= {value:>20}".ljust(80).encode()
    path.write_bytes(bytes(raw))


def test_the_tile_is_good_before_it_is_spoilt(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    images = open_tile(unions, tile_list.find(unions, "113.280", tmp_path))
    assert bands_with_data(images) == "gri"
    assert images.flux.shape == (5, 440, 440)


@pytest.mark.parametrize("left", [0, 1000, 3000, 300_000, -1])
@pytest.mark.parametrize("band", ["g", "r"])
def test_truncated(left: int, band: str, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """However little is missing: astropy would only warn, and hand out what is left."""
    path = small_tile[band]
    size = path.stat().st_size
    end = size if left >= 0 else _end_of_data(path)
    os.truncate(path, left if left >= 0 else end - 1)
    error = refusal(unions, tmp_path, "tile.truncated")
    assert path.name in error.message


def _end_of_data(path: Path) -> int:
    with fits.open(path) as hdus:
        return int(hdus[-1].fileinfo()["datLoc"]) + int(hdus[-1].size)


@pytest.mark.parametrize("suffix", [".fz", ".gz"])
def test_truncated_and_compressed(suffix: str, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    image, header = fits.getdata(small_tile["r"], header=True)
    packed = small_tile["r"].with_name(small_tile["r"].name + suffix)
    if suffix == ".fz":
        fits.CompImageHDU(image, header).writeto(packed)
    else:
        fits.writeto(packed, image, header)
    os.truncate(packed, packed.stat().st_size * 2 // 3)
    tile = Tile("113.280", {"r": packed})
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile)
    assert caught.value.code == "tile.truncated"


def test_flipped_bytes_in_a_compressed_image_are_no_crash(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    image, header = fits.getdata(small_tile["r"], header=True)
    packed = small_tile["r"].with_name(small_tile["r"].name + ".fz")
    fits.CompImageHDU(image, header).writeto(packed)
    good = packed.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(30):
        raw = bytearray(good)
        for at in rng.integers(2880, len(raw), 20):
            raw[at] ^= int(rng.integers(1, 256))
        packed.write_bytes(bytes(raw))
        assert outcome(unions, Tile("113.280", {"r": packed})).startswith("tile.")


def test_missing_file(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    tile = tile_list.find(unions, "113.280", tmp_path)
    small_tile["r"].unlink()
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile)
    assert caught.value.code == "tile.missing_file"
    assert small_tile["r"].name in caught.value.message
    assert bands_with_data(open_tile(unions, tile_list.find(unions, "113.280", tmp_path))) == "gi"


def test_no_file_in_the_bands_asked_for(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    error = refusal(unions, tmp_path, "tile.missing_file", bands=["u", "z"])
    assert "g, r, i" in error.hint


def test_the_problem_of_a_line_is_raised_when_its_tile_is_opened(unions: Survey, tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile_list.find(unions, "217.999", tmp_path))
    assert caught.value.code == "tile.off_grid"


def test_not_fits(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    small_tile["r"].write_text("<html>404 Not Found</html>\n" * 500)
    refusal(unions, tmp_path, "tile.not_fits")


def test_a_folder_in_place_of_a_file(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    small_tile["r"].unlink()
    small_tile["r"].mkdir()
    refusal(unions, tmp_path, "tile.unreadable")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices have no paths here")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_not_opened(kind: str, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """Its name is in the folder, and reading it would never end."""
    small_tile["r"].unlink()
    if kind == "pipe":
        os.mkfifo(small_tile["r"])
    else:
        small_tile["r"].symlink_to("/dev/zero")
    assert str(small_tile["r"]) in refusal(unions, tmp_path, "tile.unreadable").message


def test_no_image_hdu(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.ones(3))], name="CATALOG")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(small_tile["r"], overwrite=True)
    error = refusal(unions, tmp_path, "tile.no_image_hdu")
    assert "CATALOG" in error.hint


@pytest.mark.parametrize("stands_there", ["MASK", "VARIANCE"])
def test_a_plane_that_says_it_is_another_is_not_taken_for_the_image(
    stands_there: str, small_tile: Files, tmp_path: Path, unions: Survey
) -> None:
    """Without its IMAGE, the place of it in the file is that of another plane: numbers, but no pixels of the sky."""
    with fits.open(small_tile["g"]) as hdus:
        left = [hdus[0].copy(), *(hdu.copy() for hdu in hdus[1:] if hdu.name == stands_there)]
        fits.HDUList(left).writeto(small_tile["g"], overwrite=True)
    assert stands_there in refusal(unions, tmp_path, "tile.no_image_hdu").hint


def test_a_mask_without_pixels_is_damage(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """Passed over, it would give rows of pixels that the survey says are none."""
    with fits.open(small_tile["g"]) as hdus:
        mask = fits.ImageHDU(header=hdus["MASK"].header.copy(), name="MASK")
        mask.header["NAXIS"] = 0
        fits.HDUList([hdus[0].copy(), hdus["IMAGE"].copy(), mask]).writeto(small_tile["g"], overwrite=True)
    assert "MASK" in refusal(unions, tmp_path, "tile.shape_mismatch").message


def test_a_file_without_mask_and_variance_is_its_image(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """And a plane that stands where a mask would is one only if it does not say that it is the variance."""
    with fits.open(small_tile["g"]) as hdus:
        image, variance = hdus["IMAGE"].copy(), hdus["VARIANCE"].copy()
        fits.HDUList([fits.PrimaryHDU(), image, variance]).writeto(small_tile["g"], overwrite=True)
    opened = open_tile(unions, tile_list.find(unions, "113.280", tmp_path))
    assert opened.valid[1] > 0.9
    assert opened.variance[1] is not None


def test_a_cube_is_no_image(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    fits.writeto(small_tile["r"], np.ones((3, 8, 8), np.float32), overwrite=True)
    refusal(unions, tmp_path, "tile.no_image_hdu")


def test_bands_of_different_shape(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    image, header = fits.getdata(small_tile["i"], header=True)
    fits.writeto(small_tile["i"], image[:-1], header, overwrite=True)
    error = refusal(unions, tmp_path, "tile.shape_mismatch")
    assert "440 x 439" in error.message
    assert "440 x 440" in error.message


def test_bands_of_different_pixel_scale(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    with fits.open(small_tile["i"], mode="update") as hdus:
        hdus[0].header["CD1_1"] *= 1.5
    assert '0.2275"' in refusal(unions, tmp_path, "tile.shape_mismatch").message


def test_a_mask_of_another_shape(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    with fits.open(small_tile["g"]) as hdus:
        hdus[2].data = hdus[2].data[:, :-3]
        hdus.writeto(tmp_path / "new.fits")
    (tmp_path / "new.fits").replace(small_tile["g"])
    refusal(unions, tmp_path, "tile.shape_mismatch")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_all_nan(value: float, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    with fits.open(small_tile["r"], mode="update") as hdus:
        hdus[0].data[:] = value
    tile = Tile("113.280", {"r": small_tile["r"]})
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile)
    assert caught.value.code == "tile.all_nan"
    assert bands_with_data(open_tile(unions, tile_list.find(unions, "113.280", tmp_path))) == "gi"


@pytest.mark.parametrize("card", ["CTYPE1", "CD1_1", "CRVAL2"])
def test_no_wcs(card: str, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    patch_card(small_tile["r"], card, {"CTYPE1": "'LINEAR'", "CD1_1": "0.0", "CRVAL2": "1e308"}[card])
    refusal(unions, tmp_path, "tile.no_wcs")


def test_no_wcs_at_all(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    fits.writeto(small_tile["r"], fits.getdata(small_tile["r"]), overwrite=True)
    refusal(unions, tmp_path, "tile.no_wcs")


@pytest.mark.parametrize(("order", "value"), [("A_ORDER", 1_000_000), ("BP_ORDER", 10), ("B_ORDER", "many")])
def test_a_distortion_of_absurd_order(
    order: str, value: object, small_tile: Files, tmp_path: Path, unions: Survey
) -> None:
    """Astropy would make room for all its terms, and look for each of them."""
    with fits.open(small_tile["r"], mode="update") as hdus:
        hdus[0].header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2})
        hdus[0].header.update({"AP_ORDER": 2, "BP_ORDER": 2, order: value})
    refusal(unions, tmp_path, "tile.no_wcs")


@pytest.mark.parametrize("card", ["NAXIS", "TFIELDS"])
def test_an_extension_that_counts_to_two_thousand_million(
    card: str, small_tile: Files, tmp_path: Path, unions: Survey
) -> None:
    """Astropy would make a list of so many axes before anybody could say no."""
    with fits.open(small_tile["g"]) as hdus:
        table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.zeros(3))])
        fits.HDUList([hdu.copy() for hdu in hdus] + [table]).writeto(small_tile["g"], overwrite=True)
        start = hdus[1 if card == "NAXIS" else -1].fileinfo()["hdrLoc"] + (0 if card == "NAXIS" else 2880)
    raw = bytearray(small_tile["g"].read_bytes())
    at = raw.index(card.ljust(8).encode() + b"=", start)
    raw[at : at + 80] = f"{card:<8}= {2**31 - 1:>20}".ljust(80).encode()
    small_tile["g"].write_bytes(bytes(raw))
    assert f"{card} is 2147483647" in refusal(unions, tmp_path, "tile.bad_header").message


WILD = [
    ("NAXIS1", "2000000000"),
    ("NAXIS2", "99999999999"),
    ("NAXIS1", "-5"),
    ("NAXIS1", "abc"),
    ("NAXIS", "999"),
    ("NAXIS", "2147483647"),
    ("naxis", "2147483647"),
    ("BITPIX", "17"),
    ("BITPIX", "-64"),
    ("CTYPE1", "'\x01\x02'"),
    ("CRPIX1", "'here'"),
    ("CD2_2", "NaN"),
]


@pytest.mark.parametrize(("card", "value"), WILD)
def test_wild_headers_are_refused_before_memory_is_asked_for(
    card: str, value: str, small_tile: Files, tmp_path: Path, unions: Survey
) -> None:
    patch_card(small_tile["r"], card, value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, tile_list.find(unions, "113.280", tmp_path))
    assert caught.value.code.startswith("tile.")
    assert caught.value.hint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("value", ["NaN", "'text'", "1e400"])
def test_scaling_that_is_no_number(value: str, small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    with fits.open(small_tile["r"], mode="update") as hdus:
        hdus[0].header["MAGZERO"] = 30.0
    path = small_tile["r"]
    raw = path.read_bytes()
    at = raw.index(b"MAGZERO ")
    path.write_bytes(raw[:at] + f"BZERO   = {value:>20}".ljust(80).encode() + raw[at + 80 :])
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, Tile("113.280", {"r": path}))
    assert caught.value.code in ("tile.bad_header", "tile.all_nan")


def test_an_image_too_large_to_be_one(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """A compressed file may claim any size: refused from the header."""
    image, header = fits.getdata(small_tile["r"], header=True)
    packed = small_tile["r"].with_name(small_tile["r"].name + ".fz")
    fits.CompImageHDU(image, header).writeto(packed)
    patch_card(packed, "ZNAXIS1", "2000000000")
    with pytest.raises(ScannerError) as caught:
        open_tile(unions, Tile("113.280", {"r": packed}))
    assert caught.value.code == "tile.too_large"


def test_unknown_band(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    refusal(unions, tmp_path, "survey.unknown_band", bands=["r", "q"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    small_tile["r"].chmod(0)
    refusal(unions, tmp_path, "tile.unreadable")


def test_random_damage_never_escapes_as_another_exception(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    """Header bytes overwritten at random: an error by code, or a tile that opens; never a traceback."""
    path = small_tile["g"]
    good = path.read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(60):
        raw = bytearray(good)
        for at in rng.integers(0, 2880 * 3, 8):
            raw[at] = int(rng.integers(32, 127))
        path.write_bytes(bytes(raw))
        assert outcome(unions, Tile("113.280", {"g": path})).startswith("tile.")


def test_errors_leave_no_file_open(small_tile: Files, tmp_path: Path, unions: Survey) -> None:
    patch_card(small_tile["i"], "CTYPE1", "'LINEAR'")
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("this system does not list its open files")
    before = len(list(open_files.iterdir()))
    for _ in range(5):
        refusal(unions, tmp_path, "tile.no_wcs")
    assert len(list(open_files.iterdir())) <= before

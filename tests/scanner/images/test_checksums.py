"""Images are held against the sums in their headers, where they have them; what is sound passes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from scanner.images.band import open_band
from scanner.images.checksums import check_sums
from scanner.images.fits import open_fits
from scanner.images.tile_images import OpenTile, open_tile
from scanner.scan import prepare
from scanner.scan.options import LOW, NORMAL, ScanOptions
from scanner.scan.report import TileReport
from scanner.survey import survey
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from tests.support import small_tiles, tiny_encoder

NAME = "200.292"
REAL = sorted((Path(__file__).parents[2] / "data").rglob("*.fits.fz"))


def tile(folder: Path, *, bands: str = "r", **compression: Any) -> Tile:
    """A small tile whose files have sums."""
    small_tiles.write(folder, NAME, size=300, objects=20, bands=bands)
    files = {}
    for band in bands:
        path = small_tiles.band_file(folder, NAME, band)
        with fits.open(path) as hdus:
            parts = [hdu.copy() for hdu in hdus]
        if compression:
            path = path.with_name(f"{path.name}.fz")
            packed = [fits.CompImageHDU(hdu.data, hdu.header, hdu.name, **compression) for hdu in parts]
            parts = [fits.PrimaryHDU(), *packed]
        fits.HDUList(parts).writeto(path, checksum=True, overwrite=True)
        files[band] = path
    return Tile(NAME, files)


def flip(path: Path, at: int, bit: int = 3) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << bit
    path.write_bytes(bytes(raw))


def answer(read: Tile, unions: Survey, **options: Any) -> str:
    """Why the sums of a tile are wrong; an empty text where it is read."""
    try:
        open_tile(unions, read, **options)
    except ScannerError as error:
        return f"{error.code}: {error.message}"
    return ""


def places(path: Path, number: int) -> tuple[int, int]:
    """Where the header and the data of an HDU begin."""
    with fits.open(path, disable_image_compression=True) as hdus:
        place = hdus[number].fileinfo()
        return int(place["hdrLoc"]), int(place["datLoc"])


@pytest.mark.parametrize(
    "compression",
    [{}, {"compression_type": "RICE_1"}, {"compression_type": "GZIP_2"}, {"compression_type": "HCOMPRESS_1"}],
    ids=lambda options: options.get("compression_type", "plain"),
)
def test_a_bit_of_the_data_or_of_the_header_is_missed(
    compression: dict[str, Any], tmp_path: Path, unions: Survey
) -> None:
    """A pixel that became another is still a number: only the sum tells."""
    read = tile(tmp_path, **compression)
    path, number = read.files["r"], 1 if compression else 0
    assert answer(read, unions) == ""
    header, _ = places(path, number)
    sound = path.read_bytes()

    flip(path, len(sound) - 9_001)
    message = answer(read, unions)
    assert message.startswith(f"tile.checksum: {path}, HDU {number}")
    assert "DATASUM is" in message
    if not compression:
        assert answer(read, unions, checksums=False) == ""

    path.write_bytes(sound)
    flip(path, sound.index(b".", sound.index(b"CRPIX1", header)) - 1, bit=0)  # another digit
    message = answer(read, unions)
    assert message.startswith(f"tile.checksum: {path}, HDU {number}")
    assert "CHECKSUM does not fit" in message
    assert answer(read, unions, checksums=False) == ""


def test_mask_and_variance_are_verified_too(tmp_path: Path, unions: Survey) -> None:
    read = tile(tmp_path, bands="g")
    sound = read.files["g"].read_bytes()
    for number, name in enumerate(("IMAGE", "MASK", "VARIANCE"), 1):
        read.files["g"].write_bytes(sound)
        flip(read.files["g"], places(read.files["g"], number)[1] + 4_000)
        assert f"HDU {number} ({name})" in answer(read, unions)
    # What is not read is not verified, and neither is a region: both would read the whole file for a few pixels.
    assert answer(read, unions, with_variance=False) == ""
    region = (slice(0, 20), slice(0, 20))
    flip(read.files["g"], places(read.files["g"], 1)[1] + 4_000)
    assert OpenTile(unions, read).read(region).shape == (20, 20)


def test_the_first_header_is_verified_where_it_stands_alone(tmp_path: Path, unions: Survey) -> None:
    """A zero point may stand in it."""
    read = tile(tmp_path, bands="g")
    flip(read.files["g"], read.files["g"].read_bytes().index(b"array data type"), bit=1)
    assert "HDU 0 (PRIMARY): CHECKSUM does not fit" in answer(read, unions)


def write_card(path: Path, card: str, line: str) -> None:
    raw = path.read_bytes()
    at = raw.index(card.ljust(8).encode() + b"=")
    path.write_bytes(raw[:at] + line.ljust(80).encode() + raw[at + 80 :])


@pytest.mark.parametrize("card", ["DATASUM", "CHECKSUM"])
@pytest.mark.parametrize("line", ["{card:<8}= ''", "{card:<8}= '        '", "COMMENT"])
def test_a_sum_that_is_not_known_is_none(card: str, line: str, tmp_path: Path, unions: Survey) -> None:
    """An empty text, by the standard. The other sum still counts, and CHECKSUM is that of the header before."""
    read = tile(tmp_path)
    path = read.files["r"]
    write_card(path, card, line.format(card=card))
    assert ("CHECKSUM does not fit" in answer(read, unions)) is (card == "DATASUM")
    flip(path, places(path, 0)[1] + 99)
    assert ("DATASUM is" in answer(read, unions)) is (card == "CHECKSUM")


@pytest.mark.parametrize("wrong", ["'no number'", "-5", "1.5", "99999999999"])
def test_a_sum_that_is_no_sum_is_refused(wrong: str, tmp_path: Path, unions: Survey) -> None:
    read = tile(tmp_path)
    write_card(read.files["r"], "DATASUM", f"DATASUM = {wrong:>20}")
    assert "DATASUM is" in answer(read, unions)


def test_the_sum_of_nothing_and_that_of_zeros_are_zero(tmp_path: Path) -> None:
    """And the sum of words that come to zero only as ones' complements may be written as 0 or as all ones."""
    most = 2**32 - 1
    for name, words, total in (("zeros", [0, 0], "0"), ("ones", [most] * 2, str(most)), ("both", [1, most - 1], "0")):
        path = tmp_path / f"{name}.fits"
        hdu = fits.PrimaryHDU(np.array([words], ">u4").view(">i4"))
        hdu.header["DATASUM"] = total
        hdu.writeto(path)
        with open_fits(path) as hdus:
            check_sums(hdus, hdus[0], path)


def test_a_file_that_is_compressed_as_a_whole_is_verified(tmp_path: Path, unions: Survey) -> None:
    plain = tile(tmp_path).files["r"]
    path = plain.with_name(f"{plain.name}.gz")
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert answer(Tile(NAME, {"r": path}), unions) == ""
    flip(plain, places(plain, 0)[1] + 7)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert "DATASUM is" in answer(Tile(NAME, {"r": path}), unions)


@pytest.mark.parametrize("memory", [NORMAL, LOW])
def test_a_scan_verifies_unless_it_is_told_not_to(memory: str, tmp_path: Path) -> None:
    read = tile(tmp_path)
    flip(read.files["r"], places(read.files["r"], 0)[1] + 7)
    unions, contract = survey.load("unions"), tiny_encoder.contract()
    for checksums in (True, False):
        job = prepare.ReaderJob(unions, contract, ScanOptions(memory=memory, checksums=checksums))
        last = list(prepare.prepare(job, read))[-1]
        assert isinstance(last, TileReport) is checksums
        if isinstance(last, TileReport):
            assert last.code == "tile.checksum"
            assert "--no-checksums" in last.hint
    assert ScanOptions(checksums=False).settings() == ScanOptions().settings()


def test_bands_are_not_verified_again_for_each_strip(tmp_path: Path, unions: Survey) -> None:
    """``open_band`` reads no pixels unless it is asked to."""
    from contextlib import ExitStack

    read = tile(tmp_path)
    flip(read.files["r"], places(read.files["r"], 0)[1] + 7)
    with ExitStack() as stack:
        open_band(stack, unions.band("r"), read.files["r"], with_variance=True)
        with pytest.raises(ScannerError, match="DATASUM"):
            open_band(stack, unions.band("r"), read.files["r"], with_variance=True, checksums=True)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_pass(path: Path) -> None:
    """CFHT's files have sums, and other programs than astropy wrote them."""
    with open_fits(path) as hdus:
        for hdu in hdus:
            check_sums(hdus, hdu, path)
    if "megacam" in path.parts:
        assert "DATASUM" in hdus[1]._bintable.header

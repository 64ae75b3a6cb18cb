"""A file is what its first bytes say, whatever its name; headers end where their END card stands, and are bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from scanner.images import fits as fits_files
from scanner.images.fits import errors_of, open_fits, read_plane
from scanner.images.fits_guard import MAX_CARDS, read_header

CARD, BLOCK = 80, 2880
END = b"END".ljust(CARD)
PIXELS = np.arange(600, dtype=np.int16).reshape(20, 30)


def plain() -> bytes:
    """The image in the second HDU, and two cards that the headers can do without."""
    content = io.BytesIO()
    first, second = fits.PrimaryHDU(), fits.ImageHDU(PIXELS)
    first.header["AUTHOR"] = second.header["AUTHOR"] = "nobody"
    fits.HDUList([first, second]).writeto(content)
    return content.getvalue()


def packed() -> bytes:
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(PIXELS)]).writeto(content)
    return content.getvalue()


def refusal(path: Path) -> ScannerError:
    with pytest.raises(ScannerError) as caught, open_fits(path) as hdus, errors_of(path):
        read_plane(hdus[1], path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", ["image.fits", "image.fits.fz", "image.fits.gz", "image.fits.bz2", "image"])
@pytest.mark.parametrize("packer", [None, *PACKERS])
def test_a_name_does_not_say_how_a_file_is_compressed(packer: str | None, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (plain(), packed()):
        path.write_bytes(PACKERS[packer](content) if packer else content)
        with open_fits(path) as hdus, errors_of(path):
            np.testing.assert_array_equal(read_plane(hdus[1], path), PIXELS)


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("image.fits", plain())
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("image.fits")
        entry.size = len(plain())
        archive.addfile(entry, io.BytesIO(plain()))
    return content.getvalue()


OTHERS = {
    "a zip archive": zipped(),
    "a tar archive": tarred(),
    "a web page": b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
    "a web page, perhaps": b"<HTML>Please log in",
    "an XML document": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a JSON document": b'{"error": "expired"}',
    "a file of compress": b"\x1f\x9d\x90" + bytes(100),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a Parquet file": b"PAR1" + bytes(100),
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a PDF document": b"%PDF-1.7 ",
    "not a FITS file.": b"# x y\n1 2\n",
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("packer", [None, "gzip"])
def test_what_is_no_fits_is_called_by_its_name(packer: str | None, what: str, tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    path.write_bytes(PACKERS[packer](OTHERS[what]) if packer else OTHERS[what])
    error = refusal(path)
    assert error.code == "tile.not_fits"
    assert what in error.message


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    for content in (b"", gzip.compress(b"")):
        (path := tmp_path / "image.fits").write_bytes(content)
        error = refusal(path)
        assert (error.code, "is empty" in error.message) == ("tile.truncated", True)


def test_a_compressed_file_that_is_cut_or_damaged(tmp_path: Path) -> None:
    """Also where all HDUs are whole: the sum of gzip stands behind them."""
    sound = bytearray(gzip.compress(plain()))
    for content in (sound[:-1], sound[:-5], sound[: len(sound) // 2], sound[:-8] + bytes(4) + sound[-4:]):
        (path := tmp_path / "image.fits.gz").write_bytes(content)
        assert refusal(path).code in ("tile.truncated", "tile.bad_header")


def test_what_follows_the_last_hdu_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of gzip may stand for any number of zeros."""
    monkeypatch.setattr(fits_files, "_MOST_AFTER", 10_000)
    path = tmp_path / "image.fits.gz"
    path.write_bytes(gzip.compress(plain() + bytes(BLOCK * 9_000)))
    with open_fits(path) as hdus:
        np.testing.assert_array_equal(read_plane(hdus[1], path), PIXELS)
    path.write_bytes(gzip.compress(plain() + bytes(BLOCK * 10_001)))
    assert refusal(path).code == "tile.too_large"


def test_an_image_that_says_it_is_huge_is_not_expanded(tmp_path: Path) -> None:
    raw = plain()
    at = raw.index(b"NAXIS1  =")
    raw = raw[:at] + f"NAXIS1  = {2 * 10**9:>20}".ljust(CARD).encode() + raw[at + CARD :]
    (path := tmp_path / "image.fits.gz").write_bytes(gzip.compress(raw + bytes(300_000_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(path).code == "tile.too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("content", [plain(), packed()], ids=["plain", "packed"])
@pytest.mark.parametrize("header", [0, 1])
def test_every_bit_of_an_end_card(header: int, content: bytes, tmp_path: Path) -> None:
    """With the wrong one, astropy joins two headers and takes a compressed table for an image, or data for cards.

    A bit of the blanks behind END does no harm where astropy still takes it for one.
    """
    at = content.index(END) if header == 0 else content.rindex(END)
    path, opened = tmp_path / "image.fits", 0
    for bit in range(0, 8 * 12):
        raw = bytearray(content)
        raw[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(raw))
        try:
            with open_fits(path) as hdus, errors_of(path):
                np.testing.assert_array_equal(read_plane(hdus[1], path), PIXELS)
                opened += 1
        except ScannerError as error:
            assert error.code in ("tile.bad_header", "tile.truncated"), error.message  # noqa: PT017
    assert opened < 8 * 12


@pytest.mark.parametrize("letter", [b"ENE", b"EMD", b"DND", b"END1"])
def test_a_first_header_that_goes_on_is_refused(letter: bytes, tmp_path: Path) -> None:
    raw = bytearray(packed())
    at = raw.index(END)
    raw[at : at + len(letter)] = letter
    (path := tmp_path / "image.fits.fz").write_bytes(bytes(raw))
    error = refusal(path)
    assert error.code == "tile.bad_header"
    assert "a header goes on into the next HDU: its END card is damaged" in error.message


CARDS = {
    "a text that goes on": [b"LONGTEXT= 'and so on&'", b"CONTINUE  'and so on&'"],
    "columns": [b"TFORM1  = '1PB(1)'"],
    "comments": [b"COMMENT and so on"],
    "axes": [b"NAXIS1  =                   30"],
}


@pytest.mark.parametrize("content", [plain(), packed()], ids=["plain", "packed"])
@pytest.mark.parametrize("header", [0, 1])
@pytest.mark.parametrize("kind", CARDS)
def test_headers_are_bounded(kind: str, header: int, content: bytes, tmp_path: Path) -> None:
    """The time that astropy takes for some of these grows with the square of their number."""
    first, *others = CARDS[kind]
    at = content.index(END) if header == 0 else content.rindex(END)
    added = b"".join(card.ljust(CARD) for card in (first, *(others or [first]) * MAX_CARDS))
    raw = content[:at] + added + END
    raw += b" " * (-len(raw) % BLOCK) + content[-(-(at + CARD) // BLOCK) * BLOCK :]
    (path := tmp_path / "image.fits").write_bytes(raw)
    error = refusal(path)
    assert error.code == "tile.bad_header"
    assert f"more than {MAX_CARDS} cards" in error.message


def test_a_long_header_is_read(tmp_path: Path) -> None:
    hdu = fits.PrimaryHDU(PIXELS)
    for number in range(MAX_CARDS - 100):
        hdu.header.add_history(f"image {number}")
    hdu.writeto(path := tmp_path / "image.fits")
    with open_fits(path) as hdus:
        np.testing.assert_array_equal(read_plane(hdus[0], path), PIXELS)


@pytest.mark.parametrize("after", [bytes(BLOCK), bytes(500), bytes(BLOCK * 400)])
def test_zeros_behind_the_last_hdu_are_nobody_s_business(after: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "image.fits").write_bytes(plain() + after)
    with open_fits(path) as hdus:
        np.testing.assert_array_equal(read_plane(hdus[1], path), PIXELS)


def test_a_header_is_read_up_to_its_end() -> None:
    raw = plain()
    file = io.BytesIO(raw)
    assert read_header(file) == raw[:BLOCK]
    assert read_header(file) == raw[BLOCK : 2 * BLOCK]
    assert read_header(io.BytesIO()) == b""


@pytest.mark.parametrize(
    ("card", "value"), [("GCOUNT", -1), ("PCOUNT", -(2**31)), ("NAXIS1", 2**62), ("NAXIS2", 2**62)]
)
def test_an_hdu_whose_size_is_none(card: str, value: int, tmp_path: Path) -> None:
    """The next one would lie before the file, or further away than any file goes."""
    raw = plain()
    at = raw.index(f"{card:<8}=".encode(), BLOCK)
    raw = raw[:at] + f"{card:<8}= {value:>20}".ljust(CARD).encode() + raw[at + CARD :]
    (path := tmp_path / "image.fits").write_bytes(raw)
    assert refusal(path).code == "tile.bad_header"
    assert "Errno" not in refusal(path).message
    path.with_suffix(".gz").write_bytes(gzip.compress(raw))
    assert refusal(path.with_suffix(".gz")).code in ("tile.bad_header", "tile.too_large")

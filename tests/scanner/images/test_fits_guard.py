"""Compressed images whose tables lie are refused before a decoder sees them; sound ones of every make are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner.images import fits_guard as packing
from scanner.images.fits import check_size, errors_of, find_image, open_fits, read_rows

SIDE = 64


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 10, (SIDE, SIDE)).astype(np.float32)


def packed(path: Path, pixels: NDArray[np.float32], kind: str = "RICE_1") -> Path:
    tile_shape = (16, SIDE) if kind == "HCOMPRESS_1" else (8, SIDE)
    image = np.rint(pixels) + 100 if kind == "PLIO_1" else pixels
    if kind in ("PLIO_1", "HCOMPRESS_1"):
        image = image.astype(np.int32)
    fits.CompImageHDU(image, compression_type=kind, tile_shape=tile_shape).writeto(path)
    return path


def read(path: Path) -> NDArray[np.float32]:
    with open_fits(path) as hdus, errors_of(path):
        hdu = find_image(hdus, (1,))
        assert hdu is not None
        check_size(hdu, path)
        return np.concatenate([values for _, values in read_rows(hdu)])


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"])
def test_what_is_sound_is_read(kind: str, pixels: NDArray[np.float32], tmp_path: Path) -> None:
    path = packed(tmp_path / "image.fits.fz", pixels, kind)
    np.testing.assert_array_equal(read(path), fits.getdata(path))


def test_other_tables_beside_the_image_are_nobody_s_business(pixels: NDArray[np.float32], tmp_path: Path) -> None:
    """A table of strings and of arrays, such as a catalogue or a PSF in the same file."""
    path = packed(tmp_path / "image.fits.fz", pixels)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("name", "8A", array=["a", "b"]),
            fits.Column("model", "PE()", array=np.array([np.zeros(3), np.zeros(5)], dtype=object)),
        ]
    )
    fits.append(path, table.data, table.header)
    np.testing.assert_array_equal(read(path), fits.getdata(path))


def lies(path: Path, cell: int, value: int) -> None:
    """Overwrite number ``cell`` of the table: a descriptor is how many bytes, then where they begin."""
    with fits.open(path, disable_image_compression=True) as hdus:
        at = int(hdus[1].fileinfo()["datLoc"]) + 4 * cell
    raw = bytearray(path.read_bytes())
    raw[at : at + 4] = np.array([value], ">i4").tobytes()
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2"])
@pytest.mark.parametrize(("cell", "value"), [(0, -1), (0, 2**31 - 1), (0, 1_000_000), (1, -1), (1, 2**31 - 1)])
def test_a_part_said_to_lie_outside_is_refused(
    kind: str, cell: int, value: int, pixels: NDArray[np.float32], tmp_path: Path
) -> None:
    """Read all the same, such bytes are those of somebody else, or end the process."""
    path = packed(tmp_path / "image.fits.fz", pixels, kind)
    lies(path, cell, value)
    with pytest.raises(ScannerError) as caught:
        read(path)
    assert caught.value.code == "tile.bad_header"
    assert "outside of its data" in caught.value.message


@pytest.mark.parametrize(
    ("card", "value", "said"),
    [
        ("TFIELDS", "1000000", "TFIELDS is 1000000"),
        ("TFIELDS", "T", "TFIELDS is True"),
        ("ZTILE2", "3", "compressed in 8 parts where its header needs 22"),
        ("ZTILE1", "0", "in tiles of [0, 8]"),
        ("ZNAXIS2", "128", "compressed in 8 parts where its header needs 16"),
        ("ZNAXIS1", "-64", "holds [-64, 64] px"),
        ("TFORM1", "'1ZB(9)'", "TFORM1 is '1ZB(9)'"),
        ("TFORM1", "'99QB(9)'", "do not fit into rows"),
        ("THEAP", "999999", "outside of its data"),
        ("ZVAL1", "0", "blocks of 0 px"),
        ("ZVAL1", "'x'", "blocks of x px"),
        ("ZVAL2", "1000000", "of 1000000 bytes"),
        ("ZVAL2", "-4", "of -4 bytes"),
        ("ZVAL2", "8", "of 8 bytes"),
        ("ZDITHER0", "-1000000000", "ZDITHER0 is -1000000000"),
        ("ZDITHER0", "10001", "ZDITHER0 is 10001"),
    ],
)
def test_a_header_that_contradicts_its_table_is_refused(
    card: str, value: str, said: str, pixels: NDArray[np.float32], tmp_path: Path
) -> None:
    path = packed(tmp_path / "image.fits.fz", pixels)
    raw = path.read_bytes()
    line = f"{card:<8}= {value:>20}".ljust(80).encode()
    at = raw.find(f"{card:<8}=".encode(), 2880)
    if at < 0:  # in place of a card that nobody needs
        at = raw.index(b"EXTNAME ", 2880)
    path.write_bytes(raw[:at] + line + raw[at + 80 :])
    with pytest.raises(ScannerError) as caught:
        read(path)
    assert caught.value.code == "tile.bad_header"
    assert said in caught.value.message


def test_a_table_that_is_cut_short_is_truncated(pixels: NDArray[np.float32], tmp_path: Path) -> None:
    path = packed(tmp_path / "image.fits.fz", pixels)
    with fits.open(path, disable_image_compression=True) as hdus:
        start = int(hdus[1].fileinfo()["datLoc"])
    path.write_bytes(path.read_bytes()[: start + 20])
    with pytest.raises(ScannerError) as caught:
        read(path)
    assert caught.value.code == "tile.truncated"


def test_a_parameter_is_found_where_astropy_finds_it() -> None:
    """The first of its name, among the 999 that there may be, up to a gap: else another one would be checked."""
    many = fits.Header({f"ZNAME{number}": "NOISE" for number in range(1, 999)})
    many["ZNAME999"], many["ZVAL999"] = "BYTEPIX", 8
    assert packing.setting(many, "BYTEPIX", 4) == 8
    twice = fits.Header({"ZNAME1": "bytepix", "ZVAL1": 2, "ZNAME2": "BYTEPIX", "ZVAL2": 1})
    assert packing.setting(twice, "BYTEPIX", 4) == 2
    assert packing.setting(fits.Header({"ZNAME2": "BYTEPIX", "ZVAL2": 1}), "BYTEPIX", 4) == 4

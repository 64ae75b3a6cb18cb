"""Parts of compressed images that say wrong sizes are refused before astropy decodes them; sound ones are read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner.images import streams
from scanner.images.fits import errors_of, open_fits, read_plane, read_rows
from scanner.images.streams import is_pixel_list

SHAPE, TILE = (48, 60), (16, 20)
HCOMPRESS: dict[str, Any] = {"compression_type": "HCOMPRESS_1", "tile_shape": TILE}
LISTS: dict[str, Any] = {"compression_type": "PLIO_1", "tile_shape": TILE}


def sky(kind: str = "i4") -> NDArray[Any]:
    return np.rint(np.random.default_rng(0).normal(100, 10, SHAPE)).astype(kind)


def mask() -> NDArray[np.int32]:
    return (np.indices(SHAPE).sum(axis=0) // 9 % 3 * 300).astype(np.int32)


def written(path: Path, pixels: NDArray[Any], **options: Any) -> tuple[int, list[list[int]]]:
    """Write a compressed image; where its heap begins, and for each part the number of elements and the first byte."""
    fits.CompImageHDU(pixels, **options).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        header, start = hdus[1].header, int(hdus[1].fileinfo()["datLoc"])
    cells = np.frombuffer(path.read_bytes()[start:], ">i4", header["NAXIS1"] * header["NAXIS2"] // 4)
    return start + header["NAXIS1"] * header["NAXIS2"], cells.reshape(header["NAXIS2"], -1)[:, :2].tolist()


def overwrite(path: Path, at: int, content: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + len(content)] = content
    path.write_bytes(bytes(raw))


def pixels_of(path: Path) -> NDArray[Any]:
    with open_fits(path) as hdus, errors_of(path):
        return np.concatenate([values for _, values in read_rows(hdus[1])])


def refusal(path: Path) -> str:
    """What is said of a file, which is the same whether it is read by rows, in a region, or as a whole."""
    messages = set()
    region = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    reads: tuple[Callable[[Any], Any], ...] = (
        lambda hdu: list(read_rows(hdu)),
        lambda hdu: list(read_rows(hdu, region)),
        lambda hdu: read_plane(hdu, path),
    )
    for read in reads:
        with pytest.raises(ScannerError) as caught, open_fits(path) as hdus, errors_of(path):
            read(hdus[1])
        assert caught.value.code == "tile.bad_header"
        messages.add(caught.value.message)
    assert len(messages) == 1
    return messages.pop()


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.sampled_from([0, 0.3, 30, 1e5]),
    st.sampled_from([0, 1, 4]),
    st.sampled_from(["HCOMPRESS_1", "PLIO_1", "RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS"]),
    st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
)
def test_what_astropy_writes_is_sound(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int],
    spread: float,
    scale: int,
    kind: str,
    number: str,
) -> None:
    path = tmp_path_factory.mktemp("sound") / "image.fits.fz"
    values = np.random.default_rng(1).normal(100, spread, shape).clip(0, 1e6 if kind == "PLIO_1" else None)
    if kind == "PLIO_1":  # its encoder in astropy has too little room for noise, and takes no unsigned numbers
        values, number = np.repeat(values[:, :1], shape[1], axis=1), "i4"
    elif np.dtype(number).kind != "f":
        values = values.clip(np.iinfo(number).min, np.iinfo(number).max)
    lossless = {"quantize_level": 0} if kind in ("GZIP_1", "GZIP_2", "NOCOMPRESS") and scale else {}
    hdu = fits.CompImageHDU(values.astype(number), None, "X", kind, shape, scale, **lossless)
    hdu.writeto(path)
    np.testing.assert_array_equal(pixels_of(path), fits.getdata(path))


@pytest.mark.parametrize("side", [2, 6])
@pytest.mark.parametrize("wrong", [0, 1, 15, 17, 24, 100, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_stream_of_hcompress_has_the_sides_of_its_part(side: int, wrong: int, tmp_path: Path) -> None:
    """Rows stand in bytes 2 to 5, columns in bytes 6 to 9; the decoder writes as many pixels as they say."""
    heap, parts = written(path := tmp_path / "image.fits.fz", sky(), **HCOMPRESS)
    overwrite(path, heap + parts[4][1] + side, wrong.to_bytes(4, "big"))
    assert "part 5 of 9 of a compressed image is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("at", "content"), [(0, b"\0\0"), (22, b"\xff"), (23, b"\x41"), (24, b"\xff"), (25, b"\x70"), (22, b"\x3f\x3f\x3f")]
)
def test_a_stream_of_hcompress_has_all_its_bits(at: int, content: bytes, tmp_path: Path) -> None:
    """More bit planes than there are, and codes that begin no plane: the decoder would read on behind the stream."""
    heap, parts = written(path := tmp_path / "image.fits.fz", sky(), **HCOMPRESS)
    overwrite(path, heap + parts[0][1] + at, content)
    assert "part 1 of 9 of a compressed image is damaged" in refusal(path)


@pytest.mark.parametrize("card", ["ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2"])
@pytest.mark.parametrize("kind", [HCOMPRESS, LISTS], ids=lambda kind: kind["compression_type"])
def test_sides_in_the_header_that_are_not_those_of_the_streams(card: str, kind: dict[str, Any], tmp_path: Path) -> None:
    """The number of parts stays right: only their streams tell."""
    written(path := tmp_path / "image.fits.fz", mask(), **kind)
    wrong = {"ZNAXIS1": 57, "ZNAXIS2": 46, "ZTILE1": 22, "ZTILE2": 17}[card]
    at = path.read_bytes().index(f"{card:<8}=".encode())
    overwrite(path, at, f"{card:<8}= {wrong:>20}".ljust(80).encode())
    assert "of a compressed image is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        (1, -3),  # the first instruction lies before the list
        (1, 30_000),
        (2, 30_000),  # the length, in lists of the old kind
        (3, 30_000),
        (4, 4000),  # the upper half of the length
        (8, 0x4FFF),  # a run of 4,095 pixels
        (8, -1),
        (8, 0x4000),  # a run of none: the others are too few
    ],
)
def test_a_pixel_list_is_of_its_part(word: int, wrong: int, tmp_path: Path) -> None:
    heap, parts = written(path := tmp_path / "image.fits.fz", mask(), **LISTS)
    np.testing.assert_array_equal(pixels_of(path), mask())
    overwrite(path, heap + parts[8][1] + 2 * word, (wrong % 2**16).to_bytes(2, "big"))
    assert "part 9 of 9 of a compressed image is damaged" in refusal(path)


def test_a_new_value_in_a_pixel_list_takes_two_words() -> None:
    """The second is a number, whatever instruction it looks like; without it the decoder reads behind the list."""
    header = [0, 7, -100, 0, 0, 0, 0]

    def is_list(pixels: int, *words: int) -> bool:
        content = np.array(header + list(words))
        content[3] = len(content)
        return is_pixel_list(content, pixels)

    assert is_list(10, 0x1005, 0x4003, 0x400A)
    assert is_list(10, 0x1005, 0x1001, 0x400A)
    assert is_list(10, 0x1005, 0x1001, 0x1002, 0x1003, 0x400A)
    assert is_list(13, 0x0003, 0x5004, 0x6001, 0x7001, 0x2001, 0x3001, 0x4004)
    assert not is_list(10, 0x400A, 0x1005)
    assert not is_list(10, 0x400A, 0x1005, 0x1001, 0x1001)
    assert not is_list(10, 0x1005, 0x1001, 0x4003, 0x400A)
    assert is_pixel_list(np.array([0, 0, 4, 0x400A]), 10) is False  # shorter than any header
    assert is_pixel_list(np.array([0, 0, 5, 0x4005, 0x4005]), 10)


def gzipped(path: Path, content: bytes, **options: Any) -> None:
    """An image of one row in one part, whose stream of gzip is of this content, with room for it in the heap."""
    stream = gzip.compress(content)
    column = fits.Column("COMPRESSED_DATA", "1PB()", array=np.array([np.frombuffer(stream, np.uint8)], dtype=object))
    table = fits.BinTableHDU.from_columns([column])
    cards = {"ZIMAGE": True, "ZCMPTYPE": "GZIP_1", "ZBITPIX": 32, "ZNAXIS": 2, "ZNAXIS1": 100, "ZNAXIS2": 1}
    table.header.update({**cards, "ZTILE1": 100, "ZTILE2": 1, **options})
    table.writeto(path)


def test_gzip_expands_to_the_pixels_and_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.arange(100)
    gzipped(tmp_path / "sound.fits.fz", row.astype(">i4").tobytes())
    assert pixels_of(tmp_path / "sound.fits.fz")[0].tolist() == row.tolist()
    gzipped(tmp_path / "short.fits.fz", row.astype(">i2").tobytes())  # integers may be stored narrower
    assert pixels_of(tmp_path / "short.fits.fz")[0].tolist() == row.tolist()
    gzipped(tmp_path / "bomb.fits.fz", bytes(50_000_000))
    longest: list[int] = []
    inflate = streams.inflate
    monkeypatch.setattr(streams, "inflate", lambda *given: longest.append(given[1]) or inflate(*given))
    with pytest.raises(ScannerError, match=r"part 1 of 1 of a compressed image is damaged"):
        pixels_of(tmp_path / "bomb.fits.fz")
    assert longest == [800]


@pytest.mark.parametrize("number", [">i2", ">f8", ">u1"])
def test_floats_have_their_own_size(number: str, tmp_path: Path) -> None:
    """By the number of bytes alone, they would be taken for integers, or for doubles."""
    gzipped(tmp_path / "image.fits.fz", np.ones(100, number).tobytes(), ZBITPIX=-32)
    with pytest.raises(ScannerError, match=r"part 1 of 1 of a compressed image is damaged"):
        pixels_of(tmp_path / "image.fits.fz")


@pytest.mark.parametrize("number", ["u1", "u2", "f8"])
def test_rice_that_astropy_decodes_ends_where_its_bytes_end(number: str, tmp_path: Path) -> None:
    """Its decoder looks for a bit that is set behind the stream."""
    options = {"compression_type": "RICE_1", "tile_shape": TILE}
    heap, parts = written(path := tmp_path / "image.fits.fz", sky(number), **options)
    np.testing.assert_array_equal(pixels_of(path), fits.getdata(path))
    count, first = parts[7]
    overwrite(path, heap + first + 8, bytes(count - 8))
    assert "part 8 of 9 of a compressed image is damaged" in refusal(path)


def test_only_the_parts_of_a_region_are_looked_at(tmp_path: Path) -> None:
    heap, parts = written(path := tmp_path / "image.fits.fz", sky(), **HCOMPRESS)
    overwrite(path, heap + parts[4][1] + 2, b"\xff")
    with open_fits(path) as hdus, errors_of(path):
        ((_, values),) = read_rows(hdus[1], (slice(0, 16), slice(3, 60)))
        np.testing.assert_array_equal(values, sky()[:16, 3:])
        ((_, values),) = read_rows(hdus[1], (slice(17, 30), slice(40, 60)))
        np.testing.assert_array_equal(values, sky()[17:30, 40:])
        with pytest.raises(ValueError, match="part 5 of 9"):
            list(read_rows(hdus[1], (slice(0, 17), slice(20, 21))))


def test_without_a_compiler_the_sides_of_hcompress_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_decoders", None)
    heap, parts = written(path := tmp_path / "image.fits.fz", sky(), **HCOMPRESS)
    np.testing.assert_array_equal(pixels_of(path), sky())
    overwrite(path, heap + parts[4][1] + 2, b"\x01")
    assert "part 5 of 9 of a compressed image is damaged" in refusal(path)
    written(path := tmp_path / "rice.fits.fz", sky("u2"), compression_type="RICE_1", tile_shape=TILE)
    np.testing.assert_array_equal(pixels_of(path), sky("u2"))


@pytest.mark.parametrize("name", ["COMPRESSED_DATA", "ZSCALE"])
def test_a_column_stands_once(name: str, tmp_path: Path) -> None:
    """Of two, the one that is checked need not be the one that is decoded."""
    pixels = np.random.default_rng(0).normal(0, 1, SHAPE).astype("f4")
    written(path := tmp_path / "image.fits.fz", pixels, compression_type="RICE_1")
    with fits.open(path, disable_image_compression=True) as hdus:
        number = 1 + hdus[1].columns.names.index("GZIP_COMPRESSED_DATA" if name == "COMPRESSED_DATA" else "ZZERO")
    at = path.read_bytes().index(f"TTYPE{number}".encode())
    overwrite(path, at, f"TTYPE{number}  = '{name}'".ljust(80).encode())
    assert f"several columns {name}" in refusal(path)


def test_quantised_pixels_need_a_scale_for_each_part(tmp_path: Path) -> None:
    """Without the column, astropy gives the integers."""
    pixels = np.random.default_rng(0).normal(0, 1, SHAPE).astype("f4")
    written(path := tmp_path / "image.fits.fz", pixels, compression_type="RICE_1")
    overwrite(path, path.read_bytes().index(b"'ZSCALE  '"), b"'ZSCALD  '")
    assert "no column ZSCALE" in refusal(path)


@pytest.mark.parametrize("method", [-1, 1, 2])
def test_dithered_pixels_say_how(method: int, tmp_path: Path) -> None:
    """Without ZQUANTIZ they would be taken for ones that were not, and be wrong by half a step."""
    pixels = np.random.default_rng(0).normal(0, 1, SHAPE).astype("f4")
    options = {"compression_type": "RICE_1", "quantize_method": method, "dither_seed": 5}
    written(path := tmp_path / "image.fits.fz", pixels, **options)
    np.testing.assert_array_equal(pixels_of(path), fits.getdata(path))
    if method != -1:
        overwrite(path, path.read_bytes().index(b"ZQUANTIZ="), b"COMMENT  ")
        assert "no ZQUANTIZ" in refusal(path)
        overwrite(path, path.read_bytes().index(b"COMMENT  "), b"ZQUANTIZ=")
        overwrite(path, path.read_bytes().index(b"ZDITHER0="), b"COMMENT  ")
        assert "no ZDITHER0" in refusal(path)


@pytest.mark.parametrize(("cell", "wrong"), [(0, 0.0), (0, -1.0), (0, np.nan), (0, np.inf), (1, np.nan), (1, -np.inf)])
def test_scales_and_zeros_are_numbers(cell: int, wrong: float, tmp_path: Path) -> None:
    """Of a part that was quantised; others have zeros there."""
    pixels = np.random.default_rng(0).normal(0, 1, SHAPE).astype("f4")
    pixels[7] = 3.5
    heap, parts = written(path := tmp_path / "image.fits.fz", pixels, compression_type="RICE_1")
    assert [count > 0 for count, _ in parts].count(False) == 1
    np.testing.assert_array_equal(pixels_of(path), fits.getdata(path))
    table = heap - 32 * len(parts)  # two descriptors, a scale and a zero in each row
    overwrite(path, table + 32 * 20 + 16 + 8 * cell, np.array(wrong, ">f8").tobytes())
    assert f"a part has a {('ZSCALE', 'ZZERO')[cell]} of {wrong}" in refusal(path)

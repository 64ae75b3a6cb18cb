"""Compressed planes are what astropy makes of them, and left to astropy where they are unusual or damaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner.images import compressed
from scanner.images.compressed import CompressedPlane
from scanner.images.fits import errors_of, open_fits, read_rows
from tests.support import rice

SHAPE = (70, 90)
WHOLE = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
PIECE = (slice(13, 41), slice(7, 66))


def sky(kind: str = "f4") -> NDArray[Any]:
    pixels = np.random.default_rng(0).normal(100, 10, SHAPE)
    return pixels.astype(kind) if np.dtype(kind).kind == "f" else np.rint(pixels).astype(kind)


def holed() -> NDArray[Any]:
    """With NaN: a few, a row of nothing else, and a row that is one value, which does not quantise."""
    pixels = sky()
    pixels[5, 3:9] = np.nan
    pixels[20] = np.nan
    pixels[33] = 7.25
    pixels[34] = 0
    return pixels


@contextmanager
def opened(path: Path, pixels: NDArray[Any], **options: Any) -> Iterator[Any]:
    fits.CompImageHDU(pixels, **options).writeto(path)
    with fits.open(path, memmap=False) as hdus:
        yield hdus[1]


def everything(hdu: Any) -> NDArray[Any]:
    return np.concatenate([values for _, values in read_rows(hdu)])


ROWS: dict[str, Any] = {"compression_type": "RICE_1", "tile_shape": (1, SHAPE[1])}
USUAL = {
    "dither 1": (sky(), {**ROWS, "quantize_method": 1, "dither_seed": 3}),
    "dither 2": (holed(), {**ROWS, "quantize_method": 2, "dither_seed": 9999}),
    "no dither": (sky(), {**ROWS, "quantize_method": -1}),
    "holes": (holed(), {**ROWS, "quantize_method": 1}),
    "holes, no dither": (holed(), {**ROWS, "quantize_method": -1}),
    "rows by the 32": (holed(), {**ROWS, "tile_shape": (32, SHAPE[1]), "quantize_method": 2}),
    "one part": (holed(), {**ROWS, "tile_shape": SHAPE, "quantize_method": 1}),
    "squares": (holed(), {**ROWS, "tile_shape": (32, 40), "quantize_method": 1}),
    "integers": (sky("i4"), ROWS),
    "short integers": (sky("i2"), ROWS),
    "short integers by the 32": (sky("i2"), {**ROWS, "tile_shape": (32, SHAPE[1])}),
    "integers in squares": (sky("i4"), {**ROWS, "tile_shape": (16, 16)}),
    "lossless": (holed(), {"compression_type": "GZIP_2", "quantize_level": 0, "tile_shape": (1, SHAPE[1])}),
    "lossless, by the 32": (holed(), {"compression_type": "GZIP_2", "quantize_level": 0, "tile_shape": (32, SHAPE[1])}),
    "lossless, unshuffled": (holed(), {"compression_type": "GZIP_1", "quantize_level": 0}),
    "lossless, double": (sky("f8"), {"compression_type": "GZIP_2", "quantize_level": 0}),
    "lossless integers": (sky("i4"), {"compression_type": "GZIP_2", "tile_shape": (32, 40)}),
}
OTHERS = {
    "scaled": (sky("u2"), ROWS),
    "double": (sky("f8"), ROWS),
    "bytes": (sky("u1"), ROWS),
    "large parts": (np.zeros((400, 400), np.int32), {**ROWS, "tile_shape": (400, 400)}),
    "pixel lists": (sky("i4"), {"compression_type": "PLIO_1"}),
    "wavelets": (sky("i4"), {"compression_type": "HCOMPRESS_1", "tile_shape": (16, SHAPE[1])}),
    "quantised and deflated": (sky(), {"compression_type": "GZIP_2", "tile_shape": (1, SHAPE[1])}),
}


@pytest.mark.parametrize("kind", USUAL)
def test_the_pixels_are_those_of_astropy_to_the_bit(kind: str, tmp_path: Path) -> None:
    """Where this fails for every kind, the decoders were not compiled: scans still run, but slowly."""
    pixels, options = USUAL[kind]
    with opened(tmp_path / "plane.fits.fz", pixels, **options) as hdu:
        plane = CompressedPlane.of(hdu)
        assert plane is not None
        for region in (WHOLE, PIECE):
            wanted = hdu.section[region]
            assert plane[region].dtype == wanted.dtype.newbyteorder("=")
            np.testing.assert_array_equal(plane[region], wanted)


def said(path: Path, **cards: int) -> Path:
    """Other words in the header of a compressed image."""
    with fits.open(path, disable_image_compression=True, mode="update") as hdus:
        hdus[1].header.update(cards)
    return path


def same_as_astropy(path: Path) -> NDArray[Any]:
    """The pixels of a file that is decoded here, once compared with astropy's."""
    with open_fits(path) as hdus:
        plane = CompressedPlane.of(hdus[1])
        assert plane is not None
        np.testing.assert_array_equal(everything(hdus[1]), hdus[1].section[:])
        np.testing.assert_array_equal(plane[PIECE], hdus[1].section[PIECE])
        return everything(hdus[1])


@pytest.mark.parametrize("kind", ["dither 1", "rows by the 32", "one part", "integers", "lossless, by the 32"])
def test_parts_may_be_said_to_be_wider_than_the_image(kind: str, tmp_path: Path) -> None:
    pixels, options = USUAL[kind]
    fits.CompImageHDU(pixels, **options).writeto(tmp_path / "plane.fits.fz")
    same_as_astropy(said(tmp_path / "plane.fits.fz", ZTILE1=500))


@pytest.mark.parametrize("block", [16, 32])
@pytest.mark.parametrize("width", [2, 4])
def test_blocks_of_any_length(block: int, width: int, tmp_path: Path) -> None:
    pixels = sky(f"i{width}")
    streams = [rice.encoded(row, block, width, iter(lambda: 4, None)) for row in pixels.tolist()]
    found = same_as_astropy(rice_table(tmp_path / "plane.fits.fz", streams, block, width))
    np.testing.assert_array_equal(found, pixels)


def rice_table(path: Path, streams: list[bytes], block: int = 32, width: int = 4) -> Path:
    """A compressed image of rows as streams in Rice's code."""
    cells = np.empty(len(streams), object)
    cells[:] = [np.frombuffer(stream, np.uint8) for stream in streams]
    table = fits.BinTableHDU.from_columns([fits.Column("COMPRESSED_DATA", "1PB()", array=cells)])
    cards = {
        "ZNAME1": "BLOCKSIZE",
        "ZVAL1": block,
        "ZNAME2": "BYTEPIX",
        "ZVAL2": width,
        "ZTILE1": SHAPE[1],
        "ZTILE2": 1,
    }
    image = {"ZNAXIS": 2, "ZNAXIS1": SHAPE[1], "ZNAXIS2": len(streams), "ZBITPIX": 8 * width}
    table.header.update({"ZIMAGE": True, "ZCMPTYPE": "RICE_1", **image, **cards})
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def test_zeros_stay_zeros_where_nothing_was_dithered(tmp_path: Path) -> None:
    """They may mean "no data". Where a product and a sum are rounded once, they come back as 1e-12."""
    pixels = sky() - 100
    pixels[:20, :40] = 0
    with opened(tmp_path / "plane.fits.fz", pixels, **ROWS, quantize_method=-1) as hdu:
        assert CompressedPlane.of(hdu) is not None
        assert not everything(hdu)[:20, :40].any()


def test_dithers_that_begin_before_the_first(tmp_path: Path) -> None:
    """ZDITHER0 is 1 at least, by the standard, and 0 in some files: there astropy reads in front of its numbers."""
    pixels = sky()
    fits.CompImageHDU(pixels, **ROWS, quantize_method=1, dither_seed=1).writeto(tmp_path / "plane.fits.fz")
    with open_fits(said(tmp_path / "plane.fits.fz", ZDITHER0=0)) as hdus:
        assert CompressedPlane.of(hdus[1]) is not None
        found = everything(hdus[1])
        np.testing.assert_array_equal(found[1:], hdus[1].section[1:])
        step = fits.getdata(tmp_path / "plane.fits.fz", disable_image_compression=True)["ZSCALE"][0]
        assert np.abs(found[0] - pixels[0]).max() < 1.5 * step


def test_a_stream_without_an_end_ends_no_process(tmp_path: Path) -> None:
    """A part of nothing but zeros: the usual decoder looks for a bit that is set, far behind the file's bytes."""
    row = rice.encoded([1] * SHAPE[1], 32, 4, iter(lambda: -1, None))
    path = rice_table(tmp_path / "plane.fits.fz", [*[row] * 63, b"\0\0\0\1\x08" + bytes(1_000_000)])
    program = (
        "import sys; from pathlib import Path; from scanner.images.fits import errors_of, open_fits, read_rows\n"
        "path = Path(sys.argv[1])\n"
        "with open_fits(path) as hdus, errors_of(path): list(read_rows(hdus[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "part 64 of 64 of a compressed image is damaged" in done.stderr


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_unusual_is_left_to_astropy(kind: str, tmp_path: Path) -> None:
    pixels, options = OTHERS[kind]
    with opened(tmp_path / "plane.fits.fz", pixels, **options) as hdu:
        assert CompressedPlane.of(hdu) is None
        np.testing.assert_array_equal(everything(hdu), hdu.section[:])


@pytest.mark.parametrize("kind", ["holes", "integers"])
def test_a_decoder_that_answers_otherwise_is_not_believed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, options = USUAL[kind]
    with opened(tmp_path / "plane.fits.fz", pixels, **options) as hdu:
        for wrong in (lambda *given: None, lambda data: data):  # leaves pixels as they are; takes something else
            monkeypatch.setattr(compressed, "_decoders", SimpleNamespace(rice=wrong, rice_quantised=wrong))
            assert CompressedPlane.of(hdu) is None


@pytest.mark.parametrize("kind", ["holes", "integers", "lossless"])
def test_without_a_compiler_astropy_decodes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, options = USUAL[kind]
    monkeypatch.setattr(compressed, "_decoders", None)
    with opened(tmp_path / "plane.fits.fz", pixels, **options) as hdu:
        assert CompressedPlane.of(hdu) is None
        np.testing.assert_array_equal(everything(hdu), hdu.section[:])


def heap_order(path: Path, rows: tuple[int, int]) -> None:
    """Let two rows of a plane change places in the table, so that the heap is not in its order."""
    with fits.open(path, disable_image_compression=True) as hdus:
        header, start = hdus[1].header, int(hdus[1].fileinfo()["datLoc"])
    raw = bytearray(path.read_bytes())
    first, second = (slice(start + row * header["NAXIS1"], start + (row + 1) * header["NAXIS1"]) for row in rows)
    raw[first], raw[second] = raw[second], raw[first]
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize("kind", ["integers", "lossless"])
def test_a_plane_of_which_a_later_part_is_unusual(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From there on astropy reads it, with few calls."""
    path, (pixels, options) = tmp_path / "plane.fits.fz", USUAL[kind]
    fits.CompImageHDU(np.tile(pixels, (3, 1)), **options).writeto(path)
    heap_order(path, (100, 209))
    with fits.open(path, memmap=False) as hdus:
        assert CompressedPlane.of(hdus[1]) is not None
        heights = [len(values) for _, values in read_rows(hdus[1])]
        assert heights == [32, 32, 32, 210 - 96]
        np.testing.assert_array_equal(everything(hdus[1]), hdus[1].section[:])


@pytest.mark.parametrize("place", ["table", "heap"])
@pytest.mark.parametrize("kind", ["holes", "integers", "lossless"])
def test_damaged_parts_give_no_other_pixels_than_astropy(kind: str, place: str, tmp_path: Path) -> None:
    """Whatever the bytes, the two give the same pixels, or it is an error, the same one unless a part is damaged."""
    path, random = tmp_path / "plane.fits.fz", np.random.default_rng(1)
    pixels, options = USUAL[kind]
    fits.CompImageHDU(pixels, **options).writeto(path)
    with fits.open(path, disable_image_compression=True) as hdus:
        header, start = hdus[1].header, int(hdus[1].fileinfo()["datLoc"])
    table = header["NAXIS1"] * header["NAXIS2"]
    where = (start, start + table) if place == "table" else (start + table, start + table + header["PCOUNT"])
    good, changed = path.read_bytes(), 0
    for _ in range(40):
        raw = bytearray(good)
        raw[int(random.integers(*where))] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(raw))
        ours, theirs = answer(path, everything), answer(path, lambda hdu: hdu.section[:])
        assert ours == theirs or (isinstance(ours, str) and "of a compressed image is damaged" in ours)
        changed += ours != pixels.tobytes()
    assert changed > 10


def answer(path: Path, read: Callable[[Any], NDArray[Any]]) -> bytes | str:
    """The pixels that are read, or what is said instead."""
    try:
        with open_fits(path) as hdus, errors_of(path):
            pixels = np.asarray(read(hdus[1]))
            return pixels.astype(pixels.dtype.newbyteorder("=")).tobytes()
    except ScannerError as error:
        return error.message

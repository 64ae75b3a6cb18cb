"""Checks of the parts of a compressed image before astropy decodes them.

Its decoders are C that believes a stream: one of HCOMPRESS says itself how many pixels are written, others are read
until they say that they end, and gzip expands a thousandfold. A damaged bit would overwrite memory or end the process.

Source: FITS standard 4.0, section 10.4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from scanner.images.fits_guard import RICE, SIZES, columns, setting

_decoders: ModuleType | None
try:
    from scanner.images import _decoders
except ImportError:  # installed without a compiler
    _decoders = None

MAX_PART = 2**28
"""Pixels of a part. The decoders count its bytes, eight a pixel, in 32 bits."""

GZIP_STREAM = 31
"""``wbits`` of zlib for deflated data in a gzip envelope."""

_STREAMS = {"COMPRESSED_DATA": "", "GZIP_COMPRESSED_DATA": "GZIP_1", "UNCOMPRESSED_DATA": "NOCOMPRESS"}
"""Columns that hold the parts, and how where that is not said by ZCMPTYPE; astropy uses the first that there is."""

_HCOMPRESS_HEADER = 25
_HCOMPRESS_SIDES = slice(2, 10)

_LIST_HEADER = 5
_NEW_VALUE, _RUNS, _ONE_PIXEL = 1, (0, 4, 5), (6, 7)
"""Instructions of a list of PLIO: a value of 24 bits; zeros, a run, and zeros before one pixel; a step and a pixel."""


class DamagedError(ValueError):
    """A part of an image is damaged; no other decoder should try it."""


def check_parts(hdu: Any, region: tuple[slice, ...] | None = None) -> None:
    """Refuse the parts of a ``CompImageHDU`` that astropy cannot decode within its memory.

    Only those that a ``region`` touches are read; for None all are.

    Raises:
        DamagedError: A part is damaged, or its sizes are not those of the image.
    """
    table, header = hdu._bintable, hdu._bintable.header
    place, file = table.fileinfo(), table.fileinfo()["file"]
    heap = place["datLoc"] + int(header.get("THEAP", header["NAXIS1"] * header["NAXIS2"]))
    by_name = {column.name: column for column in columns(table) if column.name in (*_STREAMS, "ZSCALE")}
    streams, *others = (name for name in _STREAMS if name in by_name)
    bits, places = int(header["ZBITPIX"]), {name: by_name[name].descriptors() for name in (streams, *others)}
    # A floating-point pixel has its own size unless it was quantised; integers may be stored wider or narrower.
    plain = (1, 2, 4, 8) if bits > 0 else (-bits // 8,)
    for number, shape in _parts(hdu.shape, hdu.tile_shape, region):
        name, kind, sizes = streams, str(header["ZCMPTYPE"]), (1, 2, 4) if "ZSCALE" in by_name else plain
        if others and places[name][0][number] == 0:
            # Where a part could not be quantised, it is in another column.
            name, kind, sizes = others[0], _STREAMS[others[0]], plain
        element, (counts, firsts) = by_name[name].element or "", places[name]
        file.seek(heap + int(firsts[number]))
        stream = file.read(int(counts[number]) * SIZES[element])
        if math.prod(shape) >= MAX_PART or not _is_sound(kind, element, stream, shape, sizes, header):
            size = " x ".join(map(str, reversed(shape)))
            message = f"part {number + 1} of {header['NAXIS2']} of a compressed image is damaged"
            raise DamagedError(f"{message}: {len(stream)} bytes are not {size} px in {kind}")


def _parts(
    shape: tuple[int, ...], step: tuple[int, ...], region: tuple[slice, ...] | None
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The number of each part that a region touches, and its shape."""
    counts = [-(-side // length) for side, length in zip(shape, step, strict=True)]
    slices = region or tuple(slice(0, side) for side in shape)
    ranges = [
        range(place.start // length, -(-place.stop // length)) for place, length in zip(slices, step, strict=True)
    ]
    for index in itertools.product(*ranges):
        sides = tuple(min(length, side - at * length) for at, length, side in zip(index, step, shape, strict=True))
        yield int(np.ravel_multi_index(index, counts)), sides


def _is_sound(
    kind: str, element: str, stream: bytes, shape: tuple[int, ...], sizes: tuple[int, ...], header: Any
) -> bool:
    """Whether a stream holds the pixels of a part [...], each of one of ``sizes`` bytes, and nothing more."""
    pixels = math.prod(shape)
    if kind in ("GZIP_1", "GZIP_2"):
        content = inflate(stream, max(sizes) * pixels)
        return content is not None and len(content) in [size * pixels for size in sizes]
    if kind == "NOCOMPRESS":
        return len(stream) in [size * pixels for size in sizes]
    if kind == "PLIO_1":
        return element == "I" and is_pixel_list(np.frombuffer(stream, ">i2").astype(np.int64), pixels)
    if kind == "HCOMPRESS_1":
        sides = [side for side in shape if side != 1]
        return element == "B" and len(sides) == 2 and _is_hcompressed(stream, *sides)
    if kind not in RICE or element != "B":
        return False
    if _decoders is None:
        return True
    block, width = setting(header, "BLOCKSIZE", 32), setting(header, "BYTEPIX", 4)
    place = np.array([(len(stream), 0)], np.int64)
    return bool(stream) and _decoders.rice(stream, place, pixels, block, width, np.empty(pixels, np.int32)) is None


def inflate(stream: bytes, limit: int) -> bytes | None:
    """The content of one stream of gzip; None where that is more than ``limit`` bytes, or damaged, or not all."""
    inflater = zlib_ng.decompressobj(GZIP_STREAM)
    try:
        content: bytes = inflater.decompress(stream, limit + 1)
    except zlib_ng.error:  # type: ignore[misc]  # its stub makes an instance of the class
        return None
    return content if len(content) <= limit and inflater.eof and not inflater.unused_data else None


def _is_hcompressed(stream: bytes, high: int, wide: int) -> bool:
    if _decoders is not None:
        return bool(_decoders.is_hcompressed(stream, high, wide))
    # Without a compiler at least the sizes that the decoder would write are known to be right.
    sides = np.frombuffer(stream[_HCOMPRESS_SIDES], ">i4").tolist()
    return len(stream) >= _HCOMPRESS_HEADER and sides == [high, wide]


def is_pixel_list(words: NDArray[np.int64], pixels: int) -> bool:
    """Whether words [N] are a list of PLIO for so many pixels: instructions of four bits and a number of twelve."""
    if len(words) < _LIST_HEADER:
        return False
    # In older lists the third word is the length and the fourth the first instruction.
    length, first = (words[2], 3) if words[2] > 0 else (words[3] + (words[4] << 15), words[1])
    if not 3 <= first <= length <= len(words):
        return False
    code, number = words[first:length] >> 12, words[first:length] & 0xFFF
    if (code < 0).any():
        return False
    # A new value takes two words. Of words in a row that could begin one, the second of each two is its other half.
    at, begins = np.arange(len(code)), code == _NEW_VALUE
    begins = (at - np.maximum.accumulate(np.where(begins, -1, at))) % 2 == 1
    if begins[-1:].any():
        return False
    is_instruction = np.ones(len(code), bool)
    is_instruction[1:] = ~begins[:-1]
    runs, single = np.isin(code, _RUNS) & is_instruction, np.isin(code, _ONE_PIXEL) & is_instruction
    return int(number[runs].sum() + np.count_nonzero(single)) == pixels

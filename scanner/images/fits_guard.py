"""Checks of FITS headers, before astropy allocates what they ask for and before a decoder trusts their tables.

A descriptor that points beyond the table's heap would be read all the same and end the process; an image of two
thousand million axes, a table of a million columns, or a text of as many cards, would take all time and memory. Terms
are those of the standard.

Source: FITS standard 4.0, sections 4.4.1, 7.3.5 and 10.1.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

MAX_COUNT = 999
"""The largest number of axes of an image, and of columns of a table."""

RICE = ("RICE_1", "RICE_ONE")
DITHERS = 10_000
"""Number of random numbers for dithering; ZDITHER0 counts the first one from 1."""

_CARD, _BLOCK = 80, 2880
MAX_CARDS = 280 * (_BLOCK // _CARD)
"""Cards of a header. The time that astropy takes for some grows with the square of their number, to about a second."""

_COUNTS = re.compile(rb"(?:HIERARCH +)?(NAXIS|TFIELDS) *= *\+?(\d+)", re.IGNORECASE)
_END = re.compile(rb"END[^A-Z0-9_-]")
_FIRST_CARDS = (b"SIMPLE  ", b"XTENSION")
SIZES = dict(zip("LXBIJKAEDCMPQ", (1, 1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FORMAT = re.compile(r"(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_DESCRIPTORS = {"P": ">i4", "Q": ">i8"}


def read_header(file: Any) -> bytes:
    """The blocks of the header at which an open file stands; none at the end of the file.

    Raises:
        ValueError: NAXIS or TFIELDS is larger than the standard allows, the header has more than ``MAX_CARDS`` cards,
            or it goes on into that of the next HDU.
    """
    header = bytearray()
    while block := file.read(_BLOCK):
        if header and block.startswith(_FIRST_CARDS):
            raise ValueError("a header goes on into the next HDU: its END card is damaged")
        header += block
        if not header.strip(b"\0"):  # nothing but zeros follows the last HDU
            break
        for count in _COUNTS.finditer(block):
            if count.start() % _CARD == 0 and int(count[2][:20]) > MAX_COUNT:
                raise ValueError(f"{count[1].decode()} is {count[2][:20].decode()}")
        if len(header) > MAX_CARDS * _CARD:
            raise ValueError(f"a header has more than {MAX_CARDS} cards")
        if any(_END.match(block, at) for at in range(0, len(block), _CARD)):
            break
    return bytes(header)


def checked_hdus(hdus: fits.HDUList, file: Any) -> Iterator[Any]:
    """The HDUs of an open ``file``, each only after its header was checked: astropy loads them one by one.

    Of ``hdus``, only the first was loaded so far.

    Raises:
        ValueError: As ``read_header``.
    """
    start = 0
    for number in itertools.count():
        file.seek(start)
        end = start + len(read_header(file))
        try:
            hdu = hdus[number]
        except IndexError:
            return
        place = hdu.fileinfo()
        if place["datLoc"] != end:  # astropy has two readers of headers, and one of them takes an END card for a text
            raise ValueError("a header goes on into the next HDU: its END card is damaged")
        if hdu.size < 0:
            raise ValueError(f"HDU {number} says it holds {hdu.size} bytes")
        yield hdu
        start = end + place["datSpan"]


def check_tables(tables: fits.HDUList, file: Any, limit: int) -> bool:
    """Check every header of a file, and every table that holds a compressed image; whether there are such images.

    ``tables``: the open ``file`` with ``disable_image_compression``, of which only the first HDU was loaded so far. An
    image of more than ``limit`` pixels will not be decoded, and so its table is not checked.

    Raises:
        ValueError: A header counts too much, or a table cannot hold its image.
        EOFError: The file ends within a table.
    """
    compressed = False
    for hdu in checked_hdus(tables, file):
        if isinstance(hdu, fits.BinTableHDU) and "ZIMAGE" in hdu.header:
            compressed = True
            _check_table(hdu, limit)
    return compressed


def _check_table(table: Any, limit: int) -> None:
    header = table.header
    _whole_number(header, "TFIELDS")
    width, rows = _whole_number(header, "NAXIS1"), _whole_number(header, "NAXIS2")

    # As many parts as the image's size needs, one in a row of the table.
    axes = range(1, min(_whole_number(header, "ZNAXIS"), MAX_COUNT) + 1)
    sides = [_whole_number(header, f"ZNAXIS{axis}") for axis in axes]
    steps = [_whole_number(header, f"ZTILE{axis}") if f"ZTILE{axis}" in header else 0 for axis in axes]
    if not any(steps):
        steps = [*sides[:1], *[1] * (len(sides) - 1)]  # the standard's default: rows of the image
    if min([*sides, *steps], default=0) < 1:
        raise ValueError(f"it says it holds {sides} px in tiles of {steps}")
    if math.prod(sides) > limit:
        return
    if (parts := math.prod(-(-side // step) for side, step in zip(sides, steps, strict=True))) != rows:
        raise ValueError(f"it is compressed in {rows} parts where its header needs {parts}")
    its_columns = columns(table)
    _check_decoding(header, [column.name for column in its_columns])

    by_name = {column.name: column for column in its_columns}
    if "ZSCALE" in by_name:
        _check_scales(by_name)

    # Every descriptor must point within the heap, whose size is what is left of PCOUNT after a gap.
    end_of_rows = width * rows
    start = _whole_number(header, "THEAP") if "THEAP" in header else end_of_rows
    heap = end_of_rows + _whole_number(header, "PCOUNT") - start
    for column in its_columns:
        if column.element is None:
            continue
        size, (count, first) = SIZES[column.element], column.descriptors()
        # A division, so that a product of count and size cannot overflow.
        within = (count > 0) & (first >= 0) & (first <= heap) & (count <= (heap - first) // size)
        if not ((count == 0) | within).all():
            raise ValueError("it has parts outside of its data")


def _check_scales(by_name: dict[str, Column]) -> None:
    """Refuse quantised parts whose scale or zero is none: whatever their bytes, their pixels would be wrong."""
    used = by_name["COMPRESSED_DATA"].descriptors()[0] > 0
    for name, least in (("ZSCALE", 0.0), ("ZZERO", -math.inf)):
        column = by_name[name]
        values = np.ascontiguousarray(column.cells).view({"D": ">f8", "E": ">f4"}[column.letter])[used, 0]
        if not (np.isfinite(values) & (values > least)).all():
            raise ValueError(f"a part has a {name} of {values[~(np.isfinite(values) & (values > least))][0]}")


def _check_decoding(header: Any, names: list[str]) -> None:
    """Refuse settings that the decoders, which are C, use as sizes or places in memory, and pixels they would take for
    others. ``names`` are those of the columns."""
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"it has several columns {', '.join(sorted(repeated))}")
    is_integer = str(header["ZCMPTYPE"]) in (*RICE, "PLIO_1", "HCOMPRESS_1")
    if "ZSCALE" in header or (is_integer and header["ZBITPIX"] < 0 and "ZSCALE" not in names):
        raise ValueError("its pixels are quantised, but it has no column ZSCALE")
    if "NULL_PIXEL_MASK" in names:
        raise ValueError("its pixels without data are in a column NULL_PIXEL_MASK, which is not read")
    if not 0 <= header.get("ZDITHER0", 0) <= DITHERS:
        raise ValueError(f"ZDITHER0 is {header['ZDITHER0']}")
    is_dithered = str(header.get("ZQUANTIZ", "")).startswith("SUBTRACTIVE")
    if "ZSCALE" in names and "ZDITHER0" in header and "ZQUANTIZ" not in header:
        raise ValueError("its pixels were dithered (ZDITHER0), but it does not say how: it has no ZQUANTIZ")
    if "ZSCALE" in names and is_dithered and "ZDITHER0" not in header:
        raise ValueError(f"its pixels were dithered by {header['ZQUANTIZ']}, but it has no ZDITHER0")
    if str(header["ZCMPTYPE"]) in RICE:
        block, size = setting(header, "BLOCKSIZE", 32), setting(header, "BYTEPIX", 4)
        if size not in (1, 2, 4) or not (isinstance(block, int) and 0 < block < MAX_COUNT):
            raise ValueError(f"it has blocks of {block} px of {size} bytes")


def setting(header: Any, name: str, default: Any) -> Any:
    """The value of a parameter of the compression: ZVALn where ZNAMEn is its name."""
    for number in range(1, MAX_COUNT + 1):
        if f"ZNAME{number}" not in header:
            break
        if str(header[f"ZNAME{number}"]).upper() == name:
            return header[f"ZVAL{number}"]
    return default


@dataclass(frozen=True)
class Column:
    """A column of a binary table: its ``cells``, bytes [rows, width], of values of type ``letter``.

    Where those are descriptors of arrays, ``element`` is the type of what the arrays hold.
    """

    name: str
    letter: str
    element: str | None
    cells: NDArray[np.uint8]

    def descriptors(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of elements of each array and its first byte in the heap, [rows] each."""
        pairs = np.ascontiguousarray(self.cells).view(_DESCRIPTORS[self.letter]).astype(np.int64)
        return pairs[:, 0], pairs[:, 1]


def columns(table: Any) -> list[Column]:
    """The columns of a binary table; those without a name are called by their numbers. The heap is not read.

    Raises:
        ValueError: The columns do not fit into the rows.
        EOFError: The file ends within the table.
    """
    header, place = table.header, table.fileinfo()
    width, rows = _whole_number(header, "NAXIS1"), _whole_number(header, "NAXIS2")
    place["file"].seek(place["datLoc"])
    content = place["file"].read(width * rows)
    if len(content) < width * rows:
        raise EOFError("its table is incomplete")
    cells, at, result = np.frombuffer(content, np.uint8).reshape(rows, width), 0, list[Column]()
    for number in range(1, header["TFIELDS"] + 1):
        form = _FORMAT.match(str(header[f"TFORM{number}"]).strip())
        if form is None:
            raise ValueError(f"TFORM{number} is {header[f'TFORM{number}']!r}")
        repeat, letter, element = form.groups()
        size = SIZES[letter] * int(repeat or 1)
        size = -(-size // 8) if letter == "X" else size  # bits
        if at + size > width:
            raise ValueError(f"its columns do not fit into rows of {width} bytes")
        name = str(header.get(f"TTYPE{number}", number))
        is_array = letter in _DESCRIPTORS and size > 0
        result.append(Column(name, letter, (element or "B") if is_array else None, cells[:, at : at + size]))
        at += size
    return result


def _whole_number(header: Any, card: str) -> int:
    value = header[card]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{card} is {value!r}")
    return value

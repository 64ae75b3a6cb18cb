"""FITS files looked at before astropy builds what their headers ask for, and before a decoder believes their tables.

A descriptor that points past the table's heap is read there all the same and ends the process; an image of two
thousand million axes, or a table of a million columns, takes astropy's time and memory for ever. Terms are those of the
FITS standard 4.0, sections 4.4.1, 7.3.5 and 10.1.
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

MOST = 999
"""The most axes that an image may have, and columns a table."""

RICE = ("RICE_1", "RICE_ONE")
DITHERS = 10_000
"""Random numbers that there are to dither with; ZDITHER0 is the first one's."""

_CARD, _BLOCK = 80, 2880
_COUNTS = re.compile(rb"(?:HIERARCH +)?(NAXIS|TFIELDS) *= *\+?(\d+)", re.IGNORECASE)
_SIZES = dict(zip("LXBIJKAEDCMPQ", (1, 1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FORMAT = re.compile(r"(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_DESCRIPTORS = {"P": ">i4", "Q": ">i8"}


def check_counts(file: Any, start: int) -> None:
    """Refuse the header at byte ``start`` of an open file where it counts more than there can be: ``ValueError``."""
    file.seek(start)
    block = b"-"
    while block and not any(block[at : at + 8] == b"END     " for at in range(0, _BLOCK, _CARD)):
        block = file.read(_BLOCK)
        for found in _COUNTS.finditer(block):
            if found.start() % _CARD == 0 and int(found[2][:20]) > MOST:
                raise ValueError(f"{found[1].decode()} is {found[2][:20].decode()}")


def check(tables: fits.HDUList, limit: int) -> bool:
    """Whether there are compressed images. Refuses HDUs that count too much, and tables that cannot hold such an image:
    ``ValueError``, or ``EOFError`` where the file ends.

    ``tables``: a file opened with ``disable_image_compression``, of which only the first HDU was loaded so far. An
    image of more than ``limit`` pixels is nobody's to decode, and left to be refused as such.
    """
    compressed = False
    for hdu in _each(tables):
        if isinstance(hdu, fits.BinTableHDU) and "ZIMAGE" in hdu.header:
            compressed = True
            _check(hdu, limit)
        place = hdu.fileinfo()
        if (end := place["datLoc"] + place["datSpan"]) < place["file"].size:
            check_counts(place["file"], end)
    return compressed


def _each(tables: fits.HDUList) -> Iterator[Any]:
    """HDUs, of which the next one is not looked at before it is asked for."""
    for number in itertools.count():
        try:
            hdu = tables[number]
        except IndexError:
            return
        yield hdu


def _check(table: Any, limit: int) -> None:
    header = table.header
    _whole(header, "TFIELDS")
    width, rows = _whole(header, "NAXIS1"), _whole(header, "NAXIS2")
    axes = range(1, min(_whole(header, "ZNAXIS"), MOST) + 1)
    sides = [_whole(header, f"ZNAXIS{axis}") for axis in axes]
    steps = [_whole(header, f"ZTILE{axis}") if f"ZTILE{axis}" in header else 0 for axis in axes]
    if not any(steps):
        steps = [*sides[:1], *[1] * (len(sides) - 1)]  # rows, where nothing is said
    if min([*sides, *steps], default=0) < 1:
        raise ValueError(f"it says it holds {sides} px in tiles of {steps}")
    if math.prod(sides) > limit:
        return
    if (parts := math.prod(-(-side // step) for side, step in zip(sides, steps, strict=True))) != rows:
        raise ValueError(f"it is compressed in {rows} parts where its header needs {parts}")
    _check_decoding(header)
    heap = width * rows + _whole(header, "PCOUNT") - (_whole(header, "THEAP") if "THEAP" in header else width * rows)
    for column in columns(table):
        if column.element is None:
            continue
        size, (count, start) = _SIZES[column.element], column.descriptors()
        if not (
            (count == 0) | ((count > 0) & (start >= 0) & (start <= heap) & (count <= (heap - start) // size))
        ).all():
            raise ValueError("parts of it are said to lie outside of its data")


def _check_decoding(header: Any) -> None:
    """Refuse what the decoders, which are C, would take for a size or a place in memory: ``ValueError``."""
    if not 0 <= header.get("ZDITHER0", 0) <= DITHERS:
        raise ValueError(f"ZDITHER0 is {header['ZDITHER0']}")
    if str(header["ZCMPTYPE"]) in RICE:
        block, size = setting(header, "BLOCKSIZE", 32), setting(header, "BYTEPIX", 4)
        if size not in (1, 2, 4) or not (isinstance(block, int) and 0 < block < MOST):
            raise ValueError(f"it has blocks of {block} px of {size} bytes")


def setting(header: Any, name: str, default: Any) -> Any:
    """The value of an algorithm's parameter: ZVALn where ZNAMEn is its name."""
    for number in range(1, MOST + 1):
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
        """How many elements each array has, and at which byte of the heap they begin, [rows] each."""
        pairs = np.ascontiguousarray(self.cells).view(_DESCRIPTORS[self.letter]).astype(np.int64)
        return pairs[:, 0], pairs[:, 1]


def columns(table: Any) -> list[Column]:
    """The columns of a binary table; those without a name are called by their numbers. The heap is not read.

    Raises ``ValueError`` where they do not fit into its rows, ``EOFError`` where the file ends.
    """
    header, place = table.header, table.fileinfo()
    width, rows = _whole(header, "NAXIS1"), _whole(header, "NAXIS2")
    place["file"].seek(place["datLoc"])
    content = place["file"].read(width * rows)
    if len(content) < width * rows:
        raise EOFError("its table is not whole")
    cells, at, found = np.frombuffer(content, np.uint8).reshape(rows, width), 0, list[Column]()
    for number in range(1, header["TFIELDS"] + 1):
        form = _FORMAT.match(str(header[f"TFORM{number}"]).strip())
        if form is None:
            raise ValueError(f"TFORM{number} is {header[f'TFORM{number}']!r}")
        repeat, letter, element = form.groups()
        size = _SIZES[letter] * int(repeat or 1)
        if at + size > width:
            raise ValueError(f"its columns do not fit into rows of {width} bytes")
        name = str(header.get(f"TTYPE{number}", number))
        arrays = letter in _DESCRIPTORS and size > 0
        found.append(Column(name, letter, (element or "B") if arrays else None, cells[:, at : at + size]))
        at += size
    return found


def _whole(header: Any, card: str) -> int:
    """The value of a card that must be a whole number."""
    value = header[card]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{card} is {value!r}")
    return value

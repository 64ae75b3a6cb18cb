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
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

MOST = 999
"""The most axes that an image may have, and columns a table."""

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


def check(tables: fits.HDUList, limit: int) -> None:
    """Refuse HDUs that count too much, and compressed images whose table cannot hold them: ``ValueError``, or
    ``EOFError`` where the file ends.

    ``tables``: a file opened with ``disable_image_compression``, of which only the first HDU was loaded so far. An
    image of more than ``limit`` pixels is nobody's to decode, and left to be refused as such.
    """
    for number in itertools.count():
        try:
            hdu = tables[number]
        except IndexError:
            return
        if isinstance(hdu, fits.BinTableHDU) and "ZIMAGE" in hdu.header:
            _check(hdu, limit)
        place = hdu.fileinfo()
        if (end := place["datLoc"] + place["datSpan"]) < place["file"].size:
            check_counts(place["file"], end)


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
    heap = width * rows + _whole(header, "PCOUNT") - (_whole(header, "THEAP") if "THEAP" in header else width * rows)
    for size, (count, start) in _descriptors(table, width, rows):
        if not (
            (count == 0) | ((count > 0) & (start >= 0) & (start <= heap) & (count <= (heap - start) // size))
        ).all():
            raise ValueError("parts of it are said to lie outside of its data")


def _descriptors(table: Any, width: int, rows: int) -> Iterator[tuple[int, tuple[NDArray[Any], NDArray[Any]]]]:
    """Of each column of arrays: bytes of an element, and how many elements lie where in the heap, [rows] each."""
    place = table.fileinfo()
    place["file"].seek(place["datLoc"])
    content = place["file"].read(width * rows)
    if len(content) < width * rows:
        raise EOFError("its table is not whole")
    cells, at = np.frombuffer(content, np.uint8).reshape(rows, width), 0
    for number in range(1, table.header["TFIELDS"] + 1):
        form = _FORMAT.match(str(table.header[f"TFORM{number}"]).strip())
        if form is None:
            raise ValueError(f"TFORM{number} is {table.header[f'TFORM{number}']!r}")
        repeat, letter, element = form.groups()
        size = _SIZES[letter] * int(repeat or 1)
        if at + size > width:
            raise ValueError(f"its columns do not fit into rows of {width} bytes")
        if letter in _DESCRIPTORS and size:
            pairs = np.ascontiguousarray(cells[:, at : at + size]).view(_DESCRIPTORS[letter])
            yield _SIZES[element or "B"], (pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64))
        at += size


def _whole(header: Any, card: str) -> int:
    """The value of a card that must be a whole number."""
    value = header[card]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{card} is {value!r}")
    return value

"""Compressed images as the tables they are stored in: checked before a decoder, which trusts them, sees them.

A descriptor that points past the table's heap is read there all the same and ends the process; a table of a million
columns keeps astropy busy for ever. Terms are those of the FITS standard 4.0, sections 7.3.5 and 10.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

MOST_COLUMNS = 999
_SIZES = dict(zip("LXBIJKAEDCMPQ", (1, 1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FORMAT = re.compile(r"(\d*)([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_DESCRIPTORS = {"P": ">i4", "Q": ">i8"}


def check(tables: fits.HDUList) -> None:
    """Refuse compressed images whose table cannot hold them: ``ValueError``, or ``EOFError`` where the file ends.

    ``tables``: a file opened with ``disable_image_compression``.
    """
    for table in tables:
        if isinstance(table, fits.BinTableHDU) and "ZIMAGE" in table.header:
            _check(table)


def _check(table: Any) -> None:
    header = table.header
    if not 0 < _whole(header, "TFIELDS") <= MOST_COLUMNS:
        raise ValueError(f"it has {header['TFIELDS']} columns")
    width, rows = _whole(header, "NAXIS1"), _whole(header, "NAXIS2")
    axes = range(1, min(_whole(header, "ZNAXIS"), MOST_COLUMNS) + 1)
    sides = [_whole(header, f"ZNAXIS{axis}") for axis in axes]
    steps = [_whole(header, f"ZTILE{axis}") if f"ZTILE{axis}" in header else 0 for axis in axes]
    if not any(steps):
        steps = [*sides[:1], *[1] * (len(sides) - 1)]  # rows, where nothing is said
    if min([*sides, *steps], default=0) < 1:
        raise ValueError(f"it says it holds {sides} px in tiles of {steps}")
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

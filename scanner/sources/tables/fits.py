"""FITS tables: binary, ASCII and fpacked, and the LDAC catalogues of SExtractor; every table of a file.

Source: FITS standard 4.0, sections 7.2, 7.3 and 10.3; SExtractor's manual for FITS_LDAC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits

from scanner.images.checksums import difference
from scanner.images.fits_guard import checked_hdus, read_header
from scanner.sources.tables.columns import Choice, Column, ColumnTable, check_rows
from scanner.sources.tables.fpack import unpack_column
from scanner.sources.tables.yaml_header import card_frame

OBJECTS, IMAGE_HEADER = "LDAC_OBJECTS", "LDAC_IMHEAD"

_MOST_OF_A_HEADER = 2**20  # bytes


def read_fits(source: Path | IO[bytes], choice: Choice) -> list[ColumnTable]:
    """Read the chosen columns of the tables of a FITS file: of an LDAC catalogue its objects, else of all.

    Raises:
        ValueError: It holds no table, or one that does not fit its header.
    """
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        read_header(file)  # before astropy does
        file.seek(0)
    with fits.open(source, memmap=isinstance(source, Path), disable_image_compression=True) as hdus:
        tables = [hdu for hdu in _checked(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        tables = [hdu for hdu in tables if "ZIMAGE" not in hdu.header]
        if not tables:
            raise ValueError("it holds no table")
        objects = [hdu for hdu in tables if hdu.name == OBJECTS]
        image = next((_image_header(hdu) for hdu in tables if hdu.name == IMAGE_HEADER), "")
        # A frame in the first header is that of tables whose own header has none.
        frame = card_frame(hdus[0].header)
        return [_read_table(hdu, choice, frame, image) for hdu in objects or tables]


def _checked(hdus: fits.HDUList) -> Iterator[Any]:
    """The HDUs of a file; each header is checked before astropy reads it.

    Raises:
        ValueError: The file goes on where astropy stopped.
    """
    file = hdus.fileinfo(0)["file"]
    for hdu in checked_hdus(hdus, file):
        yield hdu
        place = hdu.fileinfo()
        end = place["datLoc"] + place["datSpan"]
    file.seek(end)
    if file.read(8) == b"XTENSION":
        raise ValueError(f"its HDU at byte {end} is damaged, or the file ends within it")


def _read_table(hdu: Any, choice: Choice, frame: str, image: str) -> ColumnTable:
    header, place = hdu.header, hdu.fileinfo()
    width, rows = header["NAXIS1"], header["NAXIS2"]
    check_rows(rows)
    if place["datLoc"] + width * rows > place["file"].size:
        raise ValueError(f"it ends before its table of {rows} rows of {width} bytes")
    if why := difference(hdu):
        raise ValueError(f"{why}. If a program edited the table, renew its sums with fitscheck --write --force")
    names = tuple(hdu.columns.names)
    frame = card_frame(header) or frame
    columns = [_read_column(hdu, number, frame) for number, name in enumerate(names) if choice(name)]
    return ColumnTable(tuple(columns), names, image=image)


def _read_column(hdu: Any, number: int, frame: str) -> Column:
    column = hdu.columns[number]
    name, unit, rows = column.name, str(column.unit or ""), hdu.header["NAXIS2"]
    if rows == 0:
        return Column(name, np.zeros(0), unit, frame)
    if "ZTABLE" in hdu.header:
        values = unpack_column(hdu, number)
    elif str(column.format).lstrip("0123456789")[:1] in ("P", "Q"):
        return Column(name, np.full(rows, np.nan), unit, frame, "holds arrays of any length")
    else:
        values = np.asarray(hdu.data.field(number))
    mask = np.zeros(values.shape, bool)
    null = hdu.header.get(f"TNULL{number + 1}")
    if isinstance(null, int) and not isinstance(null, bool):
        # The integer that stands for no value is scaled with all others.
        mask = values == null * (column.bscale or 1) + (column.bzero or 0)
    return Column.of_array(name, np.ma.masked_array(values, mask), unit, frame)


def _image_header(hdu: Any) -> str:
    """The header of the image, in cards of 80 characters, that an LDAC catalogue keeps in a table."""
    place, size = hdu.fileinfo(), hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
    place["file"].seek(place["datLoc"])
    content: bytes = place["file"].read(min(size, _MOST_OF_A_HEADER))
    return content.decode("ascii", "replace")

"""Planes of FITS files, read some rows at a time. Every error names the file."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import math
import stat
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings, simplefilter

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.compressed import CompressedPlane
from scanner.images.fits_guard import check_tables, read_header, setting
from scanner.images.streams import DamagedError, check_parts
from scanner.survey.survey import Hdu

MAX_PIXELS = 30_000**2
"""The largest plane that is read (3.6 GB of float32): a damaged header must not exhaust the memory."""

Region = tuple[slice, slice]
"""Rows and columns of a plane, 0-based, with start and stop."""

ROWS_AT_ONCE = 32
"""So few that they stay in the processor's cache while everything is done to them."""

_PIXELS_AT_ONCE = 80_000
"""Of a plane of plain numbers, rows of so many pixels: values and what becomes of them fit into a small cache."""

ASTROPY_ROWS_AT_ONCE = 1024
"""Where astropy decompresses: it searches the header each time."""

_CUT_SHORT = ("truncated", "Header missing END card", "not multiple of 2880", "end-of-stream marker")
_STREAMS = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\0": lzma}
"""Files that are compressed as a whole, by their first bytes; their names may say otherwise."""

_OTHERS = {
    b"pk\3\4": "a zip archive",
    b"\x1f\x9d": "a file of compress (.Z)",
    b"\x89hdf": "an HDF5 file",
    b"par1": "a Parquet file",
    b"\x89png": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%pdf": "a PDF document",
    b"<!doctype html": "a web page, perhaps the error of a server",
    b"<html": "a web page, perhaps the error of a server",
    b"<?xml": "an XML document, perhaps the error of a server",
    b"{": "a JSON document, perhaps the error of a server",
}
"""What is met in place of FITS, by its first bytes in lower case."""

_TAR, _TAR_PLACE = b"ustar", slice(257, 262)
_BLOCK = 2880
_AT_ONCE = 2**24
_MOST_AFTER = 100_000
"""Blocks after the last HDU of a compressed file: 288 MB, read within a second or two."""


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn any exception of a reader of this file into a ``ScannerError`` that names the file.

    Raises:
        ScannerError: ``tile.missing_file``, ``tile.unreadable``, ``tile.truncated``, ``tile.not_fits`` or
            ``tile.bad_header``.
    """
    with catch_warnings():
        simplefilter("ignore")
        # astropy only warns where a file ends early, and goes on with what is left of it.
        filterwarnings("error", "File may have been truncated")
        filterwarnings("error", "Error validating header")
        try:
            yield
        except (ScannerError, MemoryError):
            raise
        except Exception as error:  # a parser may raise anything on damaged bytes
            raise _explain(path, error) from error


@contextmanager
def open_fits(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file until the end of the block; also one compressed as a whole (.gz, .bz2, .xz).

    Raises:
        ScannerError: As ``errors_of``, or ``tile.too_large``.
    """
    with errors_of(path):
        # A pipe would be waited for without an end, and a device has no end.
        if not stat.S_ISREG(path.stat().st_mode):
            hint = "Give the image itself, or remove what has its name."
            raise ScannerError(ErrorCode.TILE_UNREADABLE, f"{path} is not a regular file.", hint)
        content = _expanded(path)

        def open_content(**options: bool) -> Any:
            # Without memmap: pages of an image with mask and variance would add a gigabyte to this process.
            return fits.open(path if content is None else io.BytesIO(content), mode="readonly", memmap=False, **options)

        with ExitStack() as stack, path.open("rb") if content is None else io.BytesIO(content) as file:
            read_header(file)  # before astropy does
            hdus = stack.enter_context(open_content(disable_image_compression=True))
            if check_tables(hdus, file, MAX_PIXELS):  # it has compressed images
                hdus.close()
                hdus = stack.enter_context(open_content())
            kept_open = stack.pop_all()
    with kept_open:
        yield hdus


def _expanded(path: Path) -> bytes | None:
    """The content of a file compressed as a whole: within one, each step back would start again. None for others.

    Raises:
        ScannerError: ``tile.not_fits``, ``tile.too_large``, or ``tile.truncated`` for an empty file.
    """
    with path.open("rb") as file:
        start = file.read(_BLOCK)
        stream = next((stream for first, stream in _STREAMS.items() if start.startswith(first)), None)
    if stream is None:
        _check_start(path, start)
        return None
    content, limit = bytearray(), MAX_PIXELS * 8
    with stream.open(path) as file:
        _check_start(path, file.read(_BLOCK))
        file.seek(0)
        # Headers say how long the data are. What follows the last HDU is read for the sum at the end of the stream.
        while header := read_header(file):
            content += header
            if not header.startswith((b"SIMPLE", b"XTENSION")):
                break
            size = fits.Header.fromstring(header).data_size_padded
            if size < 0:
                raise ValueError(f"an HDU says it holds {size} bytes")
            if size > limit:
                raise _too_large(path, f"says it holds {size} bytes")
            # A size that is not true must not cost its memory.
            for at in range(0, size, _AT_ONCE):
                content += file.read(min(_AT_ONCE, size - at))
        for _ in range(_MOST_AFTER):
            if not file.read(len(start)):
                return bytes(content)
    raise _too_large(path, f"expands to {_MOST_AFTER * len(start)} bytes after its last HDU")


def _check_start(path: Path, start: bytes) -> None:
    """Refuse a file whose first bytes are not those of FITS, and say what it is."""
    if start.startswith(b"SIMPLE"):
        return
    if not start:
        raise _truncated(path, "is empty")
    what = next((what for first, what in _OTHERS.items() if start.lstrip().lower().startswith(first)), None)
    if what is None and start[_TAR_PLACE] == _TAR:
        what = "a tar archive"
    message = f"{path} is not a FITS file{f', but {what}' if what else ''}."
    raise ScannerError(ErrorCode.TILE_NOT_FITS, message, "Give the image itself, as FITS.")


def find_image(hdus: fits.HDUList, hdu_names: Hdu, other_planes: Collection[int | str] = ()) -> Any | None:
    """The first HDU of ``hdu_names`` (an index, an EXTNAME or an EXTTYPE) that is a two-dimensional image, or None.

    An HDU with a name of ``other_planes`` is not found by its index: its header says that it is another plane.
    """
    others = {str(name).upper() for name in other_planes}
    for place in hdu_names:
        for index, hdu in enumerate(hdus):
            names = {hdu.name, _type(hdu)}
            matches = not names & others if place == index else str(place).upper() in names
            if matches and hdu.is_image and len(hdu.shape) == 2 and 0 not in hdu.shape:
                return hdu
    return None


def is_named(hdus: fits.HDUList, hdu_names: Hdu) -> bool:
    """Whether an HDU has a name of ``hdu_names``, whatever it holds."""
    names = {name.upper() for name in hdu_names if isinstance(name, str)}
    return any(names & {hdu.name, _type(hdu)} for hdu in hdus)


def hdu_label(hdu: Any) -> str:
    """The EXTNAME of an HDU, or else its EXTTYPE, or an empty text."""
    return hdu.name or _type(hdu)


def _type(hdu: Any) -> str:
    return str(hdu.header.get("EXTTYPE", "")).upper()


def check_size(hdu: Any, path: Path) -> None:
    """Refuse a plane that does not fit its header.

    Raises:
        ScannerError: ``tile.too_large``, or ``tile.truncated`` where the file ends before the plane does.
    """
    if math.prod(hdu.shape) > MAX_PIXELS:
        raise _too_large(path, f"says it holds {' x '.join(map(str, reversed(hdu.shape)))} px")
    place = hdu.fileinfo()
    end = place["datLoc"] + (place["datSpan"] if isinstance(hdu, fits.CompImageHDU) else hdu.size)
    if place["file"].size < end:
        raise _truncated(path, f"has {place['file'].size} bytes where its header needs {end}")


def is_rounded(hdu: Any) -> bool:
    """Whether lossy compression has rounded a plane, so that values near 0 may have become 0, and zeros other values.

    Integers are compressed as they are, except by HCOMPRESS with a scale, and floating-point numbers where they are not
    quantised. Quantisation with the second dither keeps exact zeros.
    """
    if not isinstance(hdu, fits.CompImageHDU):
        return False
    table, header = hdu._bintable, hdu._bintable.header
    is_quantised = "ZSCALE" in table.columns.names and header.get("ZQUANTIZ") != "SUBTRACTIVE_DITHER_2"
    return is_quantised or (header["ZCMPTYPE"] == "HCOMPRESS_1" and float(setting(header, "SCALE", 0)) > 1)


def read_plane(hdu: Any, path: Path) -> NDArray[Any]:
    """All values of an image of any number of dimensions.

    Raises:
        ScannerError: As ``check_size``.
        Exception: Of any kind, where the data are damaged: see ``errors_of``.
    """
    check_size(hdu, path)
    if isinstance(hdu, fits.CompImageHDU):
        check_parts(hdu)
    return np.asarray(hdu.data)


def read_rows(hdu: Any, region: Region | None = None, native: bool = True) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Values of a plane, or of a region of it, some rows at a time: there is never a second copy of it.

    The rows count from the first of the region. ``native``: False leaves values in the byte order of the file.
    """
    plane: CompressedPlane | _PlainPlane | None
    least, astropy_least, tile_rows = ROWS_AT_ONCE, ROWS_AT_ONCE, 1
    if isinstance(hdu, fits.CompImageHDU):
        plane, tile_rows, astropy_least = CompressedPlane.of(hdu), max(1, int(hdu.tile_shape[0])), ASTROPY_ROWS_AT_ONCE
    elif (plane := _PlainPlane.of(hdu)) is not None:
        least = max(1, _PIXELS_AT_ONCE // max(1, int(hdu.shape[1])))
    if plane is None:
        least = astropy_least
    down, across = region or (slice(0, int(hdu.shape[0])), slice(0, int(hdu.shape[1])))
    start = 0
    while start < down.stop - down.start:
        # Whole compressed parts, so that none is decoded twice.
        rows = slice(start, min(start + -(-least // tile_rows) * tile_rows, down.stop - down.start))
        place = slice(down.start + rows.start, down.start + rows.stop), across
        try:
            if plane is None and isinstance(hdu, fits.CompImageHDU):
                check_parts(hdu, place)
            values = hdu.section[place] if plane is None else plane[place]
        except DamagedError:
            raise
        except Exception:
            if plane is None:
                raise
            plane, least = None, astropy_least  # astropy reads what is unusual, or says what is wrong with it
            continue
        values = np.asarray(values)
        if native:  # numpy is slow on the other byte order
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
        yield rows, values
        start = rows.stop


SCALING = ("BSCALE", "BZERO", "BLANK")
KINDS = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""Types of the numbers of an image, by BITPIX."""


@dataclass(frozen=True)
class _PlainPlane:
    """An image [H, W] of plain numbers in an open file; astropy takes a tenth of a millisecond to read a part of it."""

    file: Any
    start: int
    width: int
    kind: np.dtype[Any]

    @classmethod
    def of(cls, hdu: Any) -> _PlainPlane | None:
        """The plane of an HDU; None where its values are scaled or in memory, which astropy reads."""
        where = hdu.fileinfo()
        if where is None or any(card in hdu.header for card in SCALING):
            return None
        return cls(where["file"], where["datLoc"], int(hdu.shape[1]), np.dtype(KINDS[int(hdu.header["BITPIX"])]))

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[Any]:
        """Read a region. Raises ``ValueError`` where the file ends before it does."""
        (down, across), size = place, self.kind.itemsize
        shape = down.stop - down.start, across.stop - across.start
        # Whole rows follow each other without a gap.
        rows = [down.start] if shape[1] == self.width else range(down.start, down.stop)
        parts = []
        for row in rows:
            self.file.seek(self.start + (row * self.width + across.start) * size)
            parts.append(self.file.read(math.prod(shape) // max(1, len(rows)) * size))
        return np.frombuffer(b"".join(parts), self.kind).reshape(shape)


def row_slices(rows: int) -> Iterator[slice]:
    """Slices of ``ROWS_AT_ONCE`` rows, from the first row to the last."""
    for start in range(0, rows, ROWS_AT_ONCE):
        yield slice(start, min(start + ROWS_AT_ONCE, rows))


def _explain(path: Path, error: Exception) -> ScannerError:
    what = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return ScannerError(ErrorCode.TILE_MISSING_FILE, f"There is no file {path}.", "Check the path, or give --root.")
    if isinstance(error, EOFError | zlib.error) or any(sign in what for sign in _CUT_SHORT):
        return _truncated(path, f"ends early ({what})")
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        what = "it says that its data lie where no file has any"
    elif isinstance(error, OSError) and error.errno is not None:
        return ScannerError(
            ErrorCode.TILE_UNREADABLE, f"{path} cannot be read: {what}.", "Check its permissions and the disk."
        )
    if "SIMPLE" in what or "Empty or corrupt" in what:
        return ScannerError(ErrorCode.TILE_NOT_FITS, f"{path} is not a FITS file.", "Give the image itself, as FITS.")
    hint = "Download the file again, or check it with fitsverify: it is damaged or not standard FITS."
    return ScannerError(ErrorCode.TILE_BAD_HEADER, f"{path} cannot be read as FITS: {what}.", hint)


def _too_large(path: Path, how: str) -> ScannerError:
    hint = "Check the file: it may be damaged. If the image is real, cut it into tiles first."
    return ScannerError(ErrorCode.TILE_TOO_LARGE, f"{path} {how}, more than the limit.", hint)


def _truncated(path: Path, how: str) -> ScannerError:
    hint = "Download or copy the file again: it is incomplete."
    return ScannerError(ErrorCode.TILE_TRUNCATED, f"{path} {how}.", hint)

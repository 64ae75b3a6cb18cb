"""Planes of FITS files, read some rows at a time. Every error names the file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings, simplefilter

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.compressed import CompressedPlane, DamagedError
from scanner.images.fits_guard import check_counts, check_tables
from scanner.survey.survey import Hdu

MAX_PIXELS = 30_000**2
"""The largest plane that is read (3.6 GB of float32): a damaged header must not exhaust the memory."""

Region = tuple[slice, slice]
"""Rows and columns of a plane, 0-based, with start and stop."""

ROWS_AT_ONCE = 32
"""So few that they stay in the processor's cache while everything is done to them."""

ASTROPY_ROWS_AT_ONCE = 1024
"""Where astropy decompresses: it searches the header each time."""

_CUT_SHORT = ("truncated", "Header missing END card", "not multiple of 2880", "end-of-stream marker")
_STREAMS = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


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
        stream = _STREAMS.get(path.suffix)
        content = None if stream is None else _expand(path, stream)

        def open_content(**options: bool) -> Any:
            # Without memmap: pages of an image with mask and variance would add a gigabyte to this process.
            return fits.open(path if content is None else io.BytesIO(content), mode="readonly", memmap=False, **options)

        with path.open("rb") if content is None else io.BytesIO(content) as file:
            check_counts(file, 0)
        with ExitStack() as stack:
            hdus = stack.enter_context(open_content(disable_image_compression=True))
            if check_tables(hdus, MAX_PIXELS):  # it has compressed images
                hdus.close()
                hdus = stack.enter_context(open_content())
            kept_open = stack.pop_all()
    with kept_open:
        yield hdus


def _expand(path: Path, stream: Any) -> bytes:
    """The content of a file compressed as a whole: within one, each step back would start again."""
    limit = MAX_PIXELS * 8
    with stream.open(path) as file:
        content: bytes = file.read(limit)
    if len(content) == limit:
        raise _too_large(path, f"expands to more than {limit} bytes")
    return content


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
    rows, columns = hdu.shape
    if rows * columns > MAX_PIXELS:
        raise _too_large(path, f"says it holds {columns} x {rows} px")
    place = hdu.fileinfo()
    end = place["datLoc"] + (place["datSpan"] if isinstance(hdu, fits.CompImageHDU) else hdu.size)
    if place["file"].size < end:
        raise _truncated(path, f"has {place['file'].size} bytes where its header needs {end}")


def is_quantised(hdu: Any) -> bool:
    """Whether a plane's values were rounded by lossy compression (floating point in a .fz file)."""
    return isinstance(hdu, fits.CompImageHDU) and int(hdu.header["BITPIX"]) < 0


def read_rows(hdu: Any, region: Region | None = None) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Values of a plane, or of a region of it, native, some rows at a time: there is never a second copy of it.

    The rows count from the first of the region.
    """
    plane, least, tile_rows = None, ROWS_AT_ONCE, 1
    if isinstance(hdu, fits.CompImageHDU):
        plane, tile_rows = CompressedPlane.of(hdu), max(1, int(hdu.tile_shape[0]))
        least = ROWS_AT_ONCE if plane else ASTROPY_ROWS_AT_ONCE
    down, across = region or (slice(0, int(hdu.shape[0])), slice(0, int(hdu.shape[1])))
    start = 0
    while start < down.stop - down.start:
        # Whole compressed parts, so that none is decoded twice.
        rows = slice(start, min(start + -(-least // tile_rows) * tile_rows, down.stop - down.start))
        place = slice(down.start + rows.start, down.start + rows.stop), across
        try:
            values = hdu.section[place] if plane is None else plane[place]
        except DamagedError:
            raise
        except Exception:
            if plane is None:
                raise
            plane, least = None, ASTROPY_ROWS_AT_ONCE  # astropy reads what is unusual, or says what is wrong with it
            continue
        values = np.asarray(values)
        yield rows, values.astype(values.dtype.newbyteorder("="), copy=False)  # numpy is slow on the other byte order
        start = rows.stop


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
    if isinstance(error, OSError) and error.errno is not None:
        return ScannerError(
            ErrorCode.TILE_UNREADABLE, f"{path} cannot be read: {what}.", "Check its permissions and the disk."
        )
    if "SIMPLE" in what or "Empty or corrupt" in what:
        if path.stat().st_size == 0:
            return _truncated(path, "is empty")
        return ScannerError(ErrorCode.TILE_NOT_FITS, f"{path} is not a FITS file.", "Give the image itself, as FITS.")
    hint = "Download the file again, or check it with fitsverify: it is damaged or not standard FITS."
    return ScannerError(ErrorCode.TILE_BAD_HEADER, f"{path} cannot be read as FITS: {what}.", hint)


def _too_large(path: Path, how: str) -> ScannerError:
    hint = "Check the file: it may be damaged. If the image is real, cut it into tiles first."
    return ScannerError(ErrorCode.TILE_TOO_LARGE, f"{path} {how}, more than the limit.", hint)


def _truncated(path: Path, how: str) -> ScannerError:
    hint = "Download or copy the file again: it is incomplete."
    return ScannerError(ErrorCode.TILE_TRUNCATED, f"{path} {how}.", hint)

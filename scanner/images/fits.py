"""Planes of FITS files, read in strips; whatever is wrong with a file becomes a ``ScannerError`` that names it."""

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
from scanner.images import fits_guard as packed
from scanner.images.compressed import CompressedPlane, DamagedError

MAX_PIXELS = 30_000**2
"""The largest plane that is read (3.6 GB of float32): a damaged header must not ask for all memory."""

Region = tuple[slice, slice]
"""Rows and columns of a plane, 0-based, with start and stop."""

STRIP_ROWS = 32
"""So few that the strip is in the processor's cache while all is done to it; for a survey's tile a third less time than
with eight times as many."""

COMPRESSED_STRIP_ROWS = 1024
"""Where astropy decompresses: it looks through the header for each strip."""

_CUT_SHORT = ("truncated", "Header missing END card", "not multiple of 2880", "end-of-stream marker")
_STREAMS = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into a ``ScannerError`` that names the file:

    ``tile.missing_file``, ``tile.unreadable``, ``tile.truncated``, ``tile.not_fits`` or ``tile.bad_header``.
    """
    with catch_warnings():
        simplefilter("ignore")
        # astropy only warns where a file ends early, and goes on with what is left of it
        filterwarnings("error", "File may have been truncated")
        filterwarnings("error", "Error validating header")
        try:
            yield
        except (ScannerError, MemoryError):
            raise
        except Exception as error:  # a parser that is fed damaged bytes may raise anything
            raise _named(path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[fits.HDUList]:
    """A FITS file, open until the end of the block; errors as in ``reading``."""
    with reading(path):
        stream = _STREAMS.get(path.suffix)
        content = None if stream is None else _expanded(path, stream)
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            packed.check_counts(file, 0)
        with ExitStack() as stack:
            hdus = stack.enter_context(_open(path, content, disable_image_compression=True))
            if packed.check(hdus, MAX_PIXELS):
                hdus.close()
                hdus = stack.enter_context(_open(path, content))
            held = stack.pop_all()
    with held:
        yield hdus


def _open(path: Path, content: bytes | None, **options: bool) -> fits.HDUList:
    # no map of the file: of an image with mask and variance its pages would be another gigabyte of this process
    return fits.open(path if content is None else io.BytesIO(content), mode="readonly", memmap=False, **options)


def _expanded(path: Path, stream: Any) -> bytes:
    """The content of a compressed file: inside one, every step back would mean to start again."""
    limit = MAX_PIXELS * 8
    with stream.open(path) as file:
        content: bytes = file.read(limit)
    if len(content) == limit:
        raise _too_large(path, f"expands to more than {limit} bytes")
    return content


def find(hdus: fits.HDUList, where: tuple[int | str, ...], others: Collection[int | str] = ()) -> Any | None:
    """The first HDU of ``where`` (an index, an EXTNAME or an EXTTYPE) that is a two-dimensional image, or None.

    An HDU that bears a name of ``others`` is not found by its index: it says itself that it is another plane.
    """
    taken = {str(name).upper() for name in others}
    for wanted in where:
        for index, hdu in enumerate(hdus):
            names = {hdu.name, _type(hdu)}
            there = not names & taken if wanted == index else str(wanted).upper() in names
            if there and hdu.is_image and len(hdu.shape) == 2 and 0 not in hdu.shape:
                return hdu
    return None


def is_named(hdus: fits.HDUList, where: tuple[int | str, ...]) -> bool:
    """Whether an HDU bears a name of ``where``, whatever it holds."""
    wanted = {name.upper() for name in where if isinstance(name, str)}
    return any(wanted & {hdu.name, _type(hdu)} for hdu in hdus)


def label(hdu: Any) -> str:
    """What an HDU calls itself, "" where it does not."""
    return hdu.name or _type(hdu)


def _type(hdu: Any) -> str:
    return str(hdu.header.get("EXTTYPE", "")).upper()


def check_whole(hdu: Any, path: Path) -> None:
    """Raise where a plane is not what its header says: ``tile.too_large``, or ``tile.truncated`` (the file ends)."""
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


def strips(hdu: Any, region: Region | None = None) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Values of a plane, or of a region of it, native, some rows at a time: no second copy of it is ever held.

    The rows of a strip count from the first of the region.
    """
    plane, least, part = None, STRIP_ROWS, 1
    if isinstance(hdu, fits.CompImageHDU):
        plane, part = CompressedPlane.of(hdu), max(1, int(hdu.tile_shape[0]))
        least = STRIP_ROWS if plane else COMPRESSED_STRIP_ROWS
    down, across = region or (slice(0, int(hdu.shape[0])), slice(0, int(hdu.shape[1])))
    start = 0
    while start < down.stop - down.start:
        rows = slice(start, min(start + -(-least // part) * part, down.stop - down.start))
        here = slice(down.start + rows.start, down.start + rows.stop), across
        try:
            values = hdu.section[here] if plane is None else plane[here]
        except DamagedError:
            raise
        except Exception:
            if plane is None:
                raise
            plane, least = None, COMPRESSED_STRIP_ROWS  # whatever is unusual or wrong in it is astropy's to say
            continue
        values = np.asarray(values)
        yield rows, values.astype(values.dtype.newbyteorder("="), copy=False)  # others take numpy twice as long
        start = rows.stop


def row_slices(rows: int, step: int = STRIP_ROWS) -> Iterator[slice]:
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _named(path: Path, error: Exception) -> ScannerError:
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
    hint = "The file is damaged or not standard FITS: fetch it again, or check it with fitsverify."
    return ScannerError(ErrorCode.TILE_BAD_HEADER, f"{path} cannot be understood: {what}.", hint)


def _too_large(path: Path, how: str) -> ScannerError:
    hint = "The file may be damaged. If the image is real, cut it into tiles first."
    return ScannerError(ErrorCode.TILE_TOO_LARGE, f"{path} {how}, more than is read.", hint)


def _truncated(path: Path, how: str) -> ScannerError:
    return ScannerError(
        ErrorCode.TILE_TRUNCATED, f"{path} {how}.", "The download or copy was cut short: fetch the file again."
    )

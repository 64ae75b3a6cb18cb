"""Parquet files whose bytes are checked: a CRC-32 of every page, and in tile files one of the footer.

Parquet has checksums of pages alone. A footer holds what decides which rows are read at all: offsets, statistics, the
receipt, the circle on the sky. So its CRC-32 is one of its own entries, computed with zeros in the place of its digits.
"""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CRC_KEY = "scanner.footer_crc32"
_DIGITS = 8
# In a footer, a value follows its key after the type of its field and its length.
_BEFORE = CRC_KEY.encode() + b"\x18" + bytes([_DIGITS])
_TAIL = 65_536  # bytes; footers of tiles have about half of it
_END = 8  # bytes behind the footer: its length, and the magic word
UNSET = "0" * _DIGITS


def open_file(path: Path) -> pa.NativeFile:
    """Open a regular file for reading.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is a pipe, a device or a folder.
    """
    # A pipe would be waited for without an end, and a device may have no end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    # Arrow would take a text as UTF-8, which the bytes of a file name need not be.
    return pa.OSFile(os.fsencode(path), "rb")


def read_footer(source: pa.NativeFile) -> tuple[pq.FileMetaData, bool]:
    """Read the footer of an open file, and tell whether it has a checksum: files of earlier versions have none.

    Raises:
        OSError, pa.ArrowException: It cannot be read.
        ValueError: Its checksum differs.
    """
    tail = _tail(source)
    place = tail.find(_BEFORE) + len(_BEFORE)
    has_checksum = place >= len(_BEFORE)
    if has_checksum and tail[place : place + _DIGITS] != _checksum(tail, place):
        raise ValueError("the checksum of its footer differs")
    return pq.read_metadata(pa.BufferReader(tail)), has_checksum


def seal(path: Path) -> None:
    """Put the checksum of its footer into a file that was written with the entry ``CRC_KEY``: ``UNSET``."""
    with open_file(path) as source:
        tail, size = _tail(source), source.size()
    place = tail.index(_BEFORE) + len(_BEFORE)
    with path.open("r+b") as file:
        file.seek(size - len(tail) + place)
        file.write(_checksum(tail, place))


def read_table(path: Path) -> pa.Table:
    """Read a small file as a whole.

    Raises:
        OSError, pa.ArrowException, ValueError: It cannot be read, or one of its checksums differs.
    """
    with open_file(path) as source:
        return pq.read_table(source, page_checksum_verification=True, partitioning=None)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a small file as a whole, with checksums of its pages."""
    with pa.OSFile(os.fsencode(path), "wb") as sink:
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)


def _tail(source: pa.NativeFile) -> bytes:
    """Read the footer, and what follows it."""
    size = source.size()
    tail: bytes = source.read_at(min(size, _TAIL), max(size - _TAIL, 0))
    length = int.from_bytes(tail[-_END:-4], "little") + _END
    if length > len(tail) and length <= size:
        tail = source.read_at(length, size - length)
    # A length that is damaged leaves a text that is no footer, which the reader of Parquet refuses.
    return tail[-length:]


def _checksum(tail: bytes, place: int) -> bytes:
    blank = tail[:place] + UNSET.encode() + tail[place + _DIGITS : -_END]
    return f"{zlib.crc32(blank):08x}".encode()

"""Files of tables: unpacked, and read in the format that their first bytes say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Any
from warnings import catch_warnings, simplefilter

from scanner.sources.tables.columns import Choice, ColumnTable
from scanner.sources.tables.text import read_text

ENDINGS = (".cat", ".csv", ".dat", ".ecsv", ".fit", ".fits", ".ldac", ".parquet", ".tsv", ".txt", ".vot", ".xml")
"""What files of tables end in; also .gz, .bz2 and .xz after these."""

MAX_UNPACKED = 2**29
"""The most bytes that a packed file is unpacked to; and the largest VOTable."""

_PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save the table as CSV",
    b"\x89HDF": "HDF5; save the table as FITS or Parquet",
}
_TEXT = (".ascii", ".asc", ".cat", ".csv", ".dat", ".ecsv", ".sex", ".tab", ".tsv", ".txt")


def read_tables(path: Path, choice: Choice) -> list[ColumnTable]:
    """Read the chosen columns of every table of a file.

    Raises:
        ValueError, or any exception of a reader of damaged files.
    """
    with path.open("rb") as file, catch_warnings():
        simplefilter("ignore")
        start = file.read(16)
        file.seek(0)
        for magic, opened in _PACKED:
            if start.startswith(magic):
                name = path.with_suffix("") if path.suffix.lower() in (".gz", ".bz2", ".xz") else path
                with opened(file, "rb") as packed:
                    return _read(None, _unpack(packed), name.suffix.lower(), choice)
        return _read(path, file, path.suffix.lower(), choice)


def _unpack(packed: Any) -> IO[bytes]:
    content: bytes = packed.read(MAX_UNPACKED + 1)
    if len(content) > MAX_UNPACKED:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED} bytes")
    return io.BytesIO(content)


def _read(path: Path | None, file: IO[bytes], ending: str, choice: Choice) -> list[ColumnTable]:
    """Read an unpacked file, whose ``path`` is None where it was packed."""
    start = file.read(1024)
    file.seek(0)
    if not start:
        raise ValueError("it is empty")
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise ValueError(f"it is {what}")
    if start.startswith(b"SIMPLE  ="):
        from scanner.sources.tables.fits import read_fits

        return read_fits(path or file, choice)
    if start.startswith(b"PAR1"):
        from scanner.sources.tables.parquet import read_parquet

        return [read_parquet(file, choice)]
    if b"<VOTABLE" in start or b":VOTABLE" in start or ending in (".vot", ".votable", ".xml"):
        from scanner.sources.tables.votable import read_votables

        return read_votables(file, choice)
    if ending in _TEXT or start.startswith(b"# %ECSV"):
        return [read_text(file, choice)]
    raise ValueError("its format is not known, by its ending or by its first bytes")

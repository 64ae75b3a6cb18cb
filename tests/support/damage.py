"""Damage of tile files as disks and other programs do it."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq


def damage_column(path: Path, column: str) -> None:
    """Flip bits in the pages of a column, whose footer stays sound; the time of the file stays too."""
    group = pq.read_metadata(path).row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
    start, size = chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size
    flip_bytes(path, range(start + 30, start + size, max(1, size // 20)))


def flip_bytes(path: Path, places: range) -> None:
    """Flip a bit of these bytes of a file, and keep its time, as a failing disk does."""
    before, content = path.stat(), bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

"""Columns of tables that fpack compressed.

Source: FITS standard 4.0, section 10.3.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.sources.tables.columns import check_rows

_TYPES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
_FORM = re.compile(r"(\d*)([A-Z]).*")


def unpack_column(hdu: Any, number: int) -> NDArray[Any]:
    """The values of a column, [rows] or [rows, n], of which each row of the table holds those of many rows.

    Raises:
        ValueError: It is compressed in another way than by gzip, or its sizes contradict each other.
    """
    card, header = number + 1, hdu.header
    form = _FORM.fullmatch(str(header[f"ZFORM{card}"]).strip())
    method, rows, step = str(header[f"ZCTYP{card}"]).strip(), header["ZNAXIS2"], header["ZTILELEN"]
    check_rows(rows)
    if form is None or form[2] not in _TYPES or method not in ("GZIP_1", "GZIP_2", "NOCOMPRESS"):
        raise ValueError(f"its column {header[f'TTYPE{card}']} is compressed by {method}; unpack it with funpack")
    if {f"TSCAL{card}", f"TZERO{card}"} & set(header):
        raise ValueError(f"its column {header[f'TTYPE{card}']} is compressed and scaled; unpack it with funpack")
    if step < 1 or rows < 0 or header["NAXIS2"] != -(-rows // step):
        raise ValueError(f"its {rows} rows do not fit into {header['NAXIS2']} parts of {step}")
    repeat = int(form[1] or 1)
    kind = np.dtype(f"S{repeat}" if form[2] == "A" else _TYPES[form[2]])
    cells = 1 if form[2] == "A" else repeat

    pieces = []
    for part, packed in enumerate(hdu.data.field(number)):
        size = min(step, rows - part * step) * cells * kind.itemsize
        content = np.asarray(packed).astype(np.uint8).tobytes()
        if method != "NOCOMPRESS":
            # A byte more than it should be tells, and no more than that is unpacked.
            content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, size + 1)
        if len(content) != size:
            raise ValueError(f"part {part + 1} of its column {header[f'TTYPE{card}']} has another size than it says")
        if method == "GZIP_2":  # all first bytes, then all second bytes
            content = np.frombuffer(content, np.uint8).reshape(kind.itemsize, -1).T.tobytes()
        pieces.append(content)
    values = np.frombuffer(b"".join(pieces), kind)
    return values if cells == 1 else values.reshape(rows, cells)

"""The verdicts as files: every format of the command line, and Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalogs.render import render
from scanner.hunt import PARQUET

if TYPE_CHECKING:
    from astropy.table import Table


def encode(table: Table, fmt: str) -> bytes:
    """Encode a table of verdicts.

    Raises:
        ScannerError: ``format.unknown``.
    """
    if fmt != PARQUET:
        text = render(table, fmt)
        return text.encode() if isinstance(text, str) else text
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    with io.BytesIO() as file:
        pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), file)
        return file.getvalue()

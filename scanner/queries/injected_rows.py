"""The rows of injected lenses: the truth of each, and what a search made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from catalogs.completeness.injected import Search
from scanner.sources.position_files import read_sky_table

ADDED = ("object_id", "detected", "score", "found")
"""Columns that follow those of the truth."""


def read_rows(path: Path) -> Table:
    """Read a truth table with all its columns and their units, row for row as ``read_truth``.

    Raises:
        ScannerError: ``sources.*``.
    """
    _, columns = read_sky_table(path)
    table = Table()
    for column in columns.columns:
        values = column.values.astype(str) if column.is_text else column.values
        if column.is_whole and not column.is_text and np.isfinite(values).all():
            values = values.astype(np.int64)
        table[column.name] = Column(values, unit=column.unit or None)
    return table


def list_lenses(truth: Table, search: Search, threshold: float) -> Table:
    """List the lenses that a search counts: their rows of the ``truth``, and whether each is found at the threshold.

    A column of the truth that has the name of an added one becomes ``truth_`` and its name.
    """
    table = truth[search.row]
    for name in ADDED:
        if name in table.colnames:
            free = f"truth_{name}"
            while free in table.colnames:
                free = f"truth_{free}"
            table.rename_column(name, free)
    text = "object within 1 arcsec in the tile of the lens; of several, that with the highest score"
    table["object_id"] = MaskedColumn(search.object_id, mask=~search.detected, description=text)
    table["detected"] = Column(search.detected, description="whether there is such an object")
    score = np.where(np.isfinite(search.score), search.score, np.nan)
    table["score"] = Column(score, description="score of the object, nan without one")
    table["found"] = Column(search.score >= threshold, description="whether the score reaches the threshold")
    return table

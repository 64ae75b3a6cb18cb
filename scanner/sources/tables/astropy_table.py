"""A table of any format as one of astropy, with whole numbers and long ids as they are in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scanner.sources.tables.columns import EXACT, Column, ColumnTable

if TYPE_CHECKING:
    from astropy.table import Table

_TRUTH = ("True", "False")


def to_astropy(table: ColumnTable) -> tuple[Table, list[str]]:
    """Make a table of the columns that hold one value a row; the names of the others come beside it.

    A whole number is int64, or float64 with NaN where some are missing; a longer one with missing ones is text. A unit
    that astropy does not know becomes part of the description.
    """
    from astropy import units
    from astropy.table import Column as TableColumn
    from astropy.table import Table as AstropyTable

    made, left = AstropyTable(), []
    for column in table.columns:
        values = _values(column)
        if values is None:
            left.append(column.name)
            continue
        try:
            unit, about = units.Unit(column.unit.strip()) if column.unit.strip() else None, None
        except (ValueError, TypeError):
            unit, about = None, f"in {column.unit}"
        made[column.name] = TableColumn(values, unit=unit, description=about)
    return made, left


def _values(column: Column) -> NDArray[Any] | None:
    values = column.values
    if column.is_blank:
        return np.full(len(values), "", "U1")
    if not column.is_text:
        if column.problem:
            return None
        finite = np.isfinite(values)
        return values.astype(np.int64) if column.is_whole and finite.all() and len(values) else values
    words = values.astype(str)
    if column.problem.startswith("holds"):
        # Truth values are read as words.
        return words == _TRUTH[0] if len(words) and np.isin(words, _TRUTH).all() else None
    if column.is_whole and len(words) and not (words == "").any():
        numbers = [int(word) for word in words.tolist()]
        if max(map(abs, numbers), default=0) >= EXACT and max(numbers) < 2**63 and min(numbers) >= -(2**63):
            return np.array(numbers, np.int64)
    return words

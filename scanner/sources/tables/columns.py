"""Columns of a table, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 20_000_000
"""The most rows that are read: two columns of them take 320 MB."""

EXACT = 2**53
"""Whole numbers below this are exact as float64; columns of larger ones, such as ids of Gaia, are kept as texts."""

Choice = Callable[[str], bool]
"""Tells of the name of a column whether it is read."""


@dataclass(frozen=True)
class Column:
    """A column: its ``values`` [N] are float64 with NaN for none, or texts with "" for none.

    ``is_whole``: the file has whole numbers, of which those above ``EXACT`` are texts. ``is_blank``: no cell of a text
    table holds anything. ``unit`` is as the file has it. ``frame`` is what the file says of the sky its angles are on,
    such as ``FK4 B1950``; it is empty where the file says nothing. ``problem`` says why the values cannot be positions.
    """

    name: str
    values: NDArray[Any]
    unit: str = ""
    frame: str = ""
    problem: str = ""
    is_whole: bool = False
    is_blank: bool = False

    @property
    def is_text(self) -> bool:
        return self.values.dtype.kind != "f"

    def words(self) -> NDArray[np.str_]:
        """The values as texts; whole numbers without a point, and "" for none."""
        if self.is_text:
            return self.values.astype(str)
        return np.array([_word(one) for one in self.values.tolist()], str)

    @classmethod
    def of_array(cls, name: str, values: Any, unit: str = "", frame: str = "") -> Column:
        """A column of an array [N], masked or not, of any type."""
        array: NDArray[Any] = np.asarray(np.ma.getdata(values))
        mask: NDArray[np.bool_] = np.ma.getmaskarray(values).reshape(array.shape)
        count = len(array)
        if array.ndim > 1 and array.size == count:
            array, mask = array.reshape(count), mask.reshape(count)
        if array.ndim > 1:
            problem = f"holds {array.size // count if count else 'several'} numbers in each row"
            return cls(name, np.full(count, np.nan), unit, frame, problem)
        is_whole = array.dtype.kind in "iu"
        if is_whole and not (np.abs(array[~mask].astype(np.float64)) < EXACT).all():
            digits = ["" if masked else str(one) for one, masked in zip(array.tolist(), mask.tolist(), strict=True)]
            return cls(name, np.array(digits, dtype=object), unit, frame, is_whole=True)
        if array.dtype.kind in "iuf":
            # Native byte order, and a copy, so that no file stays mapped.
            return cls(name, np.where(mask, np.nan, array.astype(np.float64)), unit, frame, is_whole=is_whole)
        if array.dtype.kind in "SUO" and all(isinstance(one, str | bytes | None) for one in array[:1000].tolist()):
            return cls(name, np.array(_texts(array, mask), dtype=object), unit, frame)
        texts = ["" if masked else str(one)[:40] for one, masked in zip(array.tolist(), mask.tolist(), strict=True)]
        kind = "arrays" if array.dtype.kind == "O" else f"values of type {array.dtype}"
        return cls(name, np.array(texts, dtype=object), unit, frame, f"holds {kind}")


@dataclass(frozen=True)
class ColumnTable:
    """The columns of a table that were read, in order, and the ``names`` of all.

    ``parts`` is the number of tables of the file whose rows follow each other here. ``image`` is the header of the
    image that the table was measured in, as SExtractor keeps it in LDAC files.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    parts: int = 1
    image: str = ""

    @classmethod
    def join(cls, tables: Sequence[ColumnTable]) -> ColumnTable:
        """Join the rows of tables with the same columns.

        Raises:
            ValueError: A column differs between them in unit or frame.
        """
        if len(tables) == 1:
            return tables[0]
        columns = []
        for same in zip(*(table.columns for table in tables), strict=True):
            if len({(one.unit, one.frame) for one in same}) > 1:
                raise ValueError(f"the column {same[0].name} has different units or frames in its tables")
            # Tables without a row have no type.
            filled = [one for one in same if len(one.values)] or same[:1]
            if len({one.is_text for one in filled}) > 1:
                raise ValueError(f"the column {same[0].name} has different types in its tables")
            problem = next((one.problem for one in same if one.problem), "")
            values, whole = np.concatenate([one.values for one in filled]), all(one.is_whole for one in filled)
            blank = all(one.is_blank for one in filled)
            columns.append(replace(same[0], values=values, problem=problem, is_whole=whole, is_blank=blank))
        return cls(tuple(columns), tables[0].names, len(tables), tables[0].image)


def check_rows(count: int) -> None:
    """Refuse a table of too many rows.

    Raises:
        ValueError: There are more than ``MAX_ROWS``.
    """
    if count > MAX_ROWS:
        raise ValueError(f"it has {count} rows, more than the {MAX_ROWS} that are read")


def _word(number: float) -> str:
    if np.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < EXACT else f"{number:.15g}"


def _texts(array: NDArray[Any], mask: NDArray[np.bool_]) -> list[str]:
    texts = []
    for one, masked in zip(array.tolist(), mask.tolist(), strict=True):
        text = one.decode("utf-8", "replace") if isinstance(one, bytes) else one
        texts.append("" if masked or text is None else str(text).strip())
    return texts

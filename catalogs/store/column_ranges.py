"""Smallest and largest values of columns by row group, and the conditions that they rule out.

Ranges leave out NaN and null, which pass no comparison but ``!=``. So a condition here is one that every row must meet
that passes a filter, and of ``!=``, ``not`` and ``isnan`` there is none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Number = int | float | str
_KINDS: dict[type, Any] = {int: np.int64, float: np.float64, str: object}


@dataclass(frozen=True)
class ColumnRange:
    """``low`` and ``high`` [G] of a column, where they are ``known`` [G]: int64, float64 or text."""

    low: NDArray[Any]
    high: NDArray[Any]
    known: Flags

    @classmethod
    def of(cls, low: Sequence[Any], high: Sequence[Any]) -> ColumnRange | None:
        """Make the range of values of one type, None where they are not known; None for a type without an order here.

        Raises:
            ValueError: Values are of several types, or a whole number has more than 64 bits.
        """
        known = np.array([a is not None and b is not None for a, b in zip(low, high, strict=True)], bool)
        kinds = {type(value) for ends in (low, high) for value in ends if value is not None}
        if not kinds or not kinds <= set(_KINDS):
            return None
        if len(kinds) > 1:
            raise ValueError("its values are of several types")
        kind = kinds.pop()
        try:
            ends = [np.array([kind() if v is None else v for v in values], _KINDS[kind]) for values in (low, high)]
        except OverflowError as error:
            raise ValueError("a number has more than 64 bits") from error
        if kind is float:
            known &= ~(np.isnan(ends[0]) | np.isnan(ends[1]))
        return cls(ends[0], ends[1], known)


@dataclass(frozen=True)
class Ranges:
    """The ranges of some columns in ``groups`` row groups."""

    groups: int
    columns: Mapping[str, ColumnRange]

    @classmethod
    def of_footer(cls, metadata: pq.FileMetaData, names: Iterable[str]) -> Ranges:
        """Take the ranges of these columns from the statistics of a Parquet file."""
        place = {metadata.schema.column(number).path: number for number in range(metadata.num_columns)}
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        columns: dict[str, ColumnRange] = {}
        for name in names:
            found = [groups[number].column(place[name]).statistics for number in range(len(groups))]
            ends = [(one.min, one.max) if one is not None and one.has_min_max else (None, None) for one in found]
            ranges = ColumnRange.of([low for low, _ in ends], [high for _, high in ends])
            if ranges is not None:
                columns[name] = ranges
        return cls(len(groups), columns)


class Condition(Protocol):
    """What every row meets that passes a filter. It can be pickled."""

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups [G] in which a row may meet it."""


@dataclass(frozen=True)
class Comparison:
    """A column against a constant, in the type in which the filter compares them; ``op`` is not ``!=``."""

    column: str
    op: str
    value: Number

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups whose range reaches the constant."""
        return _within(ranges, self.column, _REACHES[self.op], self.value)


@dataclass(frozen=True)
class Membership:
    """A column among constants."""

    column: str
    values: tuple[Number, ...]

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups whose range holds one of them."""
        return _any([_within(ranges, self.column, _REACHES["=="], value) for value in self.values], ranges)


@dataclass(frozen=True)
class Substring:
    """A column of text that holds a part."""

    column: str
    part: str

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups of several texts, and those of one that holds the part."""

        def reaches(low: NDArray[Any], high: NDArray[Any], part: Any) -> Flags:
            return np.array([a != b or part in a for a, b in zip(low, high, strict=True)], bool)

        return _within(ranges, self.column, reaches, self.part)


@dataclass(frozen=True)
class Both:
    """Two conditions that must hold."""

    one: Condition
    other: Condition

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups in which each may hold."""
        return self.one.may_hold(ranges) & self.other.may_hold(ranges)


@dataclass(frozen=True)
class Either:
    """Two conditions of which one must hold."""

    one: Condition
    other: Condition

    def may_hold(self, ranges: Ranges) -> Flags:
        """Tell the row groups in which one of them may hold."""
        return self.one.may_hold(ranges) | self.other.may_hold(ranges)


def both(conditions: Sequence[Condition | None]) -> Condition | None:
    """Join conditions that must all hold; what is unknown of one leaves the others."""
    known = [condition for condition in conditions if condition is not None]
    return reduce(Both, known) if known else None


def either(conditions: Sequence[Condition | None]) -> Condition | None:
    """Join conditions of which one must hold; None as soon as one is unknown."""
    known = [condition for condition in conditions if condition is not None]
    return reduce(Either, known) if known and len(known) == len(conditions) else None


def compare(column: str, op: str, value: Number) -> Condition | None:
    """Make the condition of a comparison; None for ``!=``, which NaN passes too."""
    return None if op == "!=" else Comparison(column, op, value)


def among(column: str, values: Sequence[Number]) -> Condition | None:
    """Make the condition of a value among others; None where NaN is one of these, which Arrow finds in a list."""
    if any(isinstance(value, float) and math.isnan(value) for value in values):
        return None
    return Membership(column, tuple(values))


_Reaches = Callable[[NDArray[Any], NDArray[Any], Any], Any]

_REACHES: dict[str, _Reaches] = {
    "<": lambda low, high, value: operator.lt(low, value),
    "<=": lambda low, high, value: operator.le(low, value),
    ">": lambda low, high, value: operator.gt(high, value),
    ">=": lambda low, high, value: operator.ge(high, value),
    "==": lambda low, high, value: operator.le(low, value) & operator.ge(high, value),
}


def _within(ranges: Ranges, column: str, reaches: _Reaches, value: Number) -> Flags:
    """Tell the row groups whose range of a column reaches a value, or is unknown."""
    found = ranges.columns.get(column)
    if found is None:
        return np.ones(ranges.groups, bool)
    low, high = found.low, found.high
    if isinstance(value, float) and low.dtype.kind == "i":
        # The filter compares whole numbers with a fraction in double precision; rounding keeps their order.
        low, high = low.astype(np.float64), high.astype(np.float64)
    flags: Flags = ~found.known | np.asarray(reaches(low, high, value), bool)
    return flags


def _any(flags: Sequence[Flags], ranges: Ranges) -> Flags:
    return np.asarray(np.logical_or.reduce(flags)) if flags else np.zeros(ranges.groups, bool)

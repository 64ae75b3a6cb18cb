"""Typed parts of a row filter: what is compared, added or joined is known before any row is read.

No operation here can fail on the values of a row. Whole numbers that could leave 64 bits, and every quotient, are
computed in floating point, where a division by zero is infinite or NaN.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalogs.store import column_ranges
from catalogs.store.column_ranges import Condition

_LEAST, _MOST = -(2**63), 2**63 - 1
# Columns of 64 bits are ids and HEALPix pixels: no id is larger, and -1 stands for none. The rest up to 2**63 leaves
# room for what a filter adds to them.
_SMALLEST_ID, _LARGEST_ID = -1, 9_200_000_000_000_000_000

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_ARITHMETIC: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "+": (operator.add, pc.add),
    "-": (operator.sub, pc.subtract),
    "*": (operator.mul, pc.multiply),
    "/": (np.true_divide, pc.divide),
}
_BITS = {"&": (operator.and_, pc.bit_wise_and), "|": (operator.or_, pc.bit_wise_or)}


@dataclass(frozen=True)
class Value:
    """A part of a filter.

    ``kind``: ``text``, ``truth``, ``whole`` (numbers from ``low`` to ``high``), ``single`` or ``double``. ``constant``
    is its value where no column is in it, ``name`` that of a bare column. ``possible``, of a truth, is a condition of
    every row that the truth passes, which may be compared with ranges of columns (None: there is none). Ranges leave
    out NaN: a group of magnitudes below 30 would be skipped for ``not mag < 30`` or ``isnan(mag)`` although its NaN
    pass.
    """

    expression: Any
    kind: str
    low: int = 0
    high: int = 0
    constant: Any = None
    name: str | None = None
    possible: Condition | None = None

    @property
    def is_number(self) -> bool:
        return self.kind in ("whole", "single", "double")

    @property
    def as_double(self) -> Any:
        """The numbers in double precision; whole numbers above 2**53 are rounded."""
        if self.constant is not None:
            return pc.scalar(float(self.constant))
        return self.expression if self.kind == "double" else self.expression.cast("float64", safe=False)

    @property
    def as_whole(self) -> Any:
        return self.expression.cast("int64")


def column(field: pa.Field) -> Value:
    """Make the value of a column."""
    expression, kind = pc.field(field.name), field.type
    if pa.types.is_boolean(kind):
        return Value(expression, "truth")
    if pa.types.is_integer(kind):
        bits = kind.bit_width
        least, most = (
            (0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        if bits == 64:
            least, most = _SMALLEST_ID, _LARGEST_ID
        return Value(expression, "whole", least, most, name=field.name)
    if pa.types.is_floating(kind):
        return Value(expression, "double" if kind.bit_width == 64 else "single", name=field.name)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Value(expression, "text", name=field.name)
    raise TypeError(f"{field.name} is neither number nor text")


def constant(value: bool | int | float | str) -> Value:
    """Make the value of a constant.

    Raises:
        ValueError: A whole number has more than 64 bits.
    """
    if isinstance(value, bool):
        return Value(pc.scalar(value), "truth", constant=value)
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise ValueError(f"{value} has more than 64 bits")
        return Value(pc.scalar(pa.scalar(value, pa.int64())), "whole", value, value, value)
    return Value(pc.scalar(value), "text" if isinstance(value, str) else "double", constant=value)


def join(op: str, values: Sequence[Value]) -> Value:
    """Join conditions by ``and`` or ``or``."""
    on_columns, on_conditions = (
        (operator.and_, column_ranges.both) if op == "and" else (operator.or_, column_ranges.either)
    )
    rows = functools.reduce(on_columns, [_truth(value).expression for value in values])
    return Value(rows, "truth", possible=on_conditions([value.possible for value in values]))


def invert(value: Value) -> Value:
    """Make ``not`` of a condition."""
    return Value(~_truth(value).expression, "truth")


def combine(op: str, left: Value, right: Value) -> Value:
    """Join two conditions by ``&`` or ``|``, or the bits of two whole numbers."""
    if left.kind == right.kind == "truth":
        return join("and" if op == "&" else "or", [left, right])
    if left.kind == right.kind == "whole":
        on_numbers, on_columns = _BITS[op]
        if left.constant is not None and right.constant is not None:
            return constant(on_numbers(left.constant, right.constant))
        return Value(on_columns(left.as_whole, right.as_whole), "whole", _LEAST, _MOST)
    raise TypeError(f"{op} joins two conditions, or the bits of two whole numbers")


def calculate(op: str, left: Value, right: Value) -> Value:
    """Add, subtract, multiply or divide numbers."""
    for value in (left, right):
        _number(value, op)
    on_numbers, on_columns = _ARITHMETIC[op]
    # Of a sum, a difference or a product the extremes are those of the extremes.
    ends = [on_numbers(a, b) for a in (left.low, left.high) for b in (right.low, right.high)] if op != "/" else []
    whole = left.kind == right.kind == "whole" and op != "/" and min(ends) >= _LEAST and max(ends) <= _MOST
    if left.constant is not None and right.constant is not None:
        with np.errstate(all="ignore"):
            return constant(ends[0] if whole else float(on_numbers(float(left.constant), float(right.constant))))
    if whole:
        return Value(on_columns(left.as_whole, right.as_whole), "whole", min(ends), max(ends))
    return Value(on_columns(left.as_double, right.as_double), "double")


def negate(value: Value) -> Value:
    """Change the sign of a number."""
    if value.constant is not None and value.is_number:
        return constant(operator.neg(value.constant))
    if value.kind == "whole":
        return calculate("-", constant(0), value)
    return Value(pc.negate(_number(value, "-").as_double), "double")


def absolute(value: Value) -> Value:
    """Drop the sign of a number."""
    if value.constant is not None and value.is_number:
        return constant(operator.abs(value.constant))
    if value.kind == "whole" and value.low > _LEAST:
        return Value(pc.abs(value.as_whole), "whole", 0, max(-value.low, value.high))
    return Value(pc.abs(_number(value, "abs").as_double), "double")


def is_nan(value: Value) -> Value:
    """Tell the numbers that are NaN, as magnitudes without a flux are."""
    return Value(pc.is_nan(_number(value, "isnan").as_double), "truth")


def compare(op: str, left: Value, right: Value) -> Value:
    """Compare numbers with numbers, text with text, and conditions with true, false, 1 and 0."""
    if left.constant is not None:
        if right.constant is not None:
            raise TypeError("a constant is compared with a constant")
        return compare(_MIRRORED[op], right, left)
    bound: Any = right.constant
    if left.is_number and right.is_number:
        a, b = _numbers(left, right)
        bound = _bound(left, right.constant)
    elif left.kind == right.kind == "text":
        a, b = left.expression, right.expression
    elif "truth" in (left.kind, right.kind) and _is_truth(left) and _is_truth(right):
        return Value(_COMPARE[op](left.as_whole, right.as_whole), "truth")
    else:
        raise TypeError(f"{_NAMES[left.kind]} is compared with {_NAMES[right.kind]}")
    possible = None if left.name is None or bound is None else column_ranges.compare(left.name, op, bound)
    return Value(_COMPARE[op](a, b), "truth", possible=possible)


def among(value: Value, choices: Sequence[Any]) -> Value:
    """Tell the rows whose value is one of ``choices``; each is compared as ``compare`` does it."""
    if value.constant is not None:
        raise TypeError("a constant is looked up in a list")
    # Refuses choices that the value cannot be compared with.
    for choice in choices:
        compare("==", value, constant(choice))
    if value.kind == "truth":
        rows = value.as_whole.isin(pa.array([int(choice) for choice in choices], pa.int64()))
        return Value(rows, "truth")
    looked_up: list[Any] = list(choices)
    if value.kind == "whole":
        looked_up = [int(choice) for choice in choices if _as_whole(choice) is not None]
        rows = value.as_whole.isin(pa.array(looked_up, pa.int64()))
    elif value.kind == "text":
        rows = value.expression.isin(pa.array(choices, pa.string()))
    else:
        with np.errstate(over="ignore"):
            numbers = np.array([float(choice) for choice in choices]).astype(value.kind)
        rows, looked_up = value.expression.isin(pa.array(numbers)), numbers.tolist()
        if 0 in looked_up:  # in a list Arrow tells -0 from 0
            rows |= value.expression == pa.scalar(0.0, pa.float32() if value.kind == "single" else pa.float64())
    return Value(rows, "truth", possible=column_ranges.among(value.name, looked_up) if value.name else None)


def holds_text(value: Value, part: str) -> Value:
    """Tell the text that ``part`` is a part of, as a band is of ``bands_present``."""
    if value.kind != "text" or value.constant is not None:
        raise TypeError("text is looked up in what is no text")
    rows = pc.match_substring(value.expression, part)
    return Value(rows, "truth", possible=column_ranges.Substring(value.name, part) if value.name else None)


_NAMES = {"text": "text", "truth": "a condition", "whole": "a number", "single": "a number", "double": "a number"}


def _numbers(left: Value, right: Value) -> tuple[Any, Any]:
    """Two numbers, the second of which may be a constant, in the type in which they are compared."""
    if right.constant is None:
        whole = left.kind == right.kind == "whole"
        return (left.as_whole, right.as_whole) if whole else (left.as_double, right.as_double)
    if left.kind == "single":
        # 21.3 is what a reader sees of the single-precision number nearest to it.
        with np.errstate(over="ignore"):
            return left.expression, pc.scalar(pa.scalar(np.float32(right.constant)))
    if left.kind == "whole" and (whole_number := _as_whole(right.constant)) is not None:
        return left.expression, constant(whole_number).expression
    # A fraction lies where doubles hold every whole number, or beyond all of 64 bits.
    return left.as_double, right.as_double


def _bound(left: Value, number: Any) -> int | float | None:
    """The number that a range of ``left`` is compared with, of the value that ``_numbers`` compares rows with."""
    if number is None:
        return None
    if left.kind == "single":
        with np.errstate(over="ignore"):
            return float(np.float32(number))
    whole = _as_whole(number) if left.kind == "whole" else None
    return float(number) if whole is None else whole


def _as_whole(number: int | float) -> int | None:
    """The whole number that a constant is equal to, if it has 64 bits; None where there is none."""
    return int(number) if math.isfinite(number) and number == int(number) and _LEAST <= number <= _MOST else None


def _is_truth(value: Value) -> bool:
    return value.kind == "truth" or (value.kind == "whole" and value.constant in (0, 1))


def _truth(value: Value) -> Value:
    if value.kind != "truth":
        raise TypeError(f"{_NAMES[value.kind]} stands where a condition must be")
    return value


def _number(value: Value, op: str) -> Value:
    if not value.is_number:
        raise TypeError(f"{op} takes numbers, not {_NAMES[value.kind]}")
    return value

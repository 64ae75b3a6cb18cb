"""Row filters as Lance takes them, translated from their parsed form: no text of a user is passed on.

Lance orders floating-point numbers totally: NaN of one sign is above all numbers and NaN of the other below, and -0 is
below 0. So each comparison is written with bounds that leave NaN out and treat both zeros alike, as Arrow does. Where a
part has no translation, the condition is dropped from a conjunction, which then passes more rows than the filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from catalogs.store import filter_values, row_filter
from catalogs.store.filter_values import Value
from catalogs.store.row_filter import RowFilter

_SIGNS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "=", "!=": "<>"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_BITS = 32


@dataclass(frozen=True)
class SqlFilter:
    """A condition that passes every row of a filter; if ``exact``, no other. ``sql`` is None if it passes all."""

    sql: str | None
    exact: bool


@dataclass(frozen=True)
class _Part:
    """A part of a filter: its type, and its translation. Where that is not ``exact`` it passes more rows."""

    value: Value
    sql: str | None
    exact: bool = True


def translate(chosen: RowFilter, schema: pa.Schema) -> SqlFilter:
    """Translate a filter; one that was not made from texts passes all rows."""
    if not chosen.texts:
        return SqlFilter(None, exact=False)
    algebra = _Sql()
    parts = [row_filter.translate(text, schema, algebra) for text in chosen.texts]
    joined = algebra.join("and", parts)
    return SqlFilter(joined.sql, joined.exact and joined.sql is not None)


class _Sql:
    """The algebra of ``row_filter.translate``; types and constants are those of ``filter_values``."""

    def column(self, field: pa.Field) -> _Part:
        return _Part(filter_values.column(field), f"`{field.name}`")

    def constant(self, value: bool | int | float | str) -> _Part:
        return _constant(filter_values.constant(value))

    def join(self, op: str, values: Sequence[_Part]) -> _Part:
        value = filter_values.join(op, [one.value for one in values])
        known = [one.sql for one in values if one.sql is not None]
        exact = all(one.exact and one.sql is not None for one in values)
        # Without one of its parts a conjunction passes more rows; a disjunction would pass fewer.
        if not known or (op == "or" and len(known) < len(values)):
            return _Part(value, None)
        return _Part(value, "(" + f" {op.upper()} ".join(known) + ")", exact)

    def invert(self, value: _Part) -> _Part:
        return _Part(filter_values.invert(value.value), _sql("(NOT {})", value))

    def combine(self, op: str, left: _Part, right: _Part) -> _Part:
        value = filter_values.combine(op, left.value, right.value)
        if value.constant is not None:
            return _constant(value)
        if value.kind == "truth":
            return self.join("and" if op == "&" else "or", [left, right])
        numbers, mask = (right, left) if left.value.constant is not None else (left, right)
        bits = mask.value.constant
        # Lance has no operators of bits. Those of small numbers are digits of a sum that is positive.
        small = numbers.value.low >= -(2**_BITS) and numbers.value.high <= 2**_BITS
        if op != "&" or bits is None or not small or not 0 <= bits < 2**_BITS:
            return _Part(value, None)
        digit = f"(((CAST({{}} AS BIGINT) + {2 ** (_BITS + 1)}) / {{place}}) % 2) * {{place}}"
        terms = [digit.replace("{place}", str(1 << bit)) for bit in range(_BITS) if bits >> bit & 1]
        return _Part(value, _sql("(" + " + ".join(terms or ["0"]) + ")", *[numbers] * len(terms)))

    def calculate(self, op: str, left: _Part, right: _Part) -> _Part:
        value = filter_values.calculate(op, left.value, right.value)
        if value.constant is not None:
            return _constant(value)
        as_type = _as_whole if value.kind == "whole" else _as_double
        return _Part(value, _sql(f"({{}} {op} {{}})", as_type(left), as_type(right)))

    def negate(self, value: _Part) -> _Part:
        made = filter_values.negate(value.value)
        if made.constant is not None:
            return _constant(made)
        template = "(0 - {})" if made.kind == "whole" else "(-1.0 * {})"
        return _Part(made, _sql(template, _as_whole(value) if made.kind == "whole" else _as_double(value)))

    def absolute(self, value: _Part) -> _Part:
        made = filter_values.absolute(value.value)
        if made.constant is not None:
            return _constant(made)
        return _Part(made, _sql("abs({})", _as_whole(value) if made.kind == "whole" else _as_double(value)))

    def is_nan(self, value: _Part) -> _Part:
        return _Part(filter_values.is_nan(value.value), _sql("isnan({})", _as_double(value)))

    def compare(self, op: str, left: _Part, right: _Part) -> _Part:
        value = filter_values.compare(op, left.value, right.value)
        if left.value.constant is not None:
            left, right, op = right, left, _MIRRORED[op]
        if left.value.is_number and right.value.is_number:
            return _Part(value, _compare_numbers(op, left, right))
        if left.value.kind == "text":
            return _Part(value, _sql(f"({{}} {_SIGNS[op]} {{}})", left, right))
        return _Part(value, _sql(f"({{}} {_SIGNS[op]} {{}})", _as_whole(left), _as_whole(right)))

    def among(self, value: _Part, choices: Sequence[Any]) -> _Part:
        made = filter_values.among(value.value, choices)
        if not choices:
            return _Part(made, "false")
        return _Part(made, self.join("or", [self.compare("==", value, self.constant(one)) for one in choices]).sql)

    def holds_text(self, value: _Part, part: str) -> _Part:
        made = filter_values.holds_text(value.value, part)
        return _Part(made, _sql("(strpos({}, {}) > 0)", value, self.constant(part)) if part else "true")


def _sql(template: str, *parts: _Part) -> str | None:
    """Fill in the translations; there is none where one of them is missing or passes more rows."""
    if any(part.sql is None or not part.exact for part in parts):
        return None
    # Text of a constant may hold braces, so the template is cut where the parts belong.
    pieces = template.split("{}")
    return "".join(piece + sql for piece, sql in zip(pieces, [*(str(part.sql) for part in parts), ""], strict=True))


def _constant(value: Value) -> _Part:
    constant = value.constant
    if isinstance(constant, bool):
        return _Part(value, "true" if constant else "false")
    if isinstance(constant, str):
        return _Part(value, _quote(constant))
    if isinstance(constant, int):
        return _Part(value, str(constant))
    return _Part(value, _floating(float(constant), "DOUBLE"))


def _quote(text: str) -> str | None:
    # A null character ends a text for some readers; such a filter is left to Arrow.
    return None if "\0" in text else "'" + text.replace("'", "''") + "'"


def _floating(number: float, kind: str) -> str | None:
    if math.isnan(number):
        return None
    text = ("Infinity" if number > 0 else "-Infinity") if math.isinf(number) else repr(number)
    return f"CAST('{text}' AS {kind})"


def _as_double(part: _Part) -> _Part:
    if part.value.constant is not None:
        return _Part(part.value, _floating(float(part.value.constant), "DOUBLE"))
    return part if part.value.kind == "double" else _Part(part.value, _sql("CAST({} AS DOUBLE)", part))


def _as_whole(part: _Part) -> _Part:
    if part.value.constant is not None:
        return _Part(part.value, str(int(part.value.constant)))
    return _Part(part.value, _sql("CAST({} AS BIGINT)", part))


def _compare_numbers(op: str, left: _Part, right: _Part) -> str | None:
    """Compare numbers in the type in which ``filter_values.compare`` does."""
    constant = right.value.constant
    if constant is None:
        if left.value.kind == right.value.kind == "whole":
            return _sql(f"({{}} {_SIGNS[op]} {{}})", _as_whole(left), _as_whole(right))
        one, other = _as_double(left), _as_double(right)
        # The sum with 0 makes a 0 of -0.
        sign = _SIGNS["==" if op == "!=" else op]
        pair = f"(({{}} + 0.0) {sign} ({{}} + 0.0) AND NOT isnan({{}}) AND NOT isnan({{}}))"
        return _sql(f"(NOT {pair})" if op == "!=" else pair, one, other, one, other)
    if left.value.kind == "whole" and math.isfinite(constant) and int(constant) == constant:
        if abs(constant) >= 2**63:
            return None
        # Lance brings a constant into the type of the column, which must hold it.
        numbers = left if left.value.low <= constant <= left.value.high else _as_whole(left)
        return _sql(f"({{}} {_SIGNS[op]} {int(constant)})", numbers)
    kind, numbers = ("FLOAT", left) if left.value.kind == "single" else ("DOUBLE", _as_double(left))
    with np.errstate(over="ignore"):
        bound = float(np.float32(constant)) if kind == "FLOAT" else float(constant)
    if math.isnan(bound):
        return None
    low, high = (_floating(-0.0, kind), _floating(0.0, kind)) if bound == 0 else (_floating(bound, kind),) * 2
    least, most = _floating(-math.inf, kind), _floating(math.inf, kind)
    template = {
        "<": f"({{}} >= {least} AND {{}} < {low})",
        "<=": f"({{}} >= {least} AND {{}} <= {high})",
        ">": f"({{}} > {high} AND {{}} <= {most})",
        ">=": f"({{}} >= {low} AND {{}} <= {most})",
        "==": f"({{}} >= {low} AND {{}} <= {high})",
        "!=": f"(NOT ({{}} >= {low} AND {{}} <= {high}))",
    }[op]
    return _sql(template, numbers, numbers)

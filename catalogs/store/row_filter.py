"""Row filters as people write them, ``mag_r < 21 and is_primary``, turned into Arrow expressions.

The text is parsed by Python's ``ast`` and only the forms below are translated; nothing is ever evaluated.

    comparisons      mag_g - mag_r > 0.8,  18 < mag_r <= 21,  tile == "217.292",  flags & 4 == 0
    and, or, not     is_primary and not (snr < 10 or isnan(mag_u))
    in               tile in ("217.292", "218.292"),  "u" in bands_present
    functions        isnan(x), abs(x)
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.schema import EMBEDDING, IS_PRIMARY

_MAX_LENGTH = 4000
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.BitAnd: pc.bit_wise_and,
    ast.BitOr: pc.bit_wise_or,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"isnan": pc.is_nan, "abs": pc.abs}


@dataclass(frozen=True)
class RowFilter:
    """A checked row filter: its text, the Arrow expression, and the columns it reads.

    ``prunable`` is the part that may be compared with row-group statistics (None: no part). Statistics leave out NaN: a
    group of magnitudes below 30 would be skipped for ``not mag < 30`` or ``isnan(mag)`` although its NaN pass.
    """

    text: str
    expression: pc.Expression
    columns: tuple[str, ...]
    prunable: pc.Expression | None


def parse(text: str, schema: pa.Schema) -> RowFilter:
    """Parse and check a filter against the columns of ``schema``.

    Raises:
        ScannerError: ``where.syntax``, ``where.column`` (lists the columns), ``where.type``.
    """
    try:
        # The text is cut first, so that the parser never sees an unbounded one.
        tree = ast.parse(text.strip()[: _MAX_LENGTH + 1], mode="eval").body
        if len(text) > _MAX_LENGTH:
            raise SyntaxError(f"longer than {_MAX_LENGTH} characters")
        columns = _columns(tree, schema)
        expression = _expression(tree)
        prunable = _prunable(tree)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        # Python's parser raises the last two for text that is nested too deeply.
        raise ScannerError(
            ErrorCode.WHERE_SYNTAX,
            f"The filter {text!r} cannot be read: {error.msg if isinstance(error, SyntaxError) else error}.",
            'Write it like: mag_r < 21 and is_primary and not isnan(mag_u) and tile in ("217.292", "218.292")',
        ) from error
    return RowFilter(text, _check_expression(text, expression, schema), columns, prunable)


def _columns(tree: ast.expr, schema: pa.Schema) -> tuple[str, ...]:
    # The name in a call is a function, not a column.
    functions = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in functions}
    usable = [name for name in schema.names if name != EMBEDDING]
    if unknown := [name for name in names if name not in usable]:
        raise ScannerError(
            ErrorCode.WHERE_COLUMN,
            f"A filter cannot use {', '.join(unknown)}: there is no such column to compare.",
            f"The columns are {', '.join(usable)}.",
        )
    return tuple(names)


def _check_expression(text: str, expression: Any, schema: pa.Schema) -> pc.Expression:
    try:
        # A filter over no rows makes Arrow check the types before a tile is read.
        schema.empty_table().filter(expression)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        hint = "Compare numbers with numbers and text with text; the filter must be true or false for each row."
        raise ScannerError(ErrorCode.WHERE_TYPE, f"The filter {text!r} cannot be evaluated: {reason}", hint) from error
    return expression


def _expression(node: ast.expr) -> Any:
    match node:
        case ast.BoolOp(op=op, values=values):
            combine = operator.and_ if isinstance(op, ast.And) else operator.or_
            return functools.reduce(combine, [_expression(value) for value in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_expression(operand)
        # Python parses -5 as the negation of 5.
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return pc.scalar(-value)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_expression(left), _expression(right))
        case ast.Compare(left=left, ops=ops, comparators=rights):
            # A chain such as 18 < mag_r <= 21 means all of its pairs. The last right side is no left side: ``strict``
            # is off.
            pairs = zip([left, *rights], ops, rights, strict=False)
            return functools.reduce(operator.and_, [_comparison(a, op, b) for a, op, b in pairs])
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_expression(argument))
        case ast.Name(id=name):
            return pc.field(name)
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return pc.scalar(value)
    raise ValueError(f"{ast.unparse(node)!r} is not one of the supported forms")


def _prunable(tree: ast.expr) -> pc.Expression | None:
    """Join the conditions of an ``and`` that NaN never passes and that do not depend on which copy counts."""
    conditions = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    passed_by_nan = (ast.Not, ast.NotEq, ast.NotIn, ast.Call)
    # ``is_primary`` depends on which other tiles there are, so its statistics tell nothing.
    safe = [
        condition
        for condition in conditions
        if not any(
            isinstance(node, passed_by_nan) or (isinstance(node, ast.Name) and node.id == IS_PRIMARY)
            for node in ast.walk(condition)
        )
    ]
    return functools.reduce(operator.and_, [_expression(condition) for condition in safe]) if safe else None


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
    if type(op) in _COMPARE:
        return _COMPARE[type(op)](_expression(left), _expression(right))
    if isinstance(op, ast.In | ast.NotIn):
        inside = _inside(left, right)
        return ~inside if isinstance(op, ast.NotIn) else inside
    raise ValueError("'is' is not supported; use ==")


def _inside(left: ast.expr, right: ast.expr) -> Any:
    if isinstance(right, ast.Tuple | ast.List | ast.Set):
        # ``literal_eval`` accepts constants alone, so nothing of the list is executed.
        return _expression(left).isin(list(ast.literal_eval(right)))
    if isinstance(left, ast.Constant) and isinstance(left.value, str):
        # ``bands_present`` is one text, such as "ugr", and a band is a part of it.
        return pc.match_substring(_expression(right), left.value)
    raise ValueError(f"{ast.unparse(right)!r} is not a list of values")

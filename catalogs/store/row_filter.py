"""Row filters as people write them, ``mag_r < 21 and is_primary``, turned into Arrow expressions.

The text is parsed by Python's ``ast`` and only the forms below are translated; nothing is ever evaluated.

    comparisons      mag_g - mag_r > 0.8,  18 < mag_r <= 21,  tile == "217.292",  flags & 4 == 0
    and, or, not     is_primary and not (snr < 10 or isnan(mag_u)),  (snr > 10) & ~is_primary
    in               tile in ("217.292", "218.292"),  "u" in bands_present
    functions        isnan(x), abs(x)

Python, SQL and numpy bind ``&``, ``|`` and chains of comparisons differently. What would mean different things to their
readers is refused, with a hint to write ``and`` or parentheses.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store import column_ranges, filter_values
from catalogs.store.column_ranges import Condition
from catalogs.store.filter_values import Value
from catalogs.store.schema import EMBEDDING
from catalogs.store.scores import PREFIX

_MAX_LENGTH = 4000
_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_BITS = {ast.BitAnd: "&", ast.BitOr: "|"}
_FUNCTIONS = ("isnan", "abs")
# Chains that every reader takes for a range.
_RANGES = ({"<", "<="}, {">", ">="})
_NOT_NUMBERS = ("nan", "inf", "none", "null")

Part = TypeVar("Part")


class Algebra(Protocol[Part]):
    """What the parts of a filter are translated to: ``filter_values`` makes Arrow expressions of them.

    Each method raises ``TypeError`` or ``ValueError`` where ``filter_values`` does.
    """

    def column(self, field: pa.Field, /) -> Part: ...
    def constant(self, value: bool | int | float | str, /) -> Part: ...
    def join(self, op: str, values: Sequence[Part], /) -> Part: ...
    def invert(self, value: Part, /) -> Part: ...
    def combine(self, op: str, left: Part, right: Part, /) -> Part: ...
    def calculate(self, op: str, left: Part, right: Part, /) -> Part: ...
    def negate(self, value: Part, /) -> Part: ...
    def absolute(self, value: Part, /) -> Part: ...
    def is_nan(self, value: Part, /) -> Part: ...
    def compare(self, op: str, left: Part, right: Part, /) -> Part: ...
    def among(self, value: Part, choices: Sequence[Any], /) -> Part: ...
    def holds_text(self, value: Part, part: str, /) -> Part: ...


@dataclass(frozen=True)
class RowFilter:
    """A checked row filter: its text, the Arrow expression, and the columns it reads.

    ``possible`` is a condition of every row that passes, which may be compared with ranges of columns (None: no part).
    ``texts`` are those that a row must all pass, each to be translated alone; a filter made without a text has none.
    ``ids`` are those of the objects that pass, where it asks for nothing else.
    """

    text: str
    expression: pc.Expression
    columns: tuple[str, ...]
    possible: Condition | None
    texts: tuple[str, ...] = ()
    ids: tuple[int, ...] | None = None

    def __and__(self, other: RowFilter) -> RowFilter:
        return RowFilter(
            f"({self.text}) and ({other.text})",
            self.expression & other.expression,
            tuple(dict.fromkeys(self.columns + other.columns)),
            column_ranges.both([self.possible, other.possible]),
            self.texts + other.texts if self.texts and other.texts else (),
        )

    def apply(self, table: pa.Table) -> pa.Table:
        """Select the rows that pass.

        Raises:
            ScannerError: ``where.type``.
        """
        try:
            if self.ids is not None:
                # Arrow plans an expression anew for each table and evaluates it in threads, which takes five times as
                # long as to look for a few ids.
                wanted = pa.array(self.ids, table.schema.field("object_id").type)
                return table.filter(pc.is_in(table.column("object_id"), value_set=wanted))
            return table.filter(self.expression)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise _type_error(self.text, error) from error


def parse(text: str, schema: pa.Schema) -> RowFilter:
    """Parse and check a filter against the columns of ``schema``.

    Raises:
        ScannerError: ``where.syntax``, ``where.column`` (lists the columns), ``where.type``.
    """
    line = _one_line(text)
    try:
        tree = ast.parse(line, mode="eval").body
        if len(text) > _MAX_LENGTH:
            raise SyntaxError(f"longer than {_MAX_LENGTH} characters")
        columns = _columns(tree, schema)
        value: Value = _Translator(line, schema, filter_values).condition(tree)
        if not columns:
            raise ValueError("it names no column")
    except TypeError as error:
        raise _type_error(text, error) from error
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        # Python's parser raises the last two for text that is nested too deeply.
        raise ScannerError(
            ErrorCode.WHERE_SYNTAX,
            f"The filter {text!r} cannot be read: {error.msg if isinstance(error, SyntaxError) else error}.",
            "Write it like: mag_r < 21 and is_primary and (flags & 4) == 0 and not isnan(mag_u)",
        ) from error
    row_filter = RowFilter(text, value.expression, columns, value.possible, (text,))
    # A filter over no rows makes Arrow check the types before a tile is read.
    row_filter.apply(schema.empty_table())
    return row_filter


def of_ids(ids: Sequence[int]) -> RowFilter:
    """Make the filter of the objects with these ids."""
    return RowFilter(
        "object_id",
        pc.field("object_id").isin(ids),
        ("object_id",),
        column_ranges.among("object_id", ids),
        ids=tuple(ids),
    )


def translate(text: str, schema: pa.Schema, algebra: Algebra[Part]) -> Part:
    """Translate a filter that ``parse`` has accepted, for another reader of rows than Arrow."""
    line = _one_line(text)
    return _Translator(line, schema, algebra).condition(ast.parse(line, mode="eval").body)


def _one_line(text: str) -> str:
    # Positions in the text are those of one line. It is cut first, so that the parser never sees an unbounded one.
    return text[: _MAX_LENGTH + 1].translate({ord("\n"): " ", ord("\r"): " "}).strip()


def _type_error(text: str, error: Exception) -> ScannerError:
    reason = str(error).splitlines()[0]
    hint = "Compare numbers with numbers and text with text; the filter must be true or false for each row."
    return ScannerError(ErrorCode.WHERE_TYPE, f"The filter {text!r} cannot be evaluated: {reason}.", hint)


def _columns(tree: ast.expr, schema: pa.Schema) -> tuple[str, ...]:
    # The name in a call is a function, not a column.
    functions = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in functions}
    usable = [name for name in schema.names if name != EMBEDDING]
    if unknown := [name for name in names if name not in usable]:
        missing = "Write isnan(x) for what has no value. " if unknown[0].lower() in _NOT_NUMBERS else ""
        if unknown[0].startswith(PREFIX):
            missing = "The model of this catalogue does not give that score. "
        raise ScannerError(
            ErrorCode.WHERE_COLUMN,
            f"A filter cannot use {', '.join(unknown)}: there is no such column to compare.",
            f"{missing}The columns are {', '.join(usable)}.",
        )
    return tuple(names)


class _Translator(Generic[Part]):
    """Translates the tree of one filter; its text tells what stands in parentheses, which the tree does not."""

    def __init__(self, line: str, schema: pa.Schema, algebra: Algebra[Part]) -> None:
        # The tree counts bytes.
        self._line, self._schema, self._algebra = line.encode(), schema, algebra

    def condition(self, node: ast.expr) -> Part:
        return self._algebra.join("and", [self._value(node)])

    def _value(self, node: ast.expr) -> Part:
        match node:
            case ast.BoolOp(op=op, values=values):
                word = "and" if isinstance(op, ast.And) else "or"
                for value in values if word == "and" else ():
                    self._refuse_bare(value, ast.BitOr)
                return self._algebra.join(word, [self._value(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._refuse_bare(operand, ast.BitAnd, ast.BitOr)
                return self._algebra.invert(self._value(operand))
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return self._algebra.invert(self._value(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._algebra.negate(self._value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BITS:
                for operand in (left, right):
                    self._refuse_bare(operand, *_ARITHMETIC)
                return self._algebra.combine(_BITS[type(op)], self._value(left), self._value(right))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._algebra.calculate(_ARITHMETIC[type(op)], self._value(left), self._value(right))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparisons([left, *rights], ops)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                inner = self._value(argument)
                return self._algebra.is_nan(inner) if name == "isnan" else self._algebra.absolute(inner)
            case ast.Name(id=name):
                return self._algebra.column(self._schema.field(name))
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return self._algebra.constant(value)
        raise ValueError(f"{ast.unparse(node)!r} is not one of the supported forms")

    def _comparisons(self, sides: list[ast.expr], ops: list[ast.cmpop]) -> Part:
        """Compare neighbours: a chain such as 18 < mag_r <= 21 means all of its pairs."""
        for side in sides:
            # In flags & 4 == 0 nothing but the bits can be meant.
            others = [one for one in sides if one is not side]
            if not (_is_bit_test(side) and len(others) == 1 and _is_whole(others[0])):
                self._refuse_bare(side, *_BITS)
        signs = {_COMPARISONS.get(type(op), "in") for op in ops}
        if len(ops) > 1 and not any(signs <= allowed for allowed in _RANGES):
            raise ValueError("a chain of comparisons is a range, such as 18 < x <= 21; join others by 'and'")
        pairs = zip(sides[:-1], ops, sides[1:], strict=True)
        return self._algebra.join("and", [self._comparison(left, op, right) for left, op, right in pairs])

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Part:
        if type(op) in _COMPARISONS:
            return self._algebra.compare(_COMPARISONS[type(op)], self._value(left), self._value(right))
        if isinstance(op, ast.In | ast.NotIn):
            inside = self._inside(left, right)
            return self._algebra.invert(inside) if isinstance(op, ast.NotIn) else inside
        raise ValueError("'is' is not supported; use ==")

    def _inside(self, left: ast.expr, right: ast.expr) -> Part:
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            # ``literal_eval`` accepts constants alone, so nothing of the list is executed.
            return self._algebra.among(self._value(left), list(ast.literal_eval(right)))
        if isinstance(left, ast.Constant) and isinstance(left.value, str):
            # ``bands_present`` is one text, such as "ugr", and a band is a part of it.
            return self._algebra.holds_text(self._value(right), left.value)
        raise ValueError(f"{ast.unparse(right)!r} is not a list of values")

    def _refuse_bare(self, node: ast.expr, *operators: type[ast.operator]) -> None:
        """Refuse these operators where no parentheses say what they join."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, operators) and not self._in_parentheses(node):
            part = ast.unparse(node)
            raise ValueError(f"{part!r} can be read in two ways: write 'and' or 'or', or put parentheses around it")

    def _in_parentheses(self, node: ast.expr) -> bool:
        before, after = self._line[: node.col_offset].rstrip(), self._line[node.end_col_offset :].lstrip()
        return before.endswith(b"(") and after.startswith(b")")


def _is_bit_test(node: ast.expr) -> bool:
    """Whether it is a column and the number of its bits, ``flags & 4``."""
    if not (isinstance(node, ast.BinOp) and type(node.op) in _BITS):
        return False
    names = [side for side in (node.left, node.right) if isinstance(side, ast.Name)]
    return len(names) == 1 and (_is_whole(node.left) or _is_whole(node.right))


def _is_whole(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int

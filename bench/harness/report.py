"""Results as text: numbers by name, lists of rows as tables, and targets beside what was reached.

Names carry the units.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalogs.text_table import text_table

WIDEST = 120
LEAST, MOST = ">=", "<="
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {LEAST: operator.ge, MOST: operator.le}


@dataclass(frozen=True)
class Target:
    """A limit for one number of a section; ``name`` joins the keys of nested mappings by dots."""

    name: str
    sign: str
    limit: float

    def row(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Compare the section's number with the limit; ``met`` is "not measured" where the section lacks it."""
        here: Any = section
        for key in self.name.split("."):
            here = here.get(key) if isinstance(here, Mapping) else None
        met = "not measured" if here is None else "yes" if _HOLDS[self.sign](here, self.limit) else "no"
        return {"bar": self.name, "wanted": f"{self.sign} {self.limit:g}", "here": here, "met": met}


def render(name: str, result: Mapping[str, Any]) -> str:
    """Render the result of a section: single numbers first, then a table for each list of rows."""
    single = {key: value for key, value in result.items() if not _is_table(value)}
    lines = [f"== {name} ==", *_named(single)]
    for key, value in result.items():
        if _is_table(value):
            lines += ["", f"{key}:", *_table(value)]
    return "\n".join([*lines, ""])


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _named(values: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    width = max((len(key) for key in values), default=0)
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{'  ' * depth}{key}"
            yield from _named(value, depth + 1)
        else:
            yield f"{'  ' * depth}{key:{width}}  {_text(value)}"


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give each row a line, or, where that is too wide, a column."""
    columns = list(rows[0])
    cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    if sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True)) > WIDEST:
        cells = [list(column) for column in zip(*cells, strict=True)]
    yield from (f"  {line}" for line in text_table(cells, ">").splitlines())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value)

"""Results as text: numbers by name, and lists of rows as tables. Names carry the units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDEST = 120


def render(name: str, result: Mapping[str, Any]) -> str:
    """A section's result: what is single first, then a table for each list of rows."""
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
    """A line for each row; where that is too wide, a column for each."""
    columns = list(rows[0])
    cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    if sum(max(len(line[place]) for line in cells) + 2 for place in range(len(columns))) > WIDEST:
        cells = [list(line) for line in zip(*cells, strict=True)]
        columns = cells[0]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value)

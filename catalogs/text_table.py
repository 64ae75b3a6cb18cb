"""Tables of text: columns of cells padded to one width, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest


def text_table(rows: Iterable[Sequence[str]], align: str = "<") -> str:
    """Lay out rows of cells in columns, two spaces apart; short rows end early.

    ``align`` has ``<`` or ``>`` for each column; its last letter serves all further columns.
    """
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
    aligned = align.ljust(len(widths), align[-1])
    return "\n".join(
        "  ".join(f"{cell:{to}{width}}" for cell, to, width in zip(line, aligned, widths, strict=False)).rstrip()
        for line in lines
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a table for a page or a model card."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

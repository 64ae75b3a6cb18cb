"""The gallery of an answer: the cutout of each query, then those of its neighbours, with what orders them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.errors import ScannerError
from catalogs.search.examples import Example
from scanner.figures.gallery import Panel, draw_gallery
from scanner.windows.by_position import Window, WindowReader

if TYPE_CHECKING:
    from astropy.table import Row, Table

log = logging.getLogger(__name__)

MOST = 600
"""Neighbours in a gallery: few programs open a picture of more."""


def draw(
    queries: Sequence[Example | None],
    answers: Sequence[Table],
    reader: WindowReader,
    path: Path,
    *,
    band_names: bool = False,
) -> None:
    """Draw the cutouts that the model saw: a row for each query and its answer; the query is None for a mere list.

    ``band_names``: the names of the bands are written into the cutouts.
    """
    rows: list[list[Panel]] = []
    room, total = MOST, sum(map(len, answers))
    if total > MOST:
        log.warning("The gallery shows the first %d of %d neighbours.", MOST, total)
    for query, whole in zip(queries, answers, strict=True):
        if room == 0:
            break
        answer = whole[:room]
        room -= len(answer)
        windows = reader.windows(*(answer[name].tolist() for name in ("tile", "ra", "dec")))
        panels = [
            Panel(_unless_error(window, f"Object {row['object_id']}"), _caption(row))
            for row, window in zip(answer, windows, strict=True)
        ]
        if query is not None:
            panels.insert(0, Panel(_query_window(query, reader), _query_caption(query), highlighted=True))
        rows.append(panels)
    draw_gallery(rows, reader.frame, path, band_names=band_names)


def _unless_error(window: Window | ScannerError, name: str) -> Window | None:
    """The window, or None with a warning where it could not be read."""
    if isinstance(window, ScannerError):
        log.warning("%s is not drawn: %s", name, window.message)
        return None
    return window


def _query_window(query: Example, reader: WindowReader) -> Window | None:
    # A spot or cutout that was embedded now holds its pixels. Those of a place are read again, with their north.
    if query.ra is not None and query.dec is not None:
        try:
            return reader.window(query.ra, query.dec)
        except ScannerError as error:
            if query.pixels is None:
                return _unless_error(error, "The query")
    return None if query.pixels is None else Window(query.pixels)


def _query_caption(query: Example) -> tuple[str, ...]:
    return ("query", f"object {query.object_id}" if query.object_id is not None else query.name)


def _caption(row: Row) -> tuple[str, ...]:
    magnitude = float(row["mag_auto"])
    brightness = f"  mag {magnitude:.1f}" if np.isfinite(magnitude) else ""
    # What the answer is in the order of: a ranking has scores, a query similarities, outliers distances.
    order = next(name for name in ("score", "similarity", "distance") if name in row.colnames)
    value = f"score {row[order]:.2f}" if order == "score" else f"{row[order]:.3f}"
    return (f"{value}{brightness}", f"{row['object_id']}")

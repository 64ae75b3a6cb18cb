"""The gallery of an answer: each query's cutout, then its neighbours', labelled with their similarity."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.errors import ScannerError
from catalogs.search.examples import Example
from scanner.figures.gallery import Panel, draw_gallery
from scanner.windows.by_position import Flux, WindowReader

if TYPE_CHECKING:
    from astropy.table import Row, Table

log = logging.getLogger(__name__)


def draw(queries: Sequence[Example | None], answers: Sequence[Table], stamps: WindowReader, path: Path) -> None:
    """Draw the windows that the model saw: a row for each query and its answer; a list that answers none has None."""
    rows = []
    for query, answer in zip(queries, answers, strict=True):
        panels = [Panel(_window(row, stamps), stamps.bands, _caption(row)) for row in answer]
        if query is not None:
            panels.insert(0, Panel(_query_window(query, stamps), stamps.bands, _query_caption(query), highlighted=True))
        rows.append(panels)
    draw_gallery(rows, path)


def _window(row: Row, stamps: WindowReader) -> Flux | None:
    """The window of a row of the answer, None (and a warning) where its pixels are not at hand."""
    try:
        return stamps.of(str(row["tile"]), float(row["ra"]), float(row["dec"]))
    except ScannerError as error:
        log.warning("Object %s is not drawn: %s", row["object_id"], error.message)
        return None


def _query_window(query: Example, stamps: WindowReader) -> Flux | None:
    if query.pixels is not None or query.ra is None or query.dec is None:
        return query.pixels
    try:
        return stamps.at(query.ra, query.dec)
    except ScannerError as error:
        log.warning("The query is not drawn: %s", error.message)
        return None


def _query_caption(query: Example) -> tuple[str, ...]:
    return ("query", f"object {query.object_id}" if query.object_id is not None else query.name)


def _caption(row: Row) -> tuple[str, ...]:
    magnitude = float(row["mag_auto"])
    shown = f"  mag {magnitude:.1f}" if np.isfinite(magnitude) else ""
    value = row["similarity" if "similarity" in row.colnames else "distance"]
    return (f"{value:.3f}{shown}", f"{row['object_id']}")

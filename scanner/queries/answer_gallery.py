"""The gallery of an answer: the cutout of each query, then those of its neighbours, with their similarity."""

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


def draw(queries: Sequence[Example | None], answers: Sequence[Table], windows: WindowReader, path: Path) -> None:
    """Draw the cutouts that the model saw: a row for each query and its answer; the query is None for a mere list."""
    rows = []
    for query, answer in zip(queries, answers, strict=True):
        panels = [Panel(_row_cutout(row, windows), windows.bands, _caption(row)) for row in answer]
        if query is not None:
            cutout = _query_cutout(query, windows)
            panels.insert(0, Panel(cutout, windows.bands, _query_caption(query), highlighted=True))
        rows.append(panels)
    draw_gallery(rows, path)


def _row_cutout(row: Row, windows: WindowReader) -> Flux | None:
    """Read the cutout of a row of the answer; None, with a warning, where it has no pixels."""
    try:
        # The row names its tile, so this works for a survey without a grid as well.
        return windows.of(str(row["tile"]), float(row["ra"]), float(row["dec"]))
    except ScannerError as error:
        log.warning("Object %s is not drawn: %s", row["object_id"], error.message)
        return None


def _query_cutout(query: Example, windows: WindowReader) -> Flux | None:
    # A spot or cutout that was embedded now holds its pixels. Those of a catalogued object are read from a tile.
    if query.pixels is not None or query.ra is None or query.dec is None:
        return query.pixels
    try:
        return windows.at(query.ra, query.dec)
    except ScannerError as error:
        log.warning("The query is not drawn: %s", error.message)
        return None


def _query_caption(query: Example) -> tuple[str, ...]:
    return ("query", f"object {query.object_id}" if query.object_id is not None else query.name)


def _caption(row: Row) -> tuple[str, ...]:
    magnitude = float(row["mag_auto"])
    brightness = f"  mag {magnitude:.1f}" if np.isfinite(magnitude) else ""
    # A list of outliers has distances in place of similarities.
    value = row["similarity" if "similarity" in row.colnames else "distance"]
    return (f"{value:.3f}{brightness}", f"{row['object_id']}")

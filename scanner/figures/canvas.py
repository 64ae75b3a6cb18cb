"""Figures by matplotlib, without a display. It is an extra, so it is imported when the first figure is drawn."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError


def open_figure(
    panels: int, width: float, height: float, dpi: int = 110, columns: int | None = None
) -> tuple[Any, list[Any]]:
    """Make a figure of ``panels``, each ``width`` by ``height`` inches; returns the figure and its panels.

    They are in one row, or in rows of at most ``columns``.

    Raises:
        ScannerError: ``map.not_installed``.
    """
    try:
        # Without ``pyplot``, which would choose a backend by the display and keep every figure open.
        figures = importlib.import_module("matplotlib.figure")
        importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError as error:
        hint = "pip install 'unions-scanner[maps]'"
        raise ScannerError(ErrorCode.MAP_NOT_INSTALLED, "matplotlib is not installed.", hint) from error
    across = min(columns or panels, panels)
    rows = -(-panels // across)
    figure = figures.Figure(figsize=(width * across, height * rows), dpi=dpi, layout="constrained")
    places = list(figure.subplots(rows, across, squeeze=False).flat)
    for unused in places[panels:]:
        unused.remove()
    return figure, places[:panels]


def save_figure(figure: Any, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=figure.dpi)

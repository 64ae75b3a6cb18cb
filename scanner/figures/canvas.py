"""Figures as PNG or PDF, by the ending of their file: without a display, and the same bytes for the same figure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.atomic import refuse_address, replacing
from catalogs.errors import ErrorCode, ScannerError

# matplotlib takes a third of a second to load, so each function imports what it draws with.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf")
DPI = 100
"""Pixels an inch of a PNG. What is not drawn as lines and letters in a PDF has twice as many."""


def figure_format(path: Path) -> str:
    """Tell the format of a figure by the ending of its file.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.bad_name`` for an address.
    """
    refuse_address(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise ScannerError(
            ErrorCode.FIGURE_UNKNOWN_FORMAT,
            f"{path} does not end in {' or '.join(f'.{one}' for one in FORMATS)}.",
            "Name the figure by its format, such as figure.png or figure.pdf.",
        )
    return ending


@contextlib.contextmanager
def drawing(path: Path, width: float, height: float, layout: str | None = "constrained") -> Iterator[Figure]:
    """Yield an empty figure of ``width`` by ``height`` inches, and write it in the end, whole or not at all.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    kind = figure_format(path)
    import matplotlib
    from matplotlib.figure import Figure

    # A user's settings would change the figure. Those of backends are for windows, and of a notebook.
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    # ``pyplot`` would choose a backend by the display, and keep every figure open.
    with matplotlib.rc_context(defaults):
        figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)  # type: ignore[arg-type]
        yield figure
        # Dates and versions would change the bytes.
        unstated = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None, "Creator": None}
        with replacing(path, clear=True) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI if kind == "png" else 2 * DPI, metadata=unstated)

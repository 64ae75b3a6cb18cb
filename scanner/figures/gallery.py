"""The gallery of a query beside its neighbours, as PNG or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scanner.figures.canvas import DPI, drawing
from scanner.figures.composite import NO_DATA, choose_stretch, compose_rgb
from scanner.figures.cutout import Marks, draw_cutout, same_north

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scanner.windows.by_position import Window
    from scanner.windows.frame import WindowFrame

COLUMNS = 8
# Pixels of the figure: side of a cutout, gap between cutouts, height of a caption of two lines, and of a further line.
TILE, PAD, CAPTION, LINE = 160, 10, 40, 17
INK, FAINT, ACCENT = "black", "0.4", "#d55e00"


@dataclass(frozen=True)
class Panel:
    """One cutout of a gallery: its ``window`` (None where it has no pixels) and the lines of its caption.

    A line that is wider than the cutout is cut short.
    """

    window: Window | None
    caption: tuple[str, ...]
    highlighted: bool = False


def draw_gallery(rows: Sequence[Sequence[Panel]], frame: WindowFrame, path: Path, *, band_names: bool = False) -> None:
    """Draw each row of panels (a query, then its neighbours), wrapped at ``COLUMNS``, in one figure at ``path``.

    The first cutout of a row has a scale bar, and a compass if that serves all cutouts of the row. Where they differ,
    or some have none, each has its own. ``band_names``: each cutout has the names of its red, green and blue bands.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    # Each query begins a new line.
    lines = [list(row[start : start + COLUMNS]) for row in rows for start in range(0, len(row), COLUMNS)]
    width = max((len(line) for line in lines), default=1) * (TILE + PAD) + PAD
    longest = max((len(panel.caption) for row in rows for panel in row), default=0)
    step = TILE + CAPTION + max(longest - 2, 0) * LINE + PAD
    height = len(lines) * step + PAD
    with drawing(path, width / DPI, height / DPI, layout=None) as figure:
        # One unit of these axes is a pixel, counted from the upper left corner.
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        top = PAD
        for row in rows:
            marks = _marks(row, frame, band_names)
            for place, (panel, mark) in enumerate(zip(row, marks, strict=True)):
                down, across = divmod(place, COLUMNS)
                _draw_panel(axes, panel, frame, mark, PAD + across * (TILE + PAD), top + down * step)
            top += -(-len(row) // COLUMNS) * step


def _marks(row: Sequence[Panel], frame: WindowFrame, band_names: bool) -> list[Marks]:
    """Choose the marks of each panel of a row."""
    windows = [panel.window for panel in row if panel.window is not None]
    alike = not windows or same_north([window.compass for window in windows])
    marks = []
    for panel in row:
        if panel.window is None:
            marks.append(Marks())
            continue
        is_first = panel.window is windows[0]
        arcsec = frame.window * frame.pixel_scale if is_first else None
        bands = choose_stretch(panel.window.flux, frame.bands).bands if band_names else ()
        marks.append(Marks(arcsec, panel.window.compass if is_first or not alike else None, bands))
    return marks


def _draw_panel(axes: Axes, panel: Panel, frame: WindowFrame, marks: Marks, left: int, top: int) -> None:
    from matplotlib.patches import Rectangle

    if panel.window is None:
        axes.add_patch(Rectangle((left, top), TILE, TILE, color=NO_DATA / 255))
        middle = (left + TILE / 2, top + TILE / 2)
        axes.text(*middle, "no pixels\nat hand", color="0.7", fontsize=9, ha="center", va="center")
    else:
        box = (left, left + TILE, top + TILE, top)
        draw_cutout(axes, compose_rgb(panel.window.flux, frame.bands), box, marks)
    if panel.highlighted:
        axes.add_patch(Rectangle((left, top), TILE, TILE, fill=False, edgecolor=ACCENT, linewidth=3, zorder=5))
    for line, text in enumerate(panel.caption):
        colour = (ACCENT if panel.highlighted else INK) if line == 0 else FAINT
        weight = "bold" if panel.highlighted and line == 0 else "normal"
        size = 9 if line == 0 else 7
        words = shorten(text, size, weight)
        axes.text(left, top + TILE + 4 + LINE * line, words, color=colour, fontsize=size, fontweight=weight, va="top")


def shorten(text: str, size: float, weight: str = "normal") -> str:
    """Cut a text of ``size`` points that is wider than a cutout, so that it does not run into the next one."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(size=size, weight=weight)

    def is_wide(words: str) -> bool:
        # Points to pixels; a path of blanks has no width.
        return bool(words.strip()) and TextPath((0, 0), words, prop=font).get_extents().width * DPI / 72 > TILE

    if not is_wide(text):
        return text
    kept = text
    while kept and is_wide(f"{kept}…"):
        kept = kept[:-1].rstrip()
    return f"{kept}…"

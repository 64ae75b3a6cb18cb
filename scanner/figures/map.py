"""Figures of a map: its objects by magnitude, colour and size, and their cutouts placed on it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.tile_reader import check_columns
from scanner.figures.canvas import drawing
from scanner.figures.composite import choose_stretch, compose_rgb
from scanner.figures.cutout import describe_compass, draw_cutout, same_north, scale_length
from scanner.survey.bands import COLOURS

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from scanner.windows.by_position import Window, WindowReader
    from scanner.windows.frame import WindowFrame

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating]

SCALES = ("viridis_r", "plasma", "cividis")
"""Perceptually uniform, and distinct with any colour vision."""
CELLS = 22
"""Cutouts across a map."""
CELL, GAP = 0.5, 0.04
"""Side of a cell in inches, and the share of it on each side that is left free."""


@dataclass(frozen=True)
class Quantity:
    """One number for each object (NaN: unknown), and its label."""

    label: str
    values: Floats


def columns(schema: pa.Schema, colour_by: Sequence[str] = ()) -> list[str]:
    """List the columns of a catalogue that the figures need; ``colour_by`` are those that the user named.

    Raises:
        ScannerError: ``column.unknown``, ``column.not_numbers``.
    """
    for name in check_columns(colour_by, schema):
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            message = f"The column {name} does not hold a number for each object, so that it has no colour scale."
            raise ScannerError(ErrorCode.COLUMN_NOT_NUMBERS, message, "Name a column such as mag_auto or snr.")
    fluxes = [name for name in schema.names if name.startswith("mag_")]
    return list(dict.fromkeys(["object_id", "tile", "ra", "dec", *fluxes, "flux_radius", "snr", *colour_by]))


def quantities(table: Table, bands: Sequence[str], colour_by: Sequence[str] = ()) -> list[Quantity]:
    """Take the columns ``colour_by``, or magnitude, colour and size; the colour is the first that most objects have."""
    if colour_by:
        units = [f" ({table[name].unit})" if table[name].unit else "" for name in colour_by]
        return [
            Quantity(f"{name}{unit}", np.asarray(table[name], float))
            for name, unit in zip(colour_by, units, strict=True)
        ]
    panels = [Quantity("magnitude (AB)", np.asarray(table["mag_auto"], float))]
    for blue, red in COLOURS:
        if {blue, red} <= set(bands):
            colour = np.asarray(table[f"mag_{blue}"], float) - np.asarray(table[f"mag_{red}"], float)
            if np.isfinite(colour).mean() > 0.5:
                panels.append(Quantity(f"{blue} - {red} (mag)", colour))
                break
    return [*panels, Quantity("half-light radius (arcsec)", np.asarray(table["flux_radius"], float))]


def draw_quantities(places: Floats, panels: Sequence[Quantity], title: str, path: Path) -> None:
    """Draw a panel for each quantity, with every object a dot at ``places`` [N, 2], as PNG or PDF.

    Colours span the 2nd to the 98th percentile; objects without a value are crosses beneath the others.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    low, high = _extent(places)
    height = 1.2 + 5.2 * float(np.clip((high - low)[1] / (high - low)[0], 0.5, 1.5))
    # Dots shrink with their number, so that dense regions stay readable.
    size = float(np.clip(25_000 / max(len(places), 1), 0.4, 16))
    with drawing(path, 5.4 * len(panels), height) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, quantity, scale in zip(axes, panels, cycle(SCALES), strict=False):
            valid = np.isfinite(quantity.values)
            dark, light = np.percentile(quantity.values[valid], [2, 98]) if valid.any() else (0.0, 1.0)
            panel.scatter(*places[~valid].T, s=size, c="0.6", marker="x", linewidths=0.5, rasterized=True)
            colour = {"c": quantity.values[valid], "cmap": scale, "vmin": dark, "vmax": light}
            dots = panel.scatter(*places[valid].T, s=size, linewidths=0, rasterized=True, **colour)
            bar = figure.colorbar(dots, ax=panel, location="bottom", shrink=0.85, pad=0.03, extend="both")
            bar.set_label(quantity.label)
            _bare(panel, low, high)
        figure.suptitle(f"{title}: {len(places):,} objects")


def draw_cutouts(
    places: Floats, table: Table, reader: WindowReader, title: str, path: Path, *, band_names: bool = False
) -> int:
    """Draw the map with cutouts at the places of objects, as many as fit side by side; returns their number.

    In each cell of the map the object of the highest signal to noise is drawn. A cell is empty if there are no pixels
    of it. Below the map stand a scale bar and, if it is the same in all, where north is; with
    ``band_names`` also what is red, green and blue.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    corner, step = _cells(places)
    cells = _representatives(places, np.asarray(table["snr"], float), corner, step)
    chosen = table[[row for row, _ in cells]]
    windows = reader.windows(*(chosen[name].tolist() for name in ("tile", "ra", "dec")))
    drawn = []
    for (row, cell), window in zip(cells, windows, strict=True):
        if isinstance(window, ScannerError):
            log.debug("object %s is not drawn: %s", table["object_id"][row], window.message)
        elif np.isfinite(window.flux).any():
            drawn.append((cell, window))
    # The figure ends where the cells with objects do.
    first, last = (
        np.array([end(axis) for axis in zip(*(cell for _, cell in cells), strict=True)]) for end in (min, max)
    )
    across, up = last - first + 1
    with drawing(path, max(CELL * across, 6) + 0.1, CELL * up + 0.7) as figure:
        panel = figure.subplots()
        panel.set_facecolor("0.07")
        _bare(panel, corner + first * step, corner + (last + 1) * step)
        panel.scatter(places[:, 0], places[:, 1], s=2, c="0.45", linewidths=0, rasterized=True)
        for cell, window in drawn:
            left, low = corner + (cell + GAP) * step
            right, high = corner + (cell + 1 - GAP) * step
            draw_cutout(panel, compose_rgb(window.flux, reader.bands), (left, right, low, high))
        _draw_key(panel, (1 - 2 * GAP) * step[0], [window for _, window in drawn], reader.frame, band_names)
        figure.suptitle(f"{title}: {len(drawn):,} of {len(places):,} objects, each for its neighbourhood")
    return len(drawn)


def _draw_key(panel: Axes, side: float, windows: Sequence[Window], frame: WindowFrame, band_names: bool) -> None:
    """Draw a scale bar below a map of cutouts of this side, and say what they are too small to be marked with."""
    arcsec = frame.window * frame.pixel_scale
    # About as long as a cutout is wide.
    length = scale_length(2.5 * arcsec)
    left, below = panel.get_xlim()[0], panel.get_xaxis_transform()
    bar = [left, left + side * length / arcsec]
    panel.plot(bar, [-0.02, -0.02], transform=below, color="black", linewidth=2, clip_on=False)
    facts = [f"{length:g}\N{DOUBLE PRIME}"]
    compasses = [window.compass for window in windows]
    if compasses and compasses[0] and same_north(compasses):
        facts.append(describe_compass(compasses[0]))
    if band_names:
        bands = Counter(choose_stretch(window.flux, frame.bands).bands for window in windows)
        facts += [f"red, green, blue are {', '.join(names)} in {count:,}" for names, count in bands.most_common()]
    panel.text(bar[1] + 0.2 * side, -0.02, "; ".join(facts), transform=below, va="center")


def _extent(places: Floats) -> tuple[Floats, Floats]:
    """Find the corners of a rectangle around all places, with a small edge."""
    low, high = places.min(axis=0), places.max(axis=0)
    edge = 0.03 * np.maximum(high - low, 1e-6)
    return low - edge, high + edge


def _cells(places: Floats) -> tuple[Floats, Floats]:
    """Find the lower left corner of a square around all places, and the sides of one of its cells."""
    low, high = _extent(places)
    side = float((high - low).max())
    return (low + high - side) / 2, np.full(2, side / CELLS)


def _representatives(places: Floats, snr: Floats, corner: Floats, step: Floats) -> list[tuple[int, npt.NDArray[Any]]]:
    """Find for each cell with objects the number of the one with the highest signal to noise, and the cell."""
    cells = np.clip(((places - corner) / step).astype(int), 0, CELLS - 1)
    # By cell, and within it by falling signal to noise: the first of each cell is drawn.
    order = np.lexsort((-np.nan_to_num(snr), cells[:, 1], cells[:, 0]))
    _, first = np.unique(cells[order], axis=0, return_index=True)
    return [(int(order[index]), cells[order[index]]) for index in first]


def _bare(panel: Any, low: Floats, high: Floats) -> None:
    """Remove the ticks, since the axes of a map have no unit, and set equal scales from one corner to the other."""
    panel.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")

"""Figures of a map: its objects by magnitude, colour and size, and their cutouts placed on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from catalogs.errors import ScannerError
from scanner.figures.canvas import open_figure, save_figure
from scanner.figures.composite import compose_rgb
from scanner.survey.bands import COLOURS
from scanner.windows.by_position import Flux, WindowReader

if TYPE_CHECKING:
    from astropy.table import Row, Table

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating]

SCALES = ("viridis_r", "plasma", "cividis")
"""Perceptually uniform, and distinct with any colour vision."""
CELLS = 22
"""Cutouts across a map."""


@dataclass(frozen=True)
class Quantity:
    """One number for each object (NaN: unknown), and its label."""

    label: str
    values: Floats


def columns(names: Sequence[str]) -> list[str]:
    """List the columns of a catalogue that the figures need."""
    fluxes = [name for name in names if name.startswith("mag_")]
    return ["object_id", "tile", "ra", "dec", *fluxes, "flux_radius", "snr"]


def quantities(table: Table, bands: Sequence[str]) -> list[Quantity]:
    """Take magnitude, colour and size; the colour is the first one that most objects have."""
    panels = [Quantity("magnitude (AB)", np.asarray(table["mag_auto"], float))]
    for blue, red in COLOURS:
        if {blue, red} <= set(bands):
            colour = np.asarray(table[f"mag_{blue}"], float) - np.asarray(table[f"mag_{red}"], float)
            if np.isfinite(colour).mean() > 0.5:
                panels.append(Quantity(f"{blue} - {red} (mag)", colour))
                break
    return [*panels, Quantity("half-light radius (arcsec)", np.asarray(table["flux_radius"], float))]


def draw_quantities(places: Floats, panels: Sequence[Quantity], title: str, path: Path) -> None:
    """Draw a panel for each quantity, with every object a dot at ``places`` [N, 2], as PNG.

    Colours span the 2nd to the 98th percentile; objects without a value are drawn first, in grey.
    """
    low, high = _extent(places)
    figure, axes = open_figure(
        len(panels), 5.4, 1.2 + 5.2 * float(np.clip((high - low)[1] / (high - low)[0], 0.5, 1.5))
    )
    # Dots shrink with their number, so that dense regions stay readable.
    size = float(np.clip(25_000 / max(len(places), 1), 0.4, 16))
    for panel, quantity, scale in zip(axes, panels, SCALES, strict=False):
        valid = np.isfinite(quantity.values)
        dark, light = np.percentile(quantity.values[valid], [2, 98]) if valid.any() else (0.0, 1.0)
        panel.scatter(*places[~valid].T, s=size, c="0.8", linewidths=0, rasterized=True)
        colour = {"c": quantity.values[valid], "cmap": scale, "vmin": dark, "vmax": light}
        dots = panel.scatter(*places[valid].T, s=size, linewidths=0, rasterized=True, **colour)
        figure.colorbar(dots, ax=panel, location="bottom", shrink=0.85, pad=0.03, extend="both", label=quantity.label)
        _bare(panel, low, high)
    figure.suptitle(f"{title}: {len(places):,} objects")
    save_figure(figure, path)


def draw_cutouts(places: Floats, table: Table, reader: WindowReader, title: str, path: Path) -> int:
    """Draw the map with cutouts at the places of objects, as many as fit side by side; returns their number.

    In each cell of the map the object of the highest signal to noise is drawn. A cell is empty if there are no pixels
    of it.
    """
    figure, (panel,) = open_figure(1, 11, 11.4)
    panel.set_facecolor("0.07")
    panel.scatter(*places.T, s=2, c="0.45", linewidths=0, rasterized=True)
    count = 0
    corner, step = _cells(places)
    for row, cell in _representatives(places, np.asarray(table["snr"], float), corner, step):
        flux = _window(table[row], reader)
        if flux is None or not np.isfinite(flux).any():
            continue
        left, low = corner + cell * step
        # A gap between neighbouring cutouts.
        inset = 0.04 * step
        extent = (left + inset[0], left + step[0] - inset[0], low + inset[1], low + step[1] - inset[1])
        panel.imshow(compose_rgb(flux, reader.bands), extent=extent, interpolation="bicubic", zorder=2)
        count += 1
    # After imshow, which sets limits of its own.
    _bare(panel, corner, corner + CELLS * step)
    figure.suptitle(f"{title}: {count:,} of {len(places):,} objects, each for its neighbourhood")
    save_figure(figure, path)
    return count


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


def _window(row: Row, reader: WindowReader) -> Flux | None:
    try:
        return reader.of(str(row["tile"]), float(row["ra"]), float(row["dec"]))
    except ScannerError as error:
        log.debug("object %s is not drawn: %s", row["object_id"], error.message)
        return None


def _bare(panel: Any, low: Floats, high: Floats) -> None:
    """Remove the ticks, since the axes of a map have no unit, and set equal scales from one corner to the other."""
    panel.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")

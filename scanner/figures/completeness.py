"""A figure of completeness: against what else lies above the threshold, and in bins of what the lenses are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.completeness.measure import Bin, Threshold
from catalogs.estimate import Share
from scanner.figures.canvas import drawing
from scanner.figures.chart import COLOURS

LABELS = {
    "theta_e": "Einstein radius (arcsec)",
    "snr": "signal to noise of the arc",
    "host_mag_r": "host magnitude (r, AB)",
    "host_mag": "host magnitude (AB)",
    "theta_e_seeing": "Einstein radius / seeing",
    "seeing": "seeing (arcsec)",
    "source_mag_r": "source magnitude (r, AB)",
    "source_mag": "source magnitude (AB)",
}
COLUMNS = 3
_FOUND, _DETECTED, _HERE = COLOURS[0], COLOURS[4], COLOURS[1]


def draw_completeness(
    curve: Sequence[Threshold],
    here: Threshold,
    detected: Share,
    bins: Mapping[str, Sequence[Bin]],
    title: str,
    path: Path,
) -> None:
    """Draw the ``curve`` with the threshold ``here``, the share that is ``detected``, and a panel for each property.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    with _panels(title, path, 1 + len(bins)) as panels:
        _draw_curve(panels[0], curve, here, detected)
        for panel, (name, several) in zip(panels[1:], bins.items(), strict=True):
            _draw_bins(panel, name, several)


def draw_found(bins: Mapping[str, Sequence[Bin]], title: str, path: Path) -> None:
    """Draw the share that is found in bins of each property, a panel for each.

    Raises:
        ScannerError: ``figure.unknown_format``, ``output.*``.
    """
    with _panels(title, path, len(bins)) as panels:
        for panel, (name, several) in zip(panels, bins.items(), strict=True):
            _draw_bins(panel, name, several, detected=False)


@contextlib.contextmanager
def _panels(title: str, path: Path, count: int) -> Iterator[list[Any]]:
    """Begin a figure of ``count`` panels of completeness, which is written when all is drawn."""
    across = max(min(COLUMNS, count), 1)
    down = max(-(-count // across), 1)
    with drawing(path, 4.0 * across, 3.3 * down) as figure:
        panels = list(figure.subplots(down, across, squeeze=False).flat)
        for unused in panels[count:]:
            unused.remove()
        yield panels[:count]
        for number, panel in enumerate(panels[:count]):
            panel.set_ylim(0, 1.03)
            panel.grid(color="0.92", linewidth=0.7)
            panel.set_axisbelow(True)
            if number % COLUMNS == 0:
                panel.set_ylabel("completeness")
            else:
                panel.tick_params(labelleft=False)
        figure.suptitle(title, fontsize="medium")


def _draw_curve(panel: Any, curve: Sequence[Threshold], here: Threshold, detected: Share) -> None:
    x = np.array([one.per_degree for one in curve])
    value, low, high = (np.array([getattr(one.completeness, end) for one in curve]) for end in ("value", "low", "high"))
    panel.fill_between(x, low, high, color=_FOUND, alpha=0.18, linewidth=0)
    panel.plot(x, value, color=_FOUND, linewidth=1.8, label="found")
    panel.axhline(detected.value, color=_DETECTED, linestyle="--", linewidth=1.2, label="detected")
    if here.others:
        label = f"this threshold: {here.score:.3g}"
        panel.plot(here.per_degree, here.completeness.value, "o", color=_HERE, markersize=7, label=label)
    panel.set(xscale="log", xlabel=r"other objects above the threshold (deg$^{-2}$)")
    panel.xaxis.set_major_formatter("{x:,g}")
    panel.margins(x=0)
    panel.legend(loc="best", fontsize="small", frameon=False)


def _draw_bins(panel: Any, name: str, bins: Sequence[Bin], detected: bool = True) -> None:
    x = np.array([one.median for one in bins])
    # Horizontal bars span the bin.
    width = np.array([[one.median - one.low, one.high - one.median] for one in bins]).T
    for kind, colour, marker, fill in (("detected", _DETECTED, "s", "white"), ("found", _FOUND, "o", _FOUND)):
        if kind == "detected" and not detected:
            continue
        shares = [getattr(one, kind) for one in bins]
        value = np.array([share.value for share in shares])
        # Rounding may put an end of the interval a little on the wrong side of the value.
        error = np.maximum([[s.value - s.low, s.high - s.value] for s in shares], 0).T
        style = {"color": colour, "markerfacecolor": fill, "markersize": 4.5, "capsize": 0, "elinewidth": 1.1}
        panel.errorbar(x, value, error, width, fmt=marker, **style)
    panel.set_xlabel(LABELS[name])
    # Signal to noise spans decades, and what matters is at its low end.
    if name == "snr":
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")

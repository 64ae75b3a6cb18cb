"""A cutout in a figure: its picture, with a scale bar, a compass and the names of its bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scanner.figures.composite import Pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect

    from scanner.images.sky.wcs import Compass

Box = tuple[float, float, float, float]
"""Left, right, bottom and top of a cutout in the units of its axes."""

SIZE = 8.0
"""Points: size of letters."""
LONGEST = 0.4
"""Longest scale bar, in sides of the cutout."""
ARM, LETTER = 0.13, 0.195
"""Where an arm of the compass ends and where its letter stands, in sides of the cutout."""
SAME_NORTH = 5.0
"""Degrees: compasses that differ by less are drawn as one."""
CHANNELS = ("#ff9d85", "#8fe388", "#9dbdff")
"""Colours of the names of the red, green and blue bands; their order says the same."""


@dataclass(frozen=True)
class Marks:
    """What is drawn into a cutout: a scale bar by its side in arcsec, north and east, and the names of its bands."""

    arcsec: float | None = None
    compass: Compass | None = None
    bands: Sequence[str] = ()


def draw_cutout(
    axes: Axes, picture: Pixels, box: Box, marks: Marks | None = None, interpolation: str = "bicubic"
) -> None:
    """Draw a picture [S, S, 3] into ``box`` of axes whose limits are set."""
    axes.imshow(picture, extent=box, aspect="equal", interpolation=interpolation, zorder=2)
    if marks is None:
        return
    if marks.arcsec is not None:
        _draw_scale_bar(axes, box, marks.arcsec)
    if marks.compass is not None:
        _draw_compass(axes, box, marks.compass)
    names = dict.fromkeys(marks.bands)
    for place, name in enumerate(marks.bands if len(names) > 1 else names):
        colour = CHANNELS[place] if len(names) > 1 else "white"
        _write(axes, _at(box, 0.05 + 0.09 * place, 0.95), name, color=colour, ha="left", va="top")


def scale_length(arcsec: float) -> float:
    """Choose the length of a scale bar, of 1, 2 or 5 times a power of ten, that fits a cutout of this side (arcsec)."""
    longest = LONGEST * arcsec
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def same_north(compasses: Sequence[Compass | None]) -> bool:
    """Tell whether one compass serves for all; where some are not known, it serves for none of the others."""
    first, *others = compasses
    if first is None or None in others:
        return not any(compasses)
    least = math.cos(math.radians(SAME_NORTH))
    return all(
        a[0] * b[0] + a[1] * b[1] > least
        for other in others
        if other is not None
        for a, b in ((first.north, other.north), (first.east, other.east))
    )


def describe_compass(compass: Compass) -> str:
    """Describe where north and east are, in words."""
    (x, y), (east_x, east_y) = compass.north, compass.east
    angle = round(math.degrees(math.atan2(-x, y)))
    # East is on the left of north, as on the sky, or on its right in an image that is mirrored.
    side = "left" if x * east_y > y * east_x else "right"
    if abs(angle) < SAME_NORTH:
        return f"north is up, east is {side}"
    return f"north is {abs(angle)}\N{DEGREE SIGN} {'left' if angle > 0 else 'right'} of up, east to the {side} of it"


def _draw_scale_bar(axes: Axes, box: Box, arcsec: float) -> None:
    length = scale_length(arcsec)
    (left, y), (right, _) = _at(box, 0.06, 0.07), _at(box, 0.06 + length / arcsec, 0.07)
    axes.plot([left, right], [y, y], color="white", lw=0.2 * SIZE, path_effects=_outline(0.4 * SIZE), zorder=3)
    middle = _at(box, 0.06 + length / arcsec / 2, 0.1)
    _write(axes, middle, f"{length:g}\N{DOUBLE PRIME}", ha="center", va="bottom")


def _draw_compass(axes: Axes, box: Box, compass: Compass) -> None:
    arms = {"N": compass.north, "E": compass.east}
    # The middle of the arms with their letters lies in the lower right corner, wherever they show.
    ends = [(0.0, *ends) for ends in zip(compass.north, compass.east, strict=True)]
    x, y = (middle - LETTER / 2 * (min(end) + max(end)) for middle, end in zip((0.82, 0.18), ends, strict=True))
    for letter, (right, up) in arms.items():
        arrow = {
            # North alone has a head, which tells it from east.
            "arrowstyle": "-|>" if letter == "N" else "-",
            "mutation_scale": 0.9 * SIZE,
            "color": "white",
            "linewidth": 0.12 * SIZE,
            "shrinkA": 0,
            "shrinkB": 0,
            "path_effects": _outline(0.3 * SIZE),
        }
        tip = _at(box, x + ARM * right, y + ARM * up)
        axes.annotate("", tip, _at(box, x, y), arrowprops=arrow, zorder=3)
        place = _at(box, x + LETTER * right, y + LETTER * up)
        _write(axes, place, letter, size=0.8 * SIZE, ha="center", va="center")


def _at(box: Box, right: float, up: float) -> tuple[float, float]:
    """A place in the units of the axes, from shares of the sides of the cutout."""
    left, end, bottom, top = box
    return left + right * (end - left), bottom + up * (top - bottom)


def _write(axes: Axes, at: tuple[float, float], text: str, **style: Any) -> None:
    from matplotlib.patheffects import Stroke

    # A letter of straight lines, such as E, would be moved to whole pixels, and lose one of them.
    effects = [Stroke(linewidth=0.25 * SIZE, foreground="black", snap=False), Stroke(linewidth=0, snap=False)]
    usual: dict[str, Any] = {"color": "white", "size": SIZE, "path_effects": effects, "zorder": 4}
    axes.text(*at, text, **usual | style)


def _outline(width: float) -> list[AbstractPathEffect]:
    """A black edge, so that a mark is seen on any sky."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="black")]

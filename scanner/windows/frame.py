"""The frame of a window: what a model, or whoever else looks at pixels, expects of the pixels around a source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowFrame:
    """Bands in channel order, side of the window in pixels, and pixel scale in arcsec."""

    bands: tuple[str, ...]
    window: int
    pixel_scale: float

"""What tests ask about the images of a tile."""

from __future__ import annotations

from scanner.images.tile_images import TileImages


def bands_with_data(images: TileImages) -> str:
    """Names of the bands with data, in the order of the images: ``ugriz``."""
    return "".join(band for band, present in zip(images.bands, images.present, strict=True) if present)

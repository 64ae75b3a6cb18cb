"""The cutter of a round: windows and pictures of the wide field, from tiles that are opened one after another."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from catalogs.errors import ErrorCode, ScannerError
from scanner.figures.composite import compose_rgb
from scanner.hunt.round import WIDE
from scanner.windows.by_position import Flux, TileWindows, WindowReader
from scanner.windows.frame import WindowFrame

QUALITY = 90  # of WebP


class Cutter:
    """Cuts objects by tile and position; the last tile stays open for the next object."""

    def __init__(self, reader: WindowReader, frame: WindowFrame) -> None:
        self._reader = reader
        self._wide = WindowFrame(frame.bands, WIDE * frame.window, frame.pixel_scale)
        self._name = ""
        self._tile: TileWindows | None = None
        self.problems: dict[str, ScannerError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tile is not None:
            self._tile.close()

    def __call__(self, tile: str, ra: float, dec: float) -> tuple[Flux, bytes] | None:
        """Cut the window [B, S, S] and the picture of the wide field; None where the tile has no pixels.

        ``problems`` say why. A tile that cannot be opened is not tried again for the next object.

        Raises:
            ScannerError: The tile cannot be read.
        """
        try:
            if tile != self._name:
                if self._tile is not None:
                    self._tile.close()
                self._name, self._tile = tile, None
                self._tile = self._reader.tile(tile)
            if self._tile is None:
                raise self.problems[tile]
            return self._tile.cut(ra, dec), encode_wide(self._tile.cut(ra, dec, self._wide), self._wide.bands)
        except ScannerError as error:
            self.problems[tile] = error
            if error.code != ErrorCode.QUERY_OUTSIDE_COVERAGE:
                raise
            return None


def encode_wide(flux: Flux, bands: tuple[str, ...]) -> bytes:
    """Compose a wide field [B, S, S] in colour, as WebP."""
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(compose_rgb(flux, bands))).save(file, "WEBP", quality=QUALITY)
        return file.getvalue()

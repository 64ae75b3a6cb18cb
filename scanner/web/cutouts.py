"""Cutouts for the page: read once from the tiles, then kept in memory up to a bound."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from catalogs.bounded_cache import BoundedCache
from catalogs.errors import ErrorCode, ScannerError
from scanner.figures.composite import compose_rgb, encode_png
from scanner.windows.by_position import Flux, TileWindows, WindowReader
from scanner.windows.frame import WindowFrame

KEPT_BYTES = 128 * 2**20
"""Bytes of windows, and as many of pictures, that stay in memory."""
OPEN_TILES = 12
WIDE = 3
"""Side of the wide field, in cutouts."""


@dataclass(frozen=True)
class Spot:
    """A place on the sky in degrees, and the tile to read it from ("": the first that covers it)."""

    ra: float
    dec: float
    tile: str = ""


class CutoutStore:
    """Reads cutouts by threads; tiles stay open for the next one, each used by one thread at a time."""

    def __init__(self, reader: WindowReader, frame: WindowFrame) -> None:
        self._reader, self.frame = reader, frame
        self._wide = WindowFrame(frame.bands, WIDE * frame.window, frame.pixel_scale)
        self._open: OrderedDict[str, TileWindows] = OrderedDict()
        self._lock = threading.Lock()
        self._windows: BoundedCache[Flux] = BoundedCache(KEPT_BYTES, lambda flux: flux.nbytes)
        self._pictures: BoundedCache[bytes] = BoundedCache(KEPT_BYTES, len)

    def window(self, spot: Spot, wide: bool = False) -> Flux:
        """Read the cutout [B, S, S] in nJy; ``wide``: of three times the side.

        Raises:
            ScannerError: ``query.outside_coverage``, ``query.no_grid``, or a code that starts with ``tile.``.
        """
        return self._windows.get((spot, wide), lambda: self._read(spot, wide))

    def picture(self, spot: Spot, wide: bool = False) -> bytes:
        """Compose the colour picture of a cutout, as PNG."""
        return self._pictures.get(
            (spot, wide), lambda: encode_png(compose_rgb(self.window(spot, wide), self.frame.bands))
        )

    def _read(self, spot: Spot, wide: bool) -> Flux:
        frame = self._wide if wide else None
        if not spot.tile:
            return self._reader.at(spot.ra, spot.dec, frame)
        with self._tile(spot.tile) as tile:
            return tile.cut(spot.ra, spot.dec, frame)

    @contextlib.contextmanager
    def _tile(self, name: str) -> Iterator[TileWindows]:
        # A tile in use is not in the dictionary: a second thread opens it for itself.
        with self._lock:
            tile = self._open.pop(name, None)
        tile = tile or self._reader.tile(name)
        try:
            yield tile
        except ScannerError as error:
            # The file may have been replaced since; it is opened anew for the next cutout.
            if error.code != ErrorCode.QUERY_OUTSIDE_COVERAGE:
                tile.close()
                raise
            self._put_back(name, tile)
            raise
        except BaseException:
            tile.close()
            raise
        else:
            self._put_back(name, tile)

    def _put_back(self, name: str, tile: TileWindows) -> None:
        with self._lock:
            extra = [self._open.pop(name, None)]
            self._open[name] = tile
            while len(self._open) > OPEN_TILES:
                extra.append(self._open.popitem(last=False)[1])
        for one in extra:
            if one is not None:
                one.close()

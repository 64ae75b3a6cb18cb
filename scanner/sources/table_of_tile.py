"""The table of positions of a tile; pixels of another image would be positions of nothing, and are refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from warnings import catch_warnings, simplefilter

import numpy as np

from catalogs.digest import file_sha256
from catalogs.errors import ErrorCode, ScannerError
from scanner.images.sky.wcs import is_celestial, read_wcs
from scanner.images.tile_images import TileImages
from scanner.sources.position_files import PositionTable, read_positions

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?<!\d)\d{3}[.]\d{3}(?!\d)")
_TOLERANCE = 2.0
"""Pixels by which the middle of the image that was measured may lie off that of the tile."""


def path_for(path: str | Path, tile: str) -> Path:
    """The table of a tile: ``{tile}`` in its path stands for the name."""
    return Path(str(path).replace("{tile}", tile))


def read(path: Path) -> PositionTable:
    """Read a table and its digest, as ``read_positions`` does; once, where it serves many tiles or strips in turn."""
    try:
        state = path.stat()
    except OSError:
        return read_positions(path)
    return _read_unchanged(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _read_unchanged(path: Path, modified: int, size: int) -> PositionTable:
    try:
        # Taken before the table: where that is written in between, the next scan sees that it has another digest.
        digest = file_sha256(path)
    except OSError:  # whose reason the table's error tells
        digest = ""
    return replace(read_positions(path), sha256=digest)


def check_list(path: str, tiles: Iterable[str]) -> None:
    """Refuse a table that cannot be read, or one of pixels for several tiles.

    Raises:
        ScannerError: ``sources.*``.
    """
    if "{tile}" in path:
        return
    table, count = read(Path(path)), len(set(tiles))
    if not table.on_sky and count > 1:
        message = f"{path} holds pixels, which are of one image, and the list has {count} tiles."
        raise ScannerError(ErrorCode.SOURCES_OTHER_TILE, message, _HINT)
    log.info("%s: %d positions%s", path, len(table.first), f" in {table.parts} tables" if table.parts > 1 else "")


def check(path: Path, table: PositionTable, images: TileImages) -> None:
    """Refuse pixels that are of another image than the tile, by the file's name or by the header that it keeps.

    Raises:
        ScannerError: ``sources.other_tile``.
    """
    if table.on_sky:
        return
    names = _NAME.findall(path.name)
    if names and _NAME.fullmatch(images.name) and images.name not in names:
        raise _other(path, images, f"its name says {', '.join(names)}")
    if why := _difference(table.image, images) if table.image else "":
        raise _other(path, images, why)


def _difference(header_text: str, images: TileImages) -> str:
    """How the image of a header differs from the tile; empty where it does not, or the header does not say."""
    from astropy.io.fits import Header

    try:
        with catch_warnings():
            simplefilter("ignore")
            header = Header.fromstring(header_text)
            rows, columns = header.get("NAXIS2"), header.get("NAXIS1")
            if rows is None or columns is None:
                return ""
            if (rows, columns) != images.shape:
                return f"it was measured in an image of {columns} x {rows} px"
            if not is_celestial(header):
                return ""
            x, y = (columns - 1) / 2, (rows - 1) / 2
            ra, dec = read_wcs(header, images.shape, Path("it")).pixels_to_sky([x], [y])
    except Exception as error:  # noqa: BLE001  (astropy raises anything on damaged headers)
        return f"the header of its image is damaged ({' '.join(str(error).split())[:200]})"
    there = images.to_pixels(images.detection, ra, dec)
    # NaN, where the tile cannot show the position, is as far away as can be.
    if np.hypot(there[0][0] - x, there[1][0] - y) <= _TOLERANCE:
        return ""
    return f"it was measured in an image around {ra[0]:.4f} {dec[0]:+.4f}"


def _other(path: Path, images: TileImages, why: str) -> ScannerError:
    message = f"{path} holds pixels of another image than tile {images.name}: {why}."
    return ScannerError(ErrorCode.SOURCES_OTHER_TILE, message, _HINT)


_HINT = "Give a table for each tile, as in 'cats/{tile}.cat', or one with RA and Dec."

"""Single windows, read from the few rows of a tile that hold them: for pictures, and for spots without an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from catalogs.store.tile_store import TileStore
from scanner.images import tile_images as images
from scanner.images.tile_images import TileImages
from scanner.images.wcs import FLAT_CENTRE
from scanner.sources.sources import Sources
from scanner.survey import survey as surveys
from scanner.survey import tile_list
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.windows import cutout_file
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows

Flux = NDArray[np.float32]


class Stamps:
    """Windows around positions, from the tiles under ``root``; a tile's files are looked up once."""

    def __init__(self, survey: Survey, frame: WindowFrame, root: Path) -> None:
        self._survey, self._frame, self._root = survey, frame, root
        self._tiles: dict[str, Tile] = {}

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of a window, in order."""
        return tuple(self._frame.bands)

    def at(self, ra: float, dec: float) -> Flux:
        """The window [B, S, S] in nJy around a position in degrees, from the first tile there that has it.

        Raises ``ScannerError``: ``query.no_grid`` (a survey whose tiles must be named), ``query.outside_coverage``, or
        what opening the tile raises.
        """
        if self._survey.grid is None:
            hint = f"The tiles of {self._survey.name} lie on no grid: scan the tile, or ask with --cutout."
            raise ScannerError(ErrorCode.QUERY_NO_GRID, f"It is not known which tile holds {ra}, {dec}.", hint)
        names = unions_grid.tiles_covering(ra, dec)
        missing = None
        for name in names:
            try:
                return self.of(name, ra, dec)
            except ScannerError as error:
                if error.code not in (ErrorCode.TILE_MISSING_FILE, ErrorCode.QUERY_OUTSIDE_COVERAGE):
                    raise
                missing = error
        hint = f"Tiles that could hold it: {', '.join(names)}, looked for under {self._root}."
        raise ScannerError(
            ErrorCode.QUERY_OUTSIDE_COVERAGE, f"No tile at hand covers {ra:.5f}, {dec:.5f}.", hint
        ) from missing

    def of(self, name: str, ra: float, dec: float) -> Flux:
        """The window [B, S, S] around a position in the tile of this name; all NaN where that has no data."""
        tile = self._tiles.setdefault(name, tile_list.find(self._survey, name, self._root))
        radius = self._frame.window * self._frame.pixel_scale
        region = images.region_around(self._survey, tile, ra, dec, radius)
        if region is None:
            raise ScannerError(ErrorCode.QUERY_OUTSIDE_COVERAGE, f"{ra:.5f}, {dec:.5f} is not on tile {name}.")
        try:
            read = images.open_tile(self._survey, tile, with_variance=False, region=region)
        except ScannerError as error:
            if error.code != ErrorCode.TILE_ALL_NAN:
                raise
            return np.full((len(self._frame.bands), self._frame.window, self._frame.window), np.nan, np.float32)
        return _window(read, self._frame, ra, dec)


def of_catalogue(catalogue: TileStore, root: Path, survey: str | None = None) -> Stamps:
    """The windows that the catalogue's model saw; ``survey`` (the catalogue's own, by default) names the files."""
    contract = catalogue.info.contract
    frame = WindowFrame(tuple(contract["bands"]), int(contract["window"]), float(contract["pixel_scale"]))
    return Stamps(surveys.load(survey or catalogue.info.survey), frame, root)


def from_fits(path: Path, survey: Survey, frame: WindowFrame) -> Flux:
    """Read the middle window [B, S, S] of a user's FITS cutout at the frame's pixel scale; NaN beyond the cutout."""
    return _window(cutout_file.read(path, survey, frame), frame, *FLAT_CENTRE)


def _window(read: TileImages, frame: WindowFrame, ra: float, dec: float) -> Flux:
    sky = np.array([ra]), np.array([dec])
    x, y = read.to_pixels(read.detection, *sky)
    window: Flux = Windows(read, Sources.at(read, x, y, sky), frame).gather(0, 1)[0]
    return window

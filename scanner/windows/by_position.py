"""Single cutouts, read from the few rows of a tile that hold them: for figures and for positions without an object."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from catalogs.store.backend import Backend
from scanner.images.sky.wcs import FLAT_CENTRE, Compass
from scanner.images.tile_images import OpenTile, TileImages
from scanner.sources.sources import Sources
from scanner.survey.survey import Survey, load
from scanner.survey.tile import Tile
from scanner.survey.tile_list import find
from scanner.windows import cutout_file
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows

Flux = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """The pixels around a position, [B, S, S] in nJy, and where north is; None where their place is not known."""

    flux: Flux
    compass: Compass | None = None


class WindowReader:
    """Reads cutouts around positions from the tiles under ``root``; each tile's files are looked up once."""

    def __init__(self, survey: Survey, frame: WindowFrame, root: Path) -> None:
        self._survey, self._frame, self._root = survey, frame, root
        self._tiles: dict[str, Tile] = {}

    @classmethod
    def of_catalogue(cls, catalogue: Backend, root: Path, survey: str | None = None) -> WindowReader:
        """A reader of the cutouts that the catalogue's model saw; ``survey`` (its own, by default) names the files.

        Raises:
            ScannerError: ``survey.missing`` or ``survey.bad_file``.
        """
        contract = catalogue.info.contract
        frame = WindowFrame(tuple(contract["bands"]), int(contract["window"]), float(contract["pixel_scale"]))
        return cls(load(survey or catalogue.info.survey), frame, root)

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of a cutout, in order."""
        return self._frame.bands

    @property
    def frame(self) -> WindowFrame:
        """What the model expects of a cutout."""
        return self._frame

    def at(self, ra: float, dec: float, frame: WindowFrame | None = None) -> Flux:
        """Read the cutout [B, S, S] in nJy around a position in degrees, from the first tile that covers it.

        ``frame`` may be another one than the reader's, such as a wider one.

        Raises:
            ScannerError: As ``window`` does.
        """
        return self.window(ra, dec, frame=frame).flux

    def of(self, name: str, ra: float, dec: float, frame: WindowFrame | None = None) -> Flux:
        """Read the cutout [B, S, S] around a position in the tile of this name; all NaN where that has no data.

        Raises:
            ScannerError: As ``window`` does.
        """
        return self.window(ra, dec, name, frame).flux

    def window(self, ra: float, dec: float, name: str | None = None, frame: WindowFrame | None = None) -> Window:
        """Read the window around a position in degrees, in the tile of this name or the first one that covers it.

        Raises:
            ScannerError: ``query.no_grid`` (a survey whose tiles must be named), ``query.outside_coverage``, or as
                ``open_tile`` does.
        """
        if name is not None:
            with contextlib.closing(self.tile(name)) as tile:
                return tile.window(ra, dec, frame)
        if self._survey.grid is None:
            hint = f"Scan the tile, or ask with --cutout: tiles of {self._survey.name} do not lie on a grid."
            raise ScannerError(
                ErrorCode.QUERY_NO_GRID, f"Without a grid, the tile that holds {ra}, {dec} cannot be found.", hint
            )
        names = unions_grid.tiles_covering(ra, dec)
        missing = None
        for covering in names:
            try:
                return self.window(ra, dec, covering, frame)
            except ScannerError as error:
                # Another tile may cover the position where this one is not at hand or does not reach it.
                if error.code not in (ErrorCode.TILE_MISSING_FILE, ErrorCode.QUERY_OUTSIDE_COVERAGE):
                    raise
                missing = error
        raise ScannerError(
            ErrorCode.QUERY_OUTSIDE_COVERAGE,
            f"No tile under {self._root} covers {ra:.5f}, {dec:.5f}.",
            f"Give --root where one of these tiles is: {', '.join(names)}.",
        ) from missing

    def windows(self, names: Sequence[str], ra: Sequence[float], dec: Sequence[float]) -> list[Window | ScannerError]:
        """Read windows in named tiles, each opened once; the error stands for a window that cannot be read."""
        windows: dict[int, Window | ScannerError] = {}
        for name in dict.fromkeys(names):
            places = [place for place, other in enumerate(names) if other == name]
            try:
                with contextlib.closing(self.tile(name)) as tile:
                    for place in places:
                        try:
                            windows[place] = tile.window(ra[place], dec[place])
                        except ScannerError as error:
                            windows[place] = error
            except ScannerError as error:
                windows |= dict.fromkeys(places, error)
        return [windows[place] for place in range(len(names))]

    def tile(self, name: str) -> TileWindows:
        """Open the tile of this name, to read many cutouts.

        Raises:
            ScannerError: As ``open_bands`` does.
        """
        return TileWindows(name, self.open_tile(name), self._frame)

    def open_tile(self, name: str, with_variance: bool = False) -> OpenTile:
        """Open the tile of this name, to read regions in its own pixels.

        Raises:
            ScannerError: As ``open_bands`` does.
        """
        tile = self._tiles.setdefault(name, find(self._survey, name, self._root))
        return OpenTile(self._survey, tile, with_variance)


class TileWindows:
    """The cutouts of one open tile; to be used by one thread at a time."""

    def __init__(self, name: str, tile: OpenTile, frame: WindowFrame) -> None:
        self._name, self._tile, self._frame = name, tile, frame

    def close(self) -> None:
        """Close the files of the tile."""
        self._tile.close()

    def cut(self, ra: float, dec: float, frame: WindowFrame | None = None) -> Flux:
        """Read the cutout [B, S, S] around a position; all NaN where it has no data. ``frame`` may be a wider one.

        Raises:
            ScannerError: ``query.outside_coverage``, or a code that starts with ``tile.``.
        """
        frame = frame or self._frame
        # Twice the half side in arcsec: room for any rotation and for the resampler's margin.
        region = self._tile.region_around(ra, dec, frame.window * frame.pixel_scale)
        if region is None:
            raise ScannerError(ErrorCode.QUERY_OUTSIDE_COVERAGE, f"{ra:.5f}, {dec:.5f} is not on tile {self._name}.")
        try:
            images = self._tile.read(region)
        except ScannerError as error:
            # The rest of the tile may have data, so an empty region is an answer and not an error.
            if error.code != ErrorCode.TILE_ALL_NAN:
                raise
            return np.full((len(frame.bands), frame.window, frame.window), np.nan, np.float32)
        return _cut(images, frame, ra, dec)

    def window(self, ra: float, dec: float, frame: WindowFrame | None = None) -> Window:
        """Read the cutout around a position, and where north is in it.

        Raises:
            ScannerError: As ``cut`` does.
        """
        return Window(self.cut(ra, dec, frame), self._tile.compass(ra, dec))


def read_cutout(path: Path, survey: Survey, frame: WindowFrame) -> Flux:
    """Read the middle [B, S, S] of a user's FITS cutout at the frame's pixel scale; NaN beyond the cutout.

    Raises:
        ScannerError: As ``cutout_file.read`` does.
    """
    return _cut(cutout_file.read(path, survey, frame), frame, *FLAT_CENTRE)


def _cut(images: TileImages, frame: WindowFrame, ra: float, dec: float) -> Flux:
    sky = np.array([ra]), np.array([dec])
    # A source is placed by its pixel [1] in the detection band.
    x, y = images.to_pixels(images.detection, *sky)
    flux: Flux = Windows(images, Sources.at(images, x, y, sky), frame).gather(0, 1)[0]
    return flux

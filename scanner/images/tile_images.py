"""The bands of a tile as one array in nanojansky, NaN where there is no data, each with its own WCS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.band import BandFile, Image, open_band, read_band
from scanner.images.fits import Region
from scanner.images.sections import Strip
from scanner.images.sky.placement import check_alignment, check_place
from scanner.images.sky.wcs import CelestialWCS, Compass
from scanner.survey.survey import Band, Survey
from scanner.survey.tile import Tile

if TYPE_CHECKING:
    from scanner.images.background import Background

Room = Callable[[tuple[int, ...]], Image]
"""Gives memory of a shape, float32."""

MIN_COVERAGE = 0.8
"""A band can be the detection band if it covers this share of what the best-covered band does."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TileImages:
    """A strip of a tile in memory; the whole tile is one strip.

    ``flux`` is float32 [B, H, W] in nJy, NaN for no data (a missing band is all NaN); ``variance`` holds for each band
    float32 [H, W] in nJy^2 (NaN where unknown) or None; ``valid`` is each band's share of pixels with data.
    ``detection_band`` is the one whose pixels positions refer to; ``pixel_scale`` is in arcsec.

    The arrays hold the rows ``strip.view``; ``wcs``, ``valid``, ``tile_background`` and all positions are those of the
    whole tile. ``tile_background`` is None where the arrays are the whole tile: see ``background``. ``notes`` are
    sentences on what was read by a convention, because a file left it open.
    """

    name: str
    bands: tuple[str, ...]
    flux: Image
    variance: tuple[Image | None, ...]
    wcs: tuple[CelestialWCS | None, ...]
    valid: tuple[float, ...]
    detection_band: str
    pixel_scale: float
    strip: Strip
    tile_background: tuple[Background | None, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        bands: Sequence[str],
        flux: Image,
        wcs: Sequence[CelestialWCS | None],
        pixel_scale: float,
        *,
        variance: Sequence[Image | None] | None = None,
        valid: Sequence[float] | None = None,
        detection_band: str | None = None,
        strip: Strip | None = None,
        tile_background: Sequence[Background | None] | None = None,
        notes: Sequence[str] = (),
    ) -> TileImages:
        """Images of pixels that are calibrated already: by default the whole tile, in bands without variances.

        The shares ``valid`` are counted unless they are known. The detection band is the one with most data unless it
        is given.
        """
        shares = tuple(float(np.isfinite(band).mean()) for band in flux) if valid is None else tuple(valid)
        return cls(
            name=name,
            bands=tuple(bands),
            flux=flux,
            variance=(None,) * len(flux) if variance is None else tuple(variance),
            wcs=tuple(wcs),
            valid=shares,
            detection_band=detection_band or bands[int(np.argmax(shares))],
            pixel_scale=pixel_scale,
            strip=strip or Strip.whole(flux.shape[1]),
            tile_background=None if tile_background is None else tuple(tile_background),
            notes=tuple(notes),
        )

    @cached_property
    def background(self) -> tuple[Background | None, ...]:
        """The background of each band over the whole tile; None for a band without data.

        It is measured once: do not modify the pixels afterwards.
        """
        if self.tile_background is not None:
            return self.tile_background
        from scanner.images.background import Background  # with scipy, which a single cutout can do without

        return tuple(
            Background.of(flux, variance, filtered=False) if has_data else None
            for flux, variance, has_data in zip(self.flux, self.variance, self.present, strict=True)
        )

    @cached_property
    def filtered_noise(self) -> float:
        """Noise of the detection band after the detection filter, for a background noise of one before it."""
        background = self.background[self.detection]
        if background is None:
            raise ValueError(f"band {self.detection_band} has no data to detect objects in")
        if background.filtered is not None:
            return background.filtered
        if self.tile_background is not None:
            raise ValueError("the strips were read for given positions, not for detection")
        return background.measure_filtered(self.flux[self.detection], self.variance[self.detection])

    @property
    def shape(self) -> tuple[int, int]:
        """[H, W] of the whole tile."""
        return self.strip.height, self.flux.shape[2]

    @property
    def present(self) -> tuple[bool, ...]:
        """Whether each band has data at all."""
        return tuple(share > 0 for share in self.valid)

    @property
    def detection(self) -> int:
        """Index of the detection band."""
        return self.bands.index(self.detection_band)

    def to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """RA and Dec (degrees ICRS, [N]) of 0-based pixels of the detection band, whose centres are whole numbers."""
        wcs = self.wcs[self.detection]
        if len(x) == 0 or wcs is None:
            return np.zeros(0), np.zeros(0)
        return wcs.pixels_to_sky(x, y)

    def to_pixels(self, band: int, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
        """0-based pixels [N] of sky positions in a band; NaN where the band is missing or cannot show the position."""
        wcs = self.wcs[band]
        if len(ra) == 0 or wcs is None:
            return np.full(len(ra), np.nan), np.full(len(ra), np.nan)
        return wcs.sky_to_pixels(ra, dec)


class OpenTile:
    """A tile whose bands stay open, so that many regions cost one opening; files may not be shared by threads.

    Raises:
        ScannerError: As ``open_bands`` does.
    """

    def __init__(self, survey: Survey, tile: Tile, with_variance: bool = False) -> None:
        self._survey, self._tile, self._with_variance = survey, tile, with_variance
        self._bands = bands_of(survey, None)
        with ExitStack() as stack:
            self._files = open_bands(stack, tile, self._bands, with_variance)
            self._close = stack.pop_all()

    def close(self) -> None:
        """Close the files."""
        self._close.close()

    def read(self, region: Region) -> TileImages:
        """Read, calibrate and check the pixels of a region.

        Raises:
            ScannerError: With a code that starts with ``tile.``.
        """
        bands, files = self._bands, self._files
        return _read(self._survey, self._tile, bands, files, with_variance=self._with_variance, region=region)

    @property
    def paths(self) -> Mapping[str, Path]:
        """The file of each band that the tile has."""
        return {band: file.path for band, file in self._files.items()}

    def compass(self, ra: float, dec: float) -> Compass | None:
        """North and east at a position, in the pixels of the first band that the tile has."""
        wcs = next(iter(self._files.values())).wcs
        x, y = wcs.sky_to_pixels(ra, dec)
        return wcs.compass(float(x), float(y))

    def region_around(self, ra: float, dec: float, radius: float) -> Region | None:
        """Rows and columns within ``radius`` arcsec of a position (degrees), and two pixels more; None off the tile.

        Raises:
            ScannerError: As ``check_place`` does.
        """
        rows, columns = common_shape(self._files)
        first = next(iter(self._files.values()))
        places = np.array([file.wcs.sky_to_pixels(ra, dec) for file in self._files.values()])
        x, y = places[0]
        if not (-0.5 <= x < columns - 0.5 and -0.5 <= y < rows - 0.5):
            check_place(self._survey, self._tile.name, first.wcs, (rows, columns))
            return None
        # Input pixels from the position to the edges of the region.
        half = math.ceil(radius / first.pixel_scale) + 2
        # The region holds the position in every band.
        (left, bottom), (right, top) = (
            np.rint(end).astype(int) for end in (np.nanmin(places, 0), np.nanmax(places, 0))
        )
        return (
            slice(max(int(bottom) - half, 0), min(int(top) + half + 1, rows)),
            slice(max(int(left) - half, 0), min(int(right) + half + 1, columns)),
        )


def open_tile(
    survey: Survey,
    tile: Tile,
    bands: Sequence[str] | None = None,
    room: Room | None = None,
    with_variance: bool = True,
    checksums: bool = True,
) -> TileImages:
    """Read, calibrate and check the bands of a tile (default: all of the survey, in its order).

    ``room`` gives the memory that becomes ``flux``, float32 [B, H, W]. ``checksums``: verify the sums in the headers.

    Raises:
        ScannerError: With a code that starts with ``tile.``, or ``survey.unknown_band``.
    """
    tile_bands = bands_of(survey, bands)
    with ExitStack() as stack:
        files = open_bands(stack, tile, tile_bands, with_variance, checksums)
        return _read(survey, tile, tile_bands, files, room, with_variance)


def _read(
    survey: Survey,
    tile: Tile,
    tile_bands: Sequence[Band],
    files: Mapping[str, BandFile],
    room: Room | None = None,
    with_variance: bool = False,
    region: Region | None = None,
) -> TileImages:
    """Read the open bands of a tile, or a region of them."""
    if region is not None:
        files = {band: file.cut(region) for band, file in files.items()}
    flux = allocate((len(tile_bands), *common_shape(files)), room)
    # Each band is decoded straight into its part of flux.
    valid, variance = zip(
        *(read_band(files.get(band.name), out) for band, out in zip(tile_bands, flux, strict=True)), strict=True
    )
    detection = choose_detection_band(survey, tile, [band.name for band in tile_bands], valid)
    return TileImages.of(
        tile.name,
        [band.name for band in tile_bands],
        flux,
        [files[band.name].wcs if band.name in files else None for band in tile_bands],
        files[detection].pixel_scale,
        variance=[one if with_variance and _is_known(one) else None for one in variance],
        valid=valid,
        detection_band=detection,
        notes=notes_of(files),
    )


def _is_known(variance: Image | None) -> bool:
    """Whether a variance has any value, in some of the rows or in all: a plane without one must not hide the image."""
    # Every hundredth row often answers already, without a pass over all pixels.
    return variance is not None and bool((variance[::100] > 0).any() or (variance > 0).any())


def bands_of(survey: Survey, names: Sequence[str] | None) -> list[Band]:
    """The bands of these names; for None all of the survey, in its order."""
    return [survey.band(name) for name in (survey.band_names if names is None else names)]


def open_bands(
    stack: ExitStack, tile: Tile, bands: Sequence[Band], with_variance: bool, checksums: bool = False
) -> dict[str, BandFile]:
    """Open those of the bands that the tile has, until the stack closes; ``checksums``: verify them.

    Raises:
        ScannerError: The tile's own problem, ``tile.missing_file`` without any band, ``tile.shape_mismatch`` or
            ``tile.bands_elsewhere`` where the bands are not on one grid of pixels, or as ``open_band`` does.
    """
    if tile.problem is not None:
        raise tile.problem
    files = {
        band.name: open_band(stack, band, tile.files[band.name], with_variance, checksums)
        for band in bands
        if band.name in tile.files
    }
    if not files:
        raise ScannerError(
            ErrorCode.TILE_MISSING_FILE,
            f"Tile {tile.name} has no file in the bands {', '.join(band.name for band in bands)}.",
            f"The tile has files in these bands: {', '.join(tile.files) or 'none'}.",
        )
    check_alignment(list(files.values()))
    return files


def common_shape(files: Mapping[str, BandFile]) -> tuple[int, int]:
    """[H, W] of what will be read, the same in all bands."""
    return next(iter(files.values())).shape


def notes_of(files: Mapping[str, BandFile]) -> list[str]:
    """The notes of all bands, in their order."""
    return [note for file in files.values() for note in file.notes]


def allocate(shape: tuple[int, int, int], room: Room | None) -> Image:
    """Memory for pixels, float32 of a shape: from ``room`` where there is one."""
    if room is None:
        return np.empty(shape, np.float32)
    out = room(shape)
    if out.shape != shape or out.dtype != np.float32:
        raise ValueError(f"the memory is {out.dtype} {out.shape}, the tile needs float32 {shape}")
    return out


def choose_detection_band(survey: Survey, tile: Tile, bands: Sequence[str], valid: Sequence[float]) -> str:
    """The first band of the survey's preference that covers nearly as much as the best one.

    ``valid``: the share of pixels with data of each of ``bands``.

    Raises:
        ScannerError: ``tile.all_nan`` where no band has any data.
    """
    if not any(valid):
        raise ScannerError(
            ErrorCode.TILE_ALL_NAN,
            f"Tile {tile.name} has no pixel with data in any band.",
            "Remove the tile from the list: its images hold only NaN, zeros or masked pixels.",
        )
    # Bands of the survey's preference first; any other band is better than none.
    share = dict(zip(bands, valid, strict=True))
    order = [*(band for band in survey.detection if band in share), *bands]
    return next(band for band in order if share[band] >= MIN_COVERAGE * max(valid))

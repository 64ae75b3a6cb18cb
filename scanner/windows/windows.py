"""Cutouts around sources as batches for the encoder: each band at its own pixels, NaN where there is no data."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from scanner.images.sky.placement import SCALE_TOLERANCE
from scanner.images.tile_images import TileImages
from scanner.sources.sources import Sources
from scanner.windows.frame import WindowFrame
from scanner.windows.resample import Resampler

Batch = NDArray[np.float32]

_TIE = 1e-6
"""Pixels. A position this close to the border of two pixels always belongs to the same one, whatever its last bit."""

_OFF_IMAGE = -(10**9)
"""First pixel of a cutout whose position is unknown: no image reaches there, so all of it is NaN."""


@dataclass(frozen=True)
class _Group:
    """Neighbouring bands cut at the same pixels: channels of the cutout, bands of the images, first pixels, phases."""

    out: slice
    bands: slice
    x: list[int]
    y: list[int]
    phase_x: list[int]
    phase_y: list[int]


class Windows:
    """Cutouts of a tile around its sources: ``gather`` fills batches of float32 [n, B, S, S] in nJy.

    A cutout is taken at whole pixels, the source within half a pixel of its centre (S - 1) / 2. Where the tile's pixels
    differ from the frame's by more than 1 %, it is resampled to the frame's pixel scale and centred on the source, in
    nJy per pixel of the frame, so that flux is conserved. ``check_scale`` refuses such a tile.

    Raises:
        ScannerError: ``survey.unknown_band`` where the images lack a band of the frame.
    """

    def __init__(self, images: TileImages, sources: Sources, frame: WindowFrame) -> None:
        missing = [band for band in frame.bands if band not in images.bands]
        if missing:
            raise ScannerError(
                ErrorCode.SURVEY_UNKNOWN_BAND,
                f"The images have no band {', '.join(missing)}, which the cutouts need.",
                f"Use a survey with these bands; the images have {', '.join(images.bands)}.",
            )
        self._flux = images.flux
        self._frame = frame
        self._count = len(sources)
        self._present = np.array([images.present[images.bands.index(band)] for band in frame.bands])
        ratio = frame.pixel_scale / images.pixel_scale
        self._resampler = None if _has_scale(images, frame) else Resampler(frame.window, ratio)
        self._groups = self._group_bands(images, sources)

    def __len__(self) -> int:
        return self._count

    @property
    def is_resampled(self) -> bool:
        """Whether cutouts are brought to the frame's pixel scale, and centred on their sources."""
        return self._resampler is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, S, S] of one cutout."""
        return len(self._frame.bands), self._frame.window, self._frame.window

    def gather(self, start: int, stop: int, out: Batch | None = None) -> Batch:
        """Cutouts ``start`` to ``stop`` in the order of the sources, in ``out`` (float32 [>= n, B, S, S]) if given."""
        stop = min(stop, self._count)
        batch = np.empty((stop - start, *self.shape), np.float32) if out is None else out[: stop - start]
        resampler = self._resampler
        for group in self._groups:
            flux = self._flux[group.bands]
            if resampler is None:
                for index in range(start, stop):
                    _copy(flux, group.x[index], group.y[index], batch[index - start, group.out])
            else:
                patch = np.empty((len(flux), resampler.patch, resampler.patch), np.float32)
                # So pixels have the same bits on machines with more or fewer cores.
                with one_core():
                    for index in range(start, stop):
                        _copy(flux, group.x[index], group.y[index], patch)
                        phases = group.phase_y[index], group.phase_x[index]
                        batch[index - start, group.out] = resampler.apply(patch, *phases)
        return batch

    def over(self, flux: NDArray[np.float32]) -> Windows:
        """The same cutouts over another copy of the tile's pixels [B, H, W]: one that this process can reach."""
        windows = copy.copy(self)
        windows._flux = flux
        return windows

    def valid_fraction(self, batch: Batch) -> NDArray[np.float32]:
        """Share of pixels with data in each cutout [n], over the bands that the tile has."""
        pixels = max(int(self._present.sum()), 1) * self._frame.window**2
        valid = np.count_nonzero(np.isfinite(batch), axis=(1, 2, 3))
        return np.asarray(valid / pixels, np.float32)

    def _group_bands(self, images: TileImages, sources: Sources) -> list[_Group]:
        """Bands joined while they follow each other in both orders and are cut alike: one copy serves them all."""
        indices = [images.bands.index(band) for band in self._frame.bands]
        places = [self._place(images, sources, index) if images.present[index] else None for index in indices]
        groups, start = [], 0
        for stop in range(1, len(indices) + 1):
            if stop < len(indices) and _joins(indices[start : stop + 1], places[start : stop + 1]):
                continue
            place = next((place for place in places[start:stop] if place is not None), None)
            # No band of the group has data.
            if place is None:
                place = np.array([[_OFF_IMAGE], [_OFF_IMAGE], [0], [0]]).repeat(self._count, axis=1)
            first = indices[start]
            bands = slice(first, first + stop - start)
            groups.append(_Group(slice(start, stop), bands, *(row.tolist() for row in place)))
            start = stop
        return groups

    def _place(self, images: TileImages, sources: Sources, band: int) -> NDArray[np.int64]:
        """First pixels and phases of the cutouts in a band: int [4, N] of x, y, phase of x, phase of y."""
        x, y = (sources.x, sources.y) if band == images.detection else sources.pixels[band]
        # Far off the image is as good as unknown, and must not overflow an integer.
        unknown = ~(np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 1e6) & (np.abs(y) < 1e6))
        x, y = np.where(unknown, 0.0, x), np.where(unknown, 0.0, y)
        if self._resampler is not None:
            (first_x, phase_x), (first_y, phase_y) = self._resampler.place(x), self._resampler.place(y)
        else:
            # So that the source lies within half a pixel of the centre (S - 1) / 2.
            half = (self._frame.window - 1) / 2 - 0.5 - _TIE
            first_x, first_y = np.floor(x - half).astype(np.int64), np.floor(y - half).astype(np.int64)
            phase_x = phase_y = np.zeros(len(x), np.int64)
        # Rows of the arrays, which may begin within the tile.
        first_y = first_y - images.strip.view.start
        first_x, first_y = np.where(unknown, _OFF_IMAGE, first_x), np.where(unknown, _OFF_IMAGE, first_y)
        return np.stack([first_x, first_y, phase_x, phase_y])


def check_scale(images: TileImages, frame: WindowFrame) -> None:
    """Refuse a tile whose cutouts would have to be resampled.

    Raises:
        ScannerError: ``tile.pixel_scale``.
    """
    if not _has_scale(images, frame):
        raise ScannerError(
            ErrorCode.TILE_PIXEL_SCALE,
            f'Tile {images.name} has {images.pixel_scale:.4f}" pixels; the model needs {frame.pixel_scale:.4f}".',
            "Give --resample to bring cutouts to the model's pixel scale.",
        )


def _has_scale(images: TileImages, frame: WindowFrame) -> bool:
    return abs(images.pixel_scale / frame.pixel_scale - 1) <= SCALE_TOLERANCE


def _joins(indices: list[int], places: list[NDArray[np.int64] | None]) -> bool:
    """Whether bands can be cut as one: consecutive in the images, and at equal pixels where they are present."""
    cuts = [place for place in places if place is not None]
    consecutive = indices == list(range(indices[0], indices[0] + len(indices)))
    return consecutive and all(np.array_equal(cuts[0], place) for place in cuts[1:])


def _copy(image: NDArray[np.float32], x: int, y: int, out: NDArray[np.float32]) -> None:
    """Copy the pixels of ``image`` [B, H, W] from (x, y) on into ``out`` [B, S, S]; NaN outside the image."""
    (rows, columns), side = image.shape[1:], out.shape[-1]
    if x >= 0 and y >= 0 and x + side <= columns and y + side <= rows:
        out[:] = image[:, y : y + side, x : x + side]
        return
    out.fill(np.nan)
    # The part of the cutout that lies on the image, if any.
    top, bottom, left, right = max(y, 0), min(y + side, rows), max(x, 0), min(x + side, columns)
    if top < bottom and left < right:
        out[:, top - y : bottom - y, left - x : right - x] = image[:, top:bottom, left:right]

"""Windows around sources as batches for the encoder: each band at its own pixels, NaN where there is no data."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.tile_images import SCALE_TOLERANCE, TileImages
from scanner.sources.sources import Sources
from scanner.windows.frame import WindowFrame
from scanner.windows.resample import Resampler

Batch = NDArray[np.float32]

_TIE = 1e-6
_NOWHERE = -(10**9)


@dataclass(frozen=True)
class _Group:
    """Neighbouring bands that are cut at the same pixels: where they go, where they come from, and from which pixel."""

    out: slice
    bands: slice
    x: list[int]
    y: list[int]
    phase_x: list[int]
    phase_y: list[int]


class Windows:
    """Windows of a tile around its sources: ``gather`` fills batches of float32 [n, B, S, S] in nJy.

    A window is cut at whole pixels, the source within half a pixel of its centre (S - 1) / 2. Where the tile's pixels
    differ from the frame's by more than 1 %, windows are brought to the frame's pixel scale, centred on the source:
    nJy per pixel of the frame, flux conserved. ``check_scale`` refuses such a tile.
    """

    def __init__(self, images: TileImages, sources: Sources, frame: WindowFrame) -> None:
        missing = [band for band in frame.bands if band not in images.bands]
        if missing:
            hint = f"The bands at hand are {', '.join(images.bands)}."
            raise ScannerError(ErrorCode.SURVEY_UNKNOWN_BAND, f"Windows need the band {', '.join(missing)}.", hint)
        self._flux = images.flux
        self._frame = frame
        self._top = images.strip.view.start
        self._count = len(sources)
        self._present = np.array([images.present[images.bands.index(band)] for band in frame.bands])
        self._resampler = _resampler(images, frame)
        self._groups = list(self._grouped(images, sources))

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, S, S] of one window."""
        return len(self._frame.bands), self._frame.window, self._frame.window

    def gather(self, start: int, stop: int, out: Batch | None = None) -> Batch:
        """Windows ``start`` to ``stop`` in the order of the sources, in ``out`` (float32 [>= n, B, S, S]) if given."""
        stop = min(stop, self._count)
        batch = np.empty((stop - start, *self.shape), np.float32) if out is None else out[: stop - start]
        cut = self._cut if self._resampler is None else self._cut_resampled
        for group in self._groups:
            for index in range(start, stop):
                cut(group, index, batch[index - start, group.out])
        return batch

    def over(self, flux: NDArray[np.float32]) -> Windows:
        """The same windows over another copy of the tile's pixels [B, H, W]: one that this process can reach."""
        moved = copy.copy(self)
        moved._flux = flux
        return moved

    def valid_fraction(self, batch: Batch) -> NDArray[np.float32]:
        """Share of pixels with data in each window [n], over the bands that the tile has."""
        pixels = max(int(self._present.sum()), 1) * self._frame.window**2
        valid = np.count_nonzero(np.isfinite(batch), axis=(1, 2, 3))
        return np.asarray(valid / pixels, np.float32)

    def _cut(self, group: _Group, index: int, out: Batch) -> None:
        _copy(self._flux[group.bands], group.x[index], group.y[index], out)

    def _cut_resampled(self, group: _Group, index: int, out: Batch) -> None:
        assert self._resampler is not None
        side = self._resampler.patch
        patch = np.empty((group.bands.stop - group.bands.start, side, side), np.float32)
        _copy(self._flux[group.bands], group.x[index], group.y[index], patch)
        out[:] = self._resampler.apply(patch, group.phase_y[index], group.phase_x[index])

    def _grouped(self, images: TileImages, sources: Sources) -> Iterator[_Group]:
        """Bands joined while they follow each other in both orders and are cut alike; a missing one joins any."""
        places: list[tuple[int, NDArray[np.int64] | None]] = []
        for band in self._frame.bands:
            index = images.bands.index(band)
            places.append((index, self._place(images, sources, index) if images.present[index] else None))
        start = 0
        for stop in range(1, len(places) + 1):
            if stop < len(places) and _joins(places[start : stop + 1]):
                continue
            yield _group(start, stop, places[start:stop], self._count)
            start = stop

    def _place(self, images: TileImages, sources: Sources, band: int) -> NDArray[np.int64]:
        """First pixels and phases of the windows in a band: int [4, N] of x, y, phase of x, phase of y."""
        x, y = (sources.x, sources.y) if band == images.detection else sources.pixels[band]
        lost = ~(np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 1e6) & (np.abs(y) < 1e6))
        x, y = np.where(lost, 0.0, x), np.where(lost, 0.0, y)
        if self._resampler is not None:
            (first_x, phase_x), (first_y, phase_y) = self._resampler.place(x), self._resampler.place(y)
        else:
            half = (self._frame.window - 1) / 2 - 0.5 - _TIE
            first_x, first_y = np.floor(x - half).astype(np.int64), np.floor(y - half).astype(np.int64)
            phase_x = phase_y = np.zeros(len(x), np.int64)
        first_x, first_y = np.where(lost, _NOWHERE, first_x), np.where(lost, _NOWHERE, first_y - self._top)
        return np.stack([first_x, first_y, phase_x, phase_y])


def check_scale(images: TileImages, frame: WindowFrame) -> None:
    """Refuse a tile whose windows would have to be resampled.

    Raises:
        ScannerError: ``tile.pixel_scale``.
    """
    if not _fits(images.pixel_scale, frame):
        message = f'Tile {images.name} has {images.pixel_scale:.4f}" pixels, the model {frame.pixel_scale:.4f}".'
        hint = "With --resample, windows are brought to the model's pixel scale."
        raise ScannerError(ErrorCode.TILE_PIXEL_SCALE, message, hint)


def _fits(pixel_scale: float, frame: WindowFrame) -> bool:
    return abs(pixel_scale / frame.pixel_scale - 1) <= SCALE_TOLERANCE


def _resampler(images: TileImages, frame: WindowFrame) -> Resampler | None:
    if _fits(images.pixel_scale, frame):
        return None
    return Resampler(frame.window, frame.pixel_scale / images.pixel_scale)


def _joins(places: list[tuple[int, NDArray[np.int64] | None]]) -> bool:
    """Whether bands can be cut as one: consecutive in the image, and at equal pixels where they are present."""
    indices = [index for index, _ in places]
    cuts = [place for _, place in places if place is not None]
    in_a_row = indices == list(range(indices[0], indices[0] + len(indices)))
    return in_a_row and all(np.array_equal(cuts[0], place) for place in cuts[1:])


def _group(start: int, stop: int, places: list[tuple[int, NDArray[np.int64] | None]], count: int) -> _Group:
    first = places[0][0]
    nowhere = np.array([[_NOWHERE], [_NOWHERE], [0], [0]]).repeat(count, axis=1)
    cut = next((place for _, place in places if place is not None), nowhere)
    return _Group(slice(start, stop), slice(first, first + stop - start), *(row.tolist() for row in cut))


def _copy(image: NDArray[np.float32], x: int, y: int, out: NDArray[np.float32]) -> None:
    """The window of ``image`` [B, H, W] whose first pixel is (x, y) into ``out`` [B, S, S]; NaN outside the image."""
    (rows, columns), side = image.shape[1:], out.shape[-1]
    if x >= 0 and y >= 0 and x + side <= columns and y + side <= rows:
        out[:] = image[:, y : y + side, x : x + side]
        return
    out.fill(np.nan)
    top, bottom, left, right = max(y, 0), min(y + side, rows), max(x, 0), min(x + side, columns)
    if top < bottom and left < right:
        out[:, top - y : bottom - y, left - x : right - x] = image[:, top:bottom, left:right]

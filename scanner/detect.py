"""Finding objects in one band, section by section, with sep (the Source Extractor library)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from catalogs.errors import ScannerError
from scanner.sections import Section, Strip, nearest, sections
from scanner.sky import Sky

THRESHOLD = 4.0
"""Per pixel after the detection filter, in units of the filtered sky noise (1.5 of the unfiltered, if it is white)."""

_FILTER_1D = np.array([0.25, 0.5, 0.25], np.float32)
FILTER = np.outer(_FILTER_1D, _FILTER_1D)
_WHITE = float(np.sqrt((FILTER**2).sum()))
_ENOUGH_PIXELS = 1000

MIN_AREA = 5
DEBLEND_LEVELS = 32
DEBLEND_CONTRAST = 0.005
KRON_FACTOR = 2.5
MIN_KRON_RADIUS = 1.75
"""The aperture is never smaller than 3.5 half-axes across (PHOT_AUTOPARAMS 2.5, 3.5 of Source Extractor)."""

MAX_RADIUS = 200
_PIXEL_STACK, _LARGE_PIXEL_STACK = 300_000, 6_000_000
"""Pixels above the threshold that sep holds at once. It clears them all for every section, and six million take longer
to clear than most sections take to search: they are for those that the first number is too small for."""

_SUB_OBJECTS = 16_384

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Objects of one band, in its pixels: positions 0-based, sizes in pixels, ``theta`` in degrees, flux in nJy."""

    x: Floats
    y: Floats
    a: Floats
    b: Floats
    theta: Floats
    flux_auto: Floats
    flux_radius: Floats
    snr: Floats
    flags: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Found:
        return Found(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def find_objects(
    flux: Image,
    variance: Image | None = None,
    min_snr: float = 0.0,
    section: tuple[int, int] | None = None,
    strip: Strip | None = None,
) -> Found:
    """Objects of one band: ``flux`` [H, W] in nJy, NaN for no data; pixels without a variance are left out.

    Where ``flux`` and ``variance`` are those of a ``strip``, objects are those that are the strip's own, in pixels of
    the whole tile.

    The image is divided by its local sky noise before thresholding, instead of handing sep a noise map: with a map sep
    filters differently and its deblending loses members of groups (a fifth of the lenses of the development tile).
    ``min_snr`` is a cut on the isophotal signal to noise. Objects come sorted by y, then x. Raises
    ``tile.too_crowded`` where sep's buffers overflow.
    """
    if strip is None and variance is not None and np.isnan(variance).all():
        variance = None  # a plane that knows nothing must not hide the image
    sep.set_sub_object_limit(_SUB_OBJECTS)
    rows = strip or Strip.whole(len(flux))
    parts = [
        _find_in(flux, variance, part, min_snr, rows)
        for part in sections((rows.height, flux.shape[1]), section)
        if rows.core.start <= part.core[0].start < rows.core.stop
    ]
    names = Found.__dataclass_fields__
    found = Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return found.take(np.lexsort((found.x, found.y)))


def _find_in(flux: Image, variance: Image | None, section: Section, min_snr: float, strip: Strip) -> Found:
    held = strip.held(section.view)
    data = np.array(flux[held], np.float32, order="C")
    lost = np.isnan(data)
    if variance is not None:
        lost |= np.isnan(variance[held])
        data[lost] = np.nan
    sky = Sky.of(data)
    if sky is None or not sky.typical > 0:
        return _none()
    significance = np.empty_like(data)
    for lines, level, noise in sky.rows(data.shape):
        data[lines] -= level
        np.divide(data[lines], np.maximum(noise, np.float32(sky.typical * 1e-3)), out=significance[lines])
    data[lost] = significance[lost] = 0
    objects, segments = _extract(significance, lost)
    own = np.flatnonzero(_shaped(objects) & _owned(objects, section) & (_snr(objects) >= min_snr))
    found = _measure(data, lost, segments, objects[own], own + 1)
    rows, columns = section.view
    return Found(found.x + columns.start, found.y + rows.start, *(getattr(found, name) for name in _REST))


def _extract(significance: Image, lost: NDArray[np.bool_]) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    threshold = THRESHOLD * _filtered_noise(significance, lost)
    try:
        try:
            return _above(threshold, significance, lost, _PIXEL_STACK)
        except Exception as error:  # sep raises plain exceptions for its buffers
            if "pixel buffer full" not in str(error):
                raise
            return _above(threshold, significance, lost, _LARGE_PIXEL_STACK)
    except Exception as error:
        hint = "Give positions instead of detecting: --sources FILE or --sources grid."
        raise ScannerError("tile.too_crowded", f"Source detection gave up: {error}.", hint) from error


def _above(
    threshold: float, significance: Image, lost: NDArray[np.bool_], stack: int
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """sep's objects and the map of their pixels, with room for ``stack`` pixels at once."""
    sep.set_extract_pixstack(stack)
    objects, segments = sep.extract(
        significance,
        threshold,
        mask=lost,
        filter_kernel=FILTER,
        minarea=MIN_AREA,
        deblend_nthresh=DEBLEND_LEVELS,
        deblend_cont=DEBLEND_CONTRAST,
        segmentation_map=True,
    )
    return objects, segments


def _filtered_noise(significance: Image, lost: NDArray[np.bool_]) -> float:
    """Sky noise after the detection filter, for one before it: 0.375 if pixels are independent, more if correlated.

    Taken below the median, where there are no objects, in every tenth row: with fewer, sections differ
    from the whole image in what they find.
    """
    middle = np.arange(1, len(significance) - 1, 10)
    blocks = np.stack([significance[middle + step] for step in (-1, 0, 1)])
    filtered = convolve1d(np.tensordot(_FILTER_1D, blocks, 1), _FILTER_1D, axis=1, mode="nearest")
    there = ~lost[middle]
    if there.sum() < _ENOUGH_PIXELS:
        return _WHITE
    before, after = (_half_width(image[there]) for image in (blocks[1], filtered))
    return after / before if before > 0 and after > 0 else _WHITE


def _half_width(values: Image) -> float:
    """From the 16th percentile to the median: a standard deviation that what is bright does not change.

    Each is selected for itself: numpy looks for two at once ten times as slowly.
    """
    half, sixth = len(values) // 2, len(values) * 16 // 100
    below = np.partition(values, half)[: half + 1]
    return float(below[half] - np.partition(below, sixth)[sixth])


def _snr(objects: NDArray[np.void]) -> Floats:
    """Isophotal signal to noise: the objects' pixels are in units of their noise."""
    return np.asarray(objects["flux"] / np.sqrt(objects["npix"]))


def _shaped(objects: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which objects have a shape: damaged pixels near 1e38 have no moments, and with one such sep measures none."""
    return np.asarray(np.isfinite(objects["a"]) & np.isfinite(objects["b"]) & np.isfinite(objects["theta"]))


def _owned(objects: NDArray[np.void], section: Section) -> NDArray[np.bool_]:
    (rows, columns), (core_rows, core_columns) = section.view, section.core
    x, y = nearest(objects["x"] + columns.start), nearest(objects["y"] + rows.start)
    in_rows = (y >= core_rows.start) & (y < core_rows.stop)
    return np.asarray(in_rows & (x >= core_columns.start) & (x < core_columns.stop))


def _measure(
    data: Image, lost: NDArray[np.bool_], segments: NDArray[np.int32], objects: NDArray[np.void], ids: NDArray[np.intp]
) -> Found:
    """Kron flux and half-light radius of each object, with the pixels of its neighbours masked."""
    x, y = objects["x"], objects["y"]
    a, b = np.maximum(objects["a"], 0.5), np.maximum(objects["b"], 0.5)
    theta = np.clip(objects["theta"], -np.pi / 2, np.pi / 2)
    around = {"mask": lost, "segmap": segments, "seg_id": ids.astype(np.int32)}
    radius, kron_flags = sep.kron_radius(data, x, y, a, b, theta, 6.0, **around)
    radius = np.maximum(KRON_FACTOR * np.nan_to_num(radius), MIN_KRON_RADIUS)
    flux, _, flux_flags = sep.sum_ellipse(data, x, y, a, b, theta, radius, subpix=1, **around)
    half, _ = sep.flux_radius(
        data, x, y, np.minimum(4.0 * a, MAX_RADIUS), 0.5, normflux=np.where(flux > 0, flux, np.nan), subpix=3, **around
    )  # half the time of the usual 5, for 0.5 % of scatter
    return Found(
        x=x,
        y=y,
        a=a,
        b=b,
        theta=np.degrees(theta),
        flux_auto=flux,
        flux_radius=np.where(flux > 0, half, np.nan),
        snr=_snr(objects),
        flags=(objects["flag"] | kron_flags | flux_flags).astype(np.int32),
    )


_REST = [name for name in Found.__dataclass_fields__ if name not in ("x", "y")]


def _none() -> Found:
    empty = np.zeros(0)
    return Found(empty, empty, empty, empty, empty, empty, empty, empty, np.zeros(0, np.int32))

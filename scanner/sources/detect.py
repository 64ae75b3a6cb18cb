"""Finding objects in one band, section by section, with sep (the Source Extractor library)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.background import Sky
from scanner.images.background_mesh import FILTER
from scanner.images.sections import Section, Strip, nearest, sections

THRESHOLD = 4.0
"""Per pixel after the detection filter, in units of the filtered sky noise (1.5 of the unfiltered, if it is white)."""

KERNEL = np.outer(FILTER, FILTER)
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
    sky: Sky | None = None,
) -> Found:
    """Objects of one band: ``flux`` [H, W] in nJy, NaN for no data; pixels without a variance are left out.

    Where ``flux`` and ``variance`` are those of a ``strip``, objects are those that are the strip's own, in pixels of
    the whole tile. ``sky``: the whole image's, where it is known; of a strip it must be given.

    The image is divided by its local sky noise before thresholding, instead of handing sep a noise map: with a map sep
    filters differently and its deblending loses members of groups (a fifth of the lenses of the development tile).
    ``min_snr`` is a cut on the isophotal signal to noise. Objects come sorted by y, then x. Raises
    ``tile.too_crowded`` where sep's buffers overflow.
    """
    if strip is None and variance is not None and np.isnan(variance).all():
        variance = None  # a plane that knows nothing must not hide the image
    if sky is None and strip is None:
        sky = Sky.of(flux, variance)
    if sky is None or not sky.typical > 0:
        return _none()
    sep.set_sub_object_limit(_SUB_OBJECTS)
    rows = strip or Strip.whole(len(flux))
    parts = [
        _find_in(flux, variance, part, min_snr, rows, sky)
        for part in sections((rows.height, flux.shape[1]), section)
        if rows.core.start <= part.core[0].start < rows.core.stop
    ]
    names = Found.__dataclass_fields__
    found = Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return found.take(np.lexsort((found.x, found.y)))


def _find_in(flux: Image, variance: Image | None, section: Section, min_snr: float, strip: Strip, sky: Sky) -> Found:
    data, significance, lost = _above_sky(flux[strip.held(section.view)], section.view, sky)
    if variance is not None:
        lost |= np.isnan(variance[strip.held(section.view)])
        data[lost] = significance[lost] = 0
    objects, segments = _extract(significance, THRESHOLD * sky.filtered)
    own = np.flatnonzero(_shaped(objects) & _owned(objects, section) & (_snr(objects) >= min_snr))
    found = _measure(data, lost, segments, objects[own], own + 1)
    rows, columns = section.view
    return Found(found.x + columns.start, found.y + rows.start, *(getattr(found, name) for name in _REST))


def _above_sky(flux: Image, view: tuple[slice, slice], sky: Sky) -> tuple[Image, Image, NDArray[np.bool_]]:
    """What of a section is above its sky, in nJy and in units of its noise, 0 where there is no data; and where so.

    All is done to some rows while they are in the processor's cache.
    """
    data, significance = (np.empty(flux.shape, np.float32) for _ in range(2))
    lost, least = np.empty(flux.shape, bool), np.float32(sky.typical * 1e-3)
    for rows, level, noise in sky.rows(view):
        np.isnan(flux[rows], out=lost[rows])
        np.subtract(flux[rows], level, out=data[rows])
        np.copyto(data[rows], 0, where=lost[rows])
        np.divide(data[rows], np.maximum(noise, least), out=significance[rows])
    return data, significance, lost


def _extract(significance: Image, threshold: float) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """sep's objects and the map of their pixels; without data a pixel is 0, as a mask would make it."""
    try:
        try:
            return _above(threshold, significance, _PIXEL_STACK)
        except Exception as error:  # sep raises plain exceptions for its buffers
            if "pixel buffer full" not in str(error):
                raise
            return _above(threshold, significance, _LARGE_PIXEL_STACK)
    except Exception as error:
        hint = "Give positions instead of detecting: --sources FILE or --sources grid."
        raise ScannerError(ErrorCode.TILE_TOO_CROWDED, f"Source detection gave up: {error}.", hint) from error


def _above(threshold: float, significance: Image, stack: int) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """The same with room for ``stack`` pixels at once."""
    sep.set_extract_pixstack(stack)
    objects, segments = sep.extract(
        significance,
        threshold,
        filter_kernel=KERNEL,
        minarea=MIN_AREA,
        deblend_nthresh=DEBLEND_LEVELS,
        deblend_cont=DEBLEND_CONTRAST,
        segmentation_map=True,
    )
    return objects, segments


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

"""Detection of objects in one band, section by section, with sep (the Source Extractor library).

A change that gives other rows also raises ``scanner.sources.DETECTION_VERSION``. The detection filter is
``scanner.images.background_mesh.FILTER``, since the background is measured through it too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import sep
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.background import Background
from scanner.images.background_mesh import FILTER
from scanner.images.sections import Section, cut_sections, nearest
from scanner.images.tile_images import TileImages

THRESHOLD = 4.0
"""Per pixel after the detection filter, in units of the filtered background noise (1.5 of the unfiltered, if white)."""

KERNEL = np.outer(FILTER, FILTER)
MIN_AREA = 5
DEBLEND_LEVELS = 32
DEBLEND_CONTRAST = 0.005
KRON_FACTOR = 2.5
MIN_KRON_RADIUS = 1.75
"""The aperture is at least 3.5 half-axes across, as by PHOT_AUTOPARAMS 2.5, 3.5 of Source Extractor."""

MAX_RADIUS = 200
"""Pixels in which the half-light radius is searched."""

_PIXEL_STACK, _LARGE_PIXEL_STACK = 300_000, 6_000_000
"""Pixels above the threshold that sep holds at once. sep clears them all for every section, and six million take longer
to clear than most sections take to search. The larger number is for sections that overflow the smaller one; a section
of fewer pixels takes as many as it has, which also keeps the memory of a process flat over many small images."""

_SUB_OBJECTS = 16_384
_extracted: Counter[str] = Counter()

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """Objects of one band: 0-based positions and sizes in pixels, ``theta`` in degrees, flux in nJy, each [N].

    ``a`` and ``b`` are isophotal half-axes, ``flux_auto`` is in a Kron aperture, ``flux_radius`` is the half-light
    radius, ``snr`` the isophotal signal to noise, ``flags`` are those of sep.
    """

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

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        return Detections(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def find_objects(images: TileImages, min_snr: float = 0.0) -> Detections:
    """Find the objects of the detection band that the strip of a tile owns, in pixels of the whole tile.

    ``min_snr`` is a cut on the isophotal signal to noise. Objects come sorted by y, then x. Pixels without a variance,
    where there is one, are left out.

    The image is divided by its local background noise before thresholding, instead of handing sep a noise map: with a
    map sep filters differently and its deblending loses members of groups.

    Source: Bertin & Arnouts 1996, A&AS 117, 393 (extraction, deblending), by sep: Barbary 2016, JOSS 1, 58.

    Raises:
        ScannerError: ``tile.too_crowded`` where sep's buffers overflow.
    """
    background = images.background[images.detection]
    if background is None or not background.typical > 0:
        return _none()
    sep.set_sub_object_limit(_SUB_OBJECTS)
    # Sections whose core begins in the strip's own rows; their views reach into the rows around it.
    parts = [
        _find_in(images, section, background, min_snr)
        for section in cut_sections(images.shape)
        if images.strip.core.start <= section.core[0].start < images.strip.core.stop
    ]
    names = Detections.__dataclass_fields__
    detections = Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return detections.take(np.lexsort((detections.x, detections.y)))


def _find_in(images: TileImages, section: Section, background: Background, min_snr: float) -> Detections:
    """The objects of one section whose centroid lies in its core."""
    local = images.strip.local(section.view)
    flux, variance = images.flux[images.detection][local], images.variance[images.detection]
    data, significance, masked = _above_background(flux, section.view, background)
    if variance is not None:
        masked |= np.isnan(variance[local])
        data[masked] = significance[masked] = 0
    # Noise after the filter, in units of the noise before it: the threshold holds for correlated noise as well.
    objects, segments = _extract(significance, THRESHOLD * images.filtered_noise)

    # Damaged pixels near 1e38 give objects without moments, and with one such sep would measure none.
    good = np.isfinite(objects["a"]) & np.isfinite(objects["b"]) & np.isfinite(objects["theta"])
    good &= _snr(objects) >= min_snr
    # The section whose core holds the centroid owns the object; pixels of the tile.
    (rows, columns), (core_rows, core_columns) = section.view, section.core
    x, y = nearest(objects["x"] + columns.start), nearest(objects["y"] + rows.start)
    good &= (y >= core_rows.start) & (y < core_rows.stop) & (x >= core_columns.start) & (x < core_columns.stop)
    # sep numbers objects from 1 in the segmentation map.
    own = np.flatnonzero(good)
    detections = _measure(data, masked, segments, objects[own], own + 1)
    return replace(detections, x=detections.x + columns.start, y=detections.y + rows.start)


def _above_background(
    flux: Image, view: tuple[slice, slice], background: Background
) -> tuple[Image, Image, NDArray[np.bool_]]:
    """A section above its background in nJy and in units of its noise, 0 where there is no data; the mask of these."""
    data, significance = (np.empty(flux.shape, np.float32) for _ in range(2))
    masked, least = np.empty(flux.shape, bool), np.float32(background.typical * 1e-3)
    # All is done to some rows while they are in the processor's cache.
    for rows, level, noise in background.rows(view):
        np.isnan(flux[rows], out=masked[rows])
        np.subtract(flux[rows], level, out=data[rows])
        np.copyto(data[rows], 0, where=masked[rows])
        np.divide(data[rows], np.maximum(noise, least), out=significance[rows])
    return data, significance, masked


def _extract(significance: Image, threshold: float) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """sep's objects and the map of their pixels; a pixel without data is 0, as a mask would make it."""

    def extract(pixel_stack: int) -> tuple[NDArray[np.void], NDArray[np.int32]]:
        sep.set_extract_pixstack(pixel_stack)
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

    try:
        try:
            found = extract(min(_PIXEL_STACK, significance.size + 1))
        except Exception as error:  # sep raises plain exceptions for its buffers
            if "pixel buffer full" not in str(error):
                raise
            found = extract(_LARGE_PIXEL_STACK)
    except Exception as error:
        hint = "Give positions instead of detecting: --sources FILE or --sources grid."
        raise ScannerError(ErrorCode.TILE_TOO_CROWDED, f"Source detection gave up: {error}.", hint) from error
    _extracted["objects"] += len(found[0])
    return found


def extracted() -> int:
    """Number of objects that sep has found in this process, whatever became of them: it never frees all of each."""
    return _extracted["objects"]


def _snr(objects: NDArray[np.void]) -> Floats:
    """Isophotal signal to noise: the objects' pixels are in units of their noise."""
    return np.asarray(objects["flux"] / np.sqrt(objects["npix"]))


def _measure(
    data: Image,
    masked: NDArray[np.bool_],
    segments: NDArray[np.int32],
    objects: NDArray[np.void],
    ids: NDArray[np.intp],
) -> Detections:
    """Kron flux and half-light radius of each object, with the pixels of its neighbours masked.

    Source: Kron 1980, ApJS 43, 305, with the factor and least radius of Source Extractor.
    """
    x, y = objects["x"], objects["y"]
    a, b = np.maximum(objects["a"], 0.5), np.maximum(objects["b"], 0.5)
    theta = np.clip(objects["theta"], -np.pi / 2, np.pi / 2)
    around = {"mask": masked, "segmap": segments, "seg_id": ids.astype(np.int32)}
    # Within 6 half-axes, as Source Extractor does; radii are in units of the half-axes.
    radius, kron_flags = sep.kron_radius(data, x, y, a, b, theta, 6.0, **around)
    radius = np.maximum(KRON_FACTOR * np.nan_to_num(radius), MIN_KRON_RADIUS)
    flux, _, flux_flags = sep.sum_ellipse(data, x, y, a, b, theta, radius, subpix=1, **around)
    # subpix 3 takes half the time of the usual 5, for 0.5 % of scatter.
    half, _ = sep.flux_radius(
        data, x, y, np.minimum(4.0 * a, MAX_RADIUS), 0.5, normflux=np.where(flux > 0, flux, np.nan), subpix=3, **around
    )
    return Detections(
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


def _none() -> Detections:
    empty = np.zeros(0)
    return Detections(empty, empty, empty, empty, empty, empty, empty, empty, np.zeros(0, np.int32))

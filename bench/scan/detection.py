"""Detection by sections beside detection on the whole image: time, and whether they find the same objects."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bench.harness.setup import Setup
from bench.harness.timing import cost, in_turns, median_ratio, middle
from scanner.images import sections
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources import detect
from scanner.sources.detect import Detections
from scanner.survey import survey
from scanner.survey.tile import Tile

NEAR = 1.0
"""Pixels within which two objects are one."""

Image = NDArray[np.float32]


def measure(setup: Setup, tile: Tile) -> dict[str, Any]:
    """Rows of ``detection``; ``sections_vs_bare_sep`` compares with sep's background and extraction alone,
    ``sections_vs_whole`` with the same measurements (Kron flux, half-light radius, snr) on the whole."""
    images = open_tile(survey.load("unions"), tile)
    flux, variance = images.flux[images.detection].copy(), images.variance[images.detection]
    # Detection takes one band; the others are freed.
    del images
    works = {
        "sections": partial(_in_sections, flux, variance),
        "whole, the same code": partial(_in_one_section, flux, variance),
        "whole, sep alone": partial(_bare, flux),
        "whole, sep with Kron flux and radius": partial(_measured, flux),
    }
    answers: dict[str, Any] = {}

    # The objects of the last turn are compared below.
    def work(name: str) -> None:
        answers[name] = works[name]()

    with setup.step("detection in sections and on the whole"):
        costs = in_turns({name: partial(cost, partial(work, name)) for name in works}, min(setup.runs, 2))
    ratios = {name: median_ratio(turns, costs["sections"]) for name, turns in costs.items()}
    return {
        "sections_vs_whole": ratios["whole, the same code"],
        "sections_vs_bare_sep": ratios["whole, sep alone"],
        "sections_unmatched_brighter_half": _unmatched(answers["whole, the same code"], answers["sections"]),
        "sections_duplicates": _duplicates(answers["sections"]),
        "detection": [
            {
                "how": name,
                "objects": len(answers[name]),
                "seconds": middle(turns).wall,
                "cpu_s": middle(turns).cpu,
                "sections_take": ratios[name],
            }
            for name, turns in costs.items()
        ],
    }


def _in_sections(flux: Image, variance: Image | None) -> Detections:
    """The scanner's detection, background included."""
    return detect.find_objects(TileImages.of("tile", ("r",), flux[None], (None,), 0.18577, variance=(variance,)))


def _in_one_section(flux: Image, variance: Image | None) -> Detections:
    """The same with a section as large as the image."""
    with patch.object(sections, "SECTION", flux.shape):
        return _in_sections(flux, variance)


def _bare(flux: Image) -> NDArray[np.void]:
    """What the manual of sep does, with the scanner's filter and deblending, at 1.5 sigma."""
    objects, *_ = _extracted(flux)
    return objects


def _measured(flux: Image) -> NDArray[np.void]:
    """The same, and what its manual does for Kron magnitudes and half-light radii."""
    objects, data, missing = _extracted(flux)
    x, y, theta = objects["x"], objects["y"], np.clip(objects["theta"], -np.pi / 2, np.pi / 2)
    a, b = np.maximum(objects["a"], 0.5), np.maximum(objects["b"], 0.5)
    radius, _ = sep.kron_radius(data, x, y, a, b, theta, 6.0, mask=missing)
    radius = np.maximum(detect.KRON_FACTOR * np.nan_to_num(radius), detect.MIN_KRON_RADIUS)
    total, *_ = sep.sum_ellipse(data, x, y, a, b, theta, radius, mask=missing, subpix=1)
    whole = np.where(total > 0, total, np.nan)
    reach = np.minimum(4.0 * a, detect.MAX_RADIUS)
    sep.flux_radius(data, x, y, reach, 0.5, normflux=whole, subpix=5, mask=missing)
    return objects


def _extracted(flux: Image) -> tuple[NDArray[np.void], Image, NDArray[np.bool_]]:
    missing = np.isnan(flux)
    data = np.where(missing, np.float32(0), flux)
    size = sections.MESH
    background = sep.Background(data, mask=missing, bw=size, bh=size)
    background.subfrom(data)
    objects = sep.extract(
        data, 1.5, err=background.globalrms, mask=missing, minarea=detect.MIN_AREA, filter_kernel=detect.KERNEL,
        deblend_nthresh=detect.DEBLEND_LEVELS, deblend_cont=detect.DEBLEND_CONTRAST,
    )  # fmt: skip
    return objects, data, missing


def _unmatched(whole: Detections, parts: Detections) -> float:
    """Of the brighter half of the objects of the whole image, those without a partner."""
    bright = whole.flux_auto >= np.median(whole.flux_auto)
    away, _ = cKDTree(np.stack([parts.x, parts.y], 1)).query(np.stack([whole.x, whole.y], 1)[bright])
    return float(np.mean(away > NEAR))


def _duplicates(objects: Detections) -> int:
    return len(cKDTree(np.stack([objects.x, objects.y], 1)).query_pairs(NEAR))

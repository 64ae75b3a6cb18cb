"""Selection of objects for cutouts: all that are extended and bright, fewer of the rest, and random positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Column = NDArray[np.floating[Any]]
Positions = tuple[NDArray[np.float64], NDArray[np.float64]]

STAR_SIZE = 0.65
"""Largest half-light radius of a star in FWHM of the seeing (Moffat beta 3: 0.63, Gauss: 0.50)."""


@dataclass(frozen=True)
class Rule:
    """Rule that says which objects of an image are cut. Lenses always are.

    An extended object of magnitude m is cut with the probability 10**(-slope (m - bright)), at least ``least``; without
    this half of all cutouts would be within a magnitude of the limit. Stars follow the same rule and are then thinned
    to at most the share ``stars`` of the objects. Random positions are added: the share ``sky`` of all cutouts. Cutouts
    with data in less than ``min_valid`` of their pixels are dropped.
    """

    min_snr: float = 10.0
    bright: float = 22.0
    slope: float = 0.2
    least: float = 0.35
    stars: float = 0.15
    sky: float = 0.1
    min_valid: float = 0.5


def select_rows(
    rule: Rule,
    mag: Column,
    radius: Column,
    seeing: float,
    must_keep: NDArray[np.bool_],
    most: int,
    random: np.random.Generator,
) -> Rows:
    """Select the rows to cut, sorted; those of ``must_keep`` always are.

    ``mag`` [N] is AB, ``radius`` [N] (half-light) and ``seeing`` (FWHM) are in arcsec.
    """
    # Drawn for all objects first, so that a choice does not depend on the others.
    draw, order = random.random(len(mag)), random.random(len(mag))
    faint = np.nan_to_num(mag, nan=99.0) - rule.bright
    keep = (draw < np.clip(10 ** (-rule.slope * faint), rule.least, 1)) | must_keep
    # Small ones are stars; few of them are enough.
    star = keep & (radius < STAR_SIZE * seeing) & ~must_keep
    galaxies = np.flatnonzero(keep & ~star)
    stars = _some(np.flatnonzero(star), int(len(galaxies) * rule.stars / (1 - rule.stars)), order)
    rows = np.concatenate([galaxies, stars])
    return np.sort(_some(rows, most, np.where(must_keep, -1, order)) if most else rows)


def _some(rows: Rows, count: int, order: Column) -> Rows:
    return rows[np.argsort(order[rows], kind="stable")[:count]]


def draw_positions(rule: Rule, objects: int, shape: tuple[int, int], random: np.random.Generator) -> Positions:
    """Draw x, y of random positions in an image [H, W] of which ``objects`` objects are cut."""
    count = round(objects * rule.sky / (1 - rule.sky))
    height, width = shape
    return random.uniform(0, width - 1, count), random.uniform(0, height - 1, count)

"""Weights of the rows that a sweep keeps, learned from examples: their pixels, or rows of another catalogue."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking import rank, scorers
from catalogs.search import random_sample
from catalogs.search.matching import match
from catalogs.store import rows
from scanner.encoder.contract import ModelFile
from scanner.encoder.encoder import Encoder
from scanner.queries import query
from scanner.queries.query import Position
from scanner.scan.best_rows import Keep
from scanner.survey.survey import Survey
from scanner.windows.by_position import Flux, WindowReader
from scanner.windows.frame import WindowFrame

AROUND, AWAY = 8, 2.0
"""Windows around each example that stand for ordinary sky, and how far away they are, in windows."""

log = logging.getLogger(__name__)


def by_pixels(best: int, like: Path, survey: Survey, encoder: Encoder, root: Path) -> Keep:
    """Examples embedded now, from the tiles under ``root``; the sky beside each of them stands for the ordinary.

    ``like``: a table of positions; those without pixels are logged and left out. The score is that of ``scanner rank
    --method centroid``: along the line from the mean of the ordinary to the mean of the examples. Raises
    ``ScannerError``: ``rank.no_example``, ``rank.no_ordinary``, ``sources.*``.
    """
    stamps = WindowReader(survey, WindowFrame(*encoder.contract.frame), root)
    windows: list[Flux] = []
    ordinary: list[Flux] = []
    step = AWAY * encoder.contract.window * encoder.contract.pixel_scale / 3600
    for place in query.collect_positions(None, None, None, like):
        if (window := _window(stamps, place)) is None:
            continue
        windows.append(window)
        ordinary += [found for near in _around(place, step) if (found := _window(stamps, near)) is not None]
    return _learned(best, _embedded(encoder, windows), _embedded(encoder, ordinary), _digest(windows, ordinary))


def from_catalogue(best: int, like: Path, catalogue: Catalogue, model: Encoder | ModelFile) -> Keep:
    """Examples that are objects of a catalogue, against a sample of its primary objects: the score of ``scanner rank``.

    Raises ``ScannerError``: ``catalogue.other_model``, and as ``by_pixels``.
    """
    if catalogue.info.model_sha256 != model.sha256:
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_MODEL,
            f"The objects of {catalogue.path} were embedded by model {catalogue.info.model}, this scan uses another.",
            "Give the catalogue's own --model, or leave --like-catalog away: examples are then embedded now.",
        )
    places = list(query.collect_positions(None, None, None, like))
    snapshot = catalogue.snapshot()
    found = match(snapshot, [one.ra for one in places], [one.dec for one in places])
    drawn = random_sample.draw(snapshot, rows.primary(catalogue, None), rank.SAMPLE)
    ordinary = drawn[~found.near(drawn.ra, drawn.dec)].vectors if len(found) else drawn.vectors
    return _learned(best, found.vectors, ordinary, _digest(found.vectors, ordinary))


def _learned(best: int, like: NDArray[np.float32], ordinary: NDArray[np.float32], digest: str) -> Keep:
    if not len(like):
        hint = "Give positions on tiles under --root, or of objects of --like-catalog."
        raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, "None of the examples of --like could be embedded.", hint)
    if not len(ordinary):
        raise ScannerError(
            ErrorCode.RANK_NO_ORDINARY, "There is nothing to compare the examples with.", "Give --like-catalog."
        )
    log.info("Keeps the best %d rows of each tile, by %d examples against %d others", best, len(like), len(ordinary))
    weights = scorers.fit_centroid(like, ordinary).weights
    return Keep(best, tuple(weights.tolist()), digest)


def _digest(*groups: Iterable[NDArray[np.float32]]) -> str:
    """SHA-256 of examples and of what they are compared with, as pixels or as vectors."""
    digest = hashlib.sha256()
    for group in groups:
        for one in group:
            digest.update(one.tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def _window(stamps: WindowReader, place: Position) -> Flux | None:
    """The window around a place, None where there are no pixels."""
    try:
        window = stamps.at(place.ra, place.dec)
    except ScannerError as error:
        if error.code not in query.NO_CUTOUT:
            raise
        if place.name:
            log.warning("Example %s: %s", place.name, error.message)
        return None
    return window if np.isfinite(window).any() else None


def _around(place: Position, step: float) -> Iterator[Position]:
    """Places on a ring of radius ``step`` (degrees)."""
    for turn in np.arange(AROUND) * (2 * math.pi / AROUND):
        dec = place.dec + step * math.sin(turn)
        yield Position((place.ra + step * math.cos(turn) / math.cos(math.radians(place.dec))) % 360, dec)


def _embedded(encoder: Encoder, windows: list[Flux]) -> NDArray[np.float32]:
    """Unit vectors [N, D] of windows; those without a vector are left out."""
    if not windows:
        return np.zeros((0, encoder.contract.embedding_dim), np.float32)
    vectors = encoder.embed(np.stack(windows))
    return vectors[np.isfinite(vectors).all(axis=1)]

"""Weights for the rows that a sweep keeps, learned from the pixels of examples or from another catalogue."""

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
from catalogs.ranking import methods, rank
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
"""Cutouts around each example that represent ordinary sky, and their distance in cutouts."""

log = logging.getLogger(__name__)


def by_pixels(best: int, like: Path, survey: Survey, encoder: Encoder, root: Path) -> Keep:
    """Learn from examples embedded now, from the tiles under ``root``, against the sky around each of them.

    ``like`` is a table of positions; those without pixels are skipped with a warning. The score is that of ``scanner
    rank --method centroid``: along the line from the mean of the ordinary vectors to the mean of the examples.

    Raises:
        ScannerError: ``rank.no_example``, ``rank.no_ordinary``, ``sources.*``.
    """
    windows = WindowReader(survey, WindowFrame(*encoder.contract.frame), root)
    cutouts: list[Flux] = []
    ordinary: list[Flux] = []
    # Degrees. At this distance a cutout does not overlap that of the example.
    step = AWAY * encoder.contract.window * encoder.contract.pixel_scale / 3600
    for position in query.read_table(like):
        cutout = _read_cutout(windows, position)
        if cutout is not None:
            cutouts.append(cutout)
            nearby = [_read_cutout(windows, other) for other in _ring(position, step)]
            ordinary += [other for other in nearby if other is not None]
    return _learn(best, _embed(encoder, cutouts), _embed(encoder, ordinary), _digest(cutouts, ordinary))


def from_catalogue(best: int, like: Path, catalogue: Catalogue, model: Encoder | ModelFile) -> Keep:
    """Learn from examples that are objects of a catalogue, against a sample of its primary objects.

    Raises:
        ScannerError: ``catalogue.other_model``, and the codes of ``by_pixels``.
    """
    # The embeddings of two models cannot be compared, so weights of one are useless for the other.
    info = catalogue.info
    if (info.model_sha256, info.runtime, info.precision) != (model.sha256, model.runtime, model.precision):
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_MODEL,
            f"The objects of {catalogue.path} were embedded by model {info.model} ({info.precision}, {info.runtime}), "
            "this scan uses another.",
            "Give the --model, --precision and --runtime of the catalogue, or leave out --like-catalog: examples are "
            "then embedded now.",
        )
    positions = list(query.read_table(like))
    snapshot = catalogue.snapshot()
    examples = match(snapshot, [one.ra for one in positions], [one.dec for one in positions])
    sample = random_sample.draw(snapshot, rows.primary(catalogue, None), rank.SAMPLE)
    # The sample may hold the examples and pieces of them, such as arcs, which are not ordinary.
    ordinary = sample[~examples.near(sample.ra, sample.dec)].vectors if len(examples) else sample.vectors
    return _learn(best, examples.vectors, ordinary, _digest(examples.vectors, ordinary))


def _learn(best: int, like: NDArray[np.float32], ordinary: NDArray[np.float32], digest: str) -> Keep:
    if not len(like):
        hint = "Give positions on tiles under --root, or of objects of --like-catalog."
        raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, "None of the examples of --like could be embedded.", hint)
    if not len(ordinary):
        raise ScannerError(
            ErrorCode.RANK_NO_ORDINARY, "There is nothing to compare the examples with.", "Give --like-catalog."
        )
    log.info("Keeps the best %d rows of each tile, by %d examples against %d others", best, len(like), len(ordinary))
    weights = methods.fit_centroid(like, ordinary).weights
    return Keep(best, tuple(weights.tolist()), digest)


def _digest(*groups: Iterable[NDArray[np.float32]]) -> str:
    """Compute the SHA-256 of examples and of what they are compared with, as pixels or as vectors."""
    digest = hashlib.sha256()
    for group in groups:
        for one in group:
            digest.update(one.tobytes())
        # The separator makes the digest depend on the group that an array is in.
        digest.update(b"|")
    return digest.hexdigest()


def _read_cutout(windows: WindowReader, position: Position) -> Flux | None:
    """Read the cutout around a position; None where it has no data."""
    try:
        cutout = windows.at(position.ra, position.dec)
    except ScannerError as error:
        if error.code not in query.NO_CUTOUT:
            raise
        # Positions of a ring have no name: the user did not give them.
        if position.name:
            log.warning("Example %s: %s", position.name, error.message)
        return None
    return cutout if np.isfinite(cutout).any() else None


def _ring(centre: Position, radius: float) -> Iterator[Position]:
    """Yield positions on a ring of this radius in degrees."""
    for turn in np.arange(AROUND) * (2 * math.pi / AROUND):
        dec = centre.dec + radius * math.sin(turn)
        # A step in right ascension covers less of the sky by the cosine of the declination.
        yield Position((centre.ra + radius * math.cos(turn) / math.cos(math.radians(centre.dec))) % 360, dec)


def _embed(encoder: Encoder, cutouts: list[Flux]) -> NDArray[np.float32]:
    """Embed cutouts as unit vectors [N, D]; those without a finite vector are dropped."""
    # ``np.stack`` refuses an empty list; ``_learn`` reports the lack of examples.
    if not cutouts:
        return np.zeros((0, encoder.contract.embedding_dim), np.float32)
    vectors = encoder.embed(np.stack(cutouts))
    return vectors[np.isfinite(vectors).all(axis=1)]

"""Examples to rank by, from a table of positions: objects of the catalogue, or spots embedded now from their tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import examples
from catalogs.search.examples import Examples, Unmatched
from catalogs.search.matching import match
from scanner.queries import query
from scanner.queries.query import Position, QueryBuilder
from scanner.sources import position_files
from scanner.windows.orientations import ORIENTATIONS, orientations

if TYPE_CHECKING:
    from scanner.windows.by_position import WindowReader

Flux = NDArray[np.float32]
_AT_ONCE = 64
_NO_SPOT = query.NO_CUTOUT | {ErrorCode.QUERY_NO_EMBEDDING, ErrorCode.MODEL_MISSING}


def read(
    path: Path,
    builder: QueryBuilder,
    augment: bool = False,
    label: str | None = None,
) -> Examples:
    """The examples of a table of positions, named ``FILE:ROW`` with rows from 1; only those of a ``label``, if given.

    A position within the builder's radius of an object stands for it. Another one is embedded from its tile if the
    builder knows of images; what is left is ``unmatched``. With ``augment`` each has the vectors of all
    eight orientations of its window. Raises ``ScannerError``: ``rank.no_pixels`` (to augment takes every
    window), ``sources.*``, those of the encoder.
    """
    places = list(query.collect_positions(None, None, None, path))
    if label is not None:
        labels = position_files.read_words(path, "label")
        places = [one for one, word in zip(places, labels, strict=True) if word == label]
        if not places:
            hint = f"Its labels are {', '.join(sorted(set(labels))[:20])}."
            raise ScannerError(ErrorCode.SOURCES_NO_LABEL, f"No row of {path} has the label {label!r}.", hint)
    names = [f"{path.name}:{one.name}" for one in places]
    found = match(builder.snapshot, [one.ra for one in places], [one.dec for one in places], builder.radius, names)
    if builder.at_hand:
        found = _with_spots(found, builder)
    return augmented(found, builder) if augment and len(found) else found


def augmented(found: Examples, builder: QueryBuilder) -> Examples:
    """The examples with eight vectors each, those of their windows turned and mirrored; ``rank.no_pixels``."""
    stamps = builder.stamps()
    turned = []
    for start in range(0, len(found), _AT_ONCE):
        windows = [_window(stamps, found, place) for place in range(start, min(start + _AT_ONCE, len(found)))]
        turned.append(builder.encoder.embed(np.concatenate([orientations(window) for window in windows])))
    vectors = np.concatenate(turned)
    sound = np.isfinite(vectors).all(axis=1)
    return found.with_vectors(vectors[sound], np.repeat(np.arange(len(found)), ORIENTATIONS)[sound])


def _with_spots(found: Examples, builder: QueryBuilder) -> Examples:
    """Unmatched positions embedded from their tiles; those that cannot be are said why."""
    left: list[Unmatched] = []
    joined = replace(found, unmatched=())
    for one in found.unmatched:
        try:
            joined = joined.joined(_spot(one, builder))
        except ScannerError as error:
            if error.code not in _NO_SPOT | {one.code}:
                raise
            left.append(replace(one, code=error.code))
    return replace(joined, unmatched=tuple(left))


def _spot(one: Unmatched, builder: QueryBuilder) -> Examples:
    if one.code not in query.NOT_CATALOGUED:
        raise ScannerError(one.code, f"{one.name} is no position.")
    vector = builder.spot(Position(one.ra, one.dec, one.name)).vector
    if not np.isfinite(vector).all():
        raise ScannerError(ErrorCode.QUERY_NO_EMBEDDING, f"The model gives no vector for {one.name}.")
    return examples.spot(one.name, one.ra, one.dec, vector)


def _window(stamps: WindowReader, found: Examples, place: int) -> Flux:
    """The window [B, S, S] of an example, from its own tile."""
    ra, dec, tile = float(found.ra[place]), float(found.dec[place]), str(found.tile[place])
    try:
        return stamps.of(tile, ra, dec) if tile else stamps.at(ra, dec)
    except ScannerError as error:
        message = f"The pixels of example {found.name[place]} at {ra:.6f} {dec:+.6f} are not at hand: {error.message}"
        hint = "Turning and mirroring take the images of every example: give --root, or leave --augment away."
        raise ScannerError(ErrorCode.RANK_NO_PIXELS, message, hint) from error


def describe_examples(path: Path, found: Examples) -> Sequence[str]:
    """What became of the positions of a table, a line each."""
    spots = int((found.object_id == examples.NO_OBJECT).sum())
    words = f"{path}: {len(found) - spots} objects" + (f", {spots} spots embedded now" if spots else "")
    lines = [f"{words}, {len(found.unmatched)} positions are no example"] if found.unmatched else [words]
    return [*lines, *(f"  {one.name} at {one.ra:.6f} {one.dec:+.6f} [{one.code}]" for one in found.unmatched)]

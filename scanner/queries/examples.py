"""Examples to rank by, from a table of positions: objects of the catalogue, or spots embedded now from their tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import examples
from catalogs.search.examples import Examples, Unmatched
from catalogs.search.matching import match
from scanner.queries import query
from scanner.queries.query import Position, QueryBuilder
from scanner.windows.orientations import ORIENTATIONS, orientations

# Cutouts that are embedded at a time, in eight orientations each.
_AT_ONCE = 64
_NO_SPOT = query.NO_CUTOUT | {ErrorCode.QUERY_NO_EMBEDDING, ErrorCode.MODEL_MISSING}


def read(path: Path, builder: QueryBuilder, augment: bool = False, label: str | None = None) -> Examples:
    """Read examples from a table of positions; each is called ``FILE:ROW``, with rows from 1.

    A position within the builder's radius of an object stands for that object. Another one is embedded from its tile,
    if the builder has images; the rest is ``unmatched``. With ``augment`` each example has the vectors of all eight
    orientations of its cutout. ``label`` chooses the rows with this word in the column ``label``.

    Raises:
        ScannerError: ``rank.no_pixels`` (to augment needs every cutout), ``sources.*``, ``catalogue.other_model``,
            ``model.*``, ``device.*``.
    """
    positions = list(query.read_table(path, label))
    ra, dec = [position.ra for position in positions], [position.dec for position in positions]
    # A position's name is its row in the file, also where the label left rows out.
    names = [f"{path.name}:{position.name}" for position in positions]
    matched = match(builder.snapshot, ra, dec, builder.radius, names)
    if builder.has_images:
        matched = _embed_unmatched(matched, builder)
    return augment_examples(matched, builder) if augment and len(matched) else matched


def augment_examples(some: Examples, builder: QueryBuilder) -> Examples:
    """Give each example eight vectors, those of its cutout turned and mirrored.

    Raises:
        ScannerError: ``rank.no_pixels``.
    """
    windows = builder.windows()
    blocks = []
    for start in range(0, len(some), _AT_ONCE):
        cutouts = []
        for number in range(start, min(start + _AT_ONCE, len(some))):
            ra, dec, tile = float(some.ra[number]), float(some.dec[number]), str(some.tile[number])
            try:
                # A spot has no tile of its own: the first tile that covers it is read.
                cutouts.append(windows.of(tile, ra, dec) if tile else windows.at(ra, dec))
            except ScannerError as error:
                message = f"Example {some.name[number]} at {ra:.6f} {dec:+.6f} has no pixels: {error.message}"
                hint = "Give the folder of its images with --root, or leave out --augment."
                raise ScannerError(ErrorCode.RANK_NO_PIXELS, message, hint) from error
        # Cutouts [8 n, B, S, S]: the eight orientations of an example follow each other.
        blocks.append(builder.encoder.embed(np.concatenate([orientations(cutout) for cutout in cutouts])))
    vectors = np.concatenate(blocks)
    # The encoder gives NaN in place of a vector that is not usable; the other orientations stay.
    finite = np.isfinite(vectors).all(axis=1)
    return some.with_vectors(vectors[finite], np.repeat(np.arange(len(some)), ORIENTATIONS)[finite])


def _embed_unmatched(matched: Examples, builder: QueryBuilder) -> Examples:
    """Embed unmatched positions from their tiles; those that cannot be embedded get the code of the reason."""
    unmatched: list[Unmatched] = []
    joined = replace(matched, unmatched=())
    for one in matched.unmatched:
        # Pixels do not help where the position itself is invalid.
        if one.code not in query.NOT_CATALOGUED:
            unmatched.append(one)
            continue
        try:
            spot = builder.spot(Position(one.ra, one.dec, one.name))
            if not np.isfinite(spot.vector).all():
                raise ScannerError(ErrorCode.QUERY_NO_EMBEDDING, f"The model gives no vector for {one.name}.")
        except ScannerError as error:
            # These errors concern one position and leave the others usable; any other error ends the command.
            if error.code not in _NO_SPOT | {one.code}:
                raise
            unmatched.append(replace(one, code=error.code))
        else:
            joined = joined.join(examples.spot(one.name, one.ra, one.dec, spot.vector, spot.score))
    return replace(joined, unmatched=tuple(unmatched))


def describe_examples(path: Path, some: Examples) -> Sequence[str]:
    """Describe what became of the positions of a table, a line each."""
    spots = int((some.object_id == examples.NO_OBJECT).sum())
    words = f"{path}: {len(some) - spots} objects" + (f", {spots} spots embedded now" if spots else "")
    lines = [f"{words}, {len(some.unmatched)} positions are no example"] if some.unmatched else [words]
    return [*lines, *(f"  {one.name} at {one.ra:.6f} {one.dec:+.6f} [{one.code}]" for one in some.unmatched)]

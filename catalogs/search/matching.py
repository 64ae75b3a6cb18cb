"""Matching: from positions and ids to the objects of a catalogue, as examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.examples import Example, Examples, Unmatched
from catalogs.sky import geometry
from catalogs.sky.geometry import SAME_OBJECT, Circle
from catalogs.store import row_filter, rows, vectors
from catalogs.store.backend import Snapshot
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.scores import LENS_SCORE
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

MATCH_RADIUS = 3.0  # arcsec between a position asked for and the object that is meant
Degrees = NDArray[np.float64]
_PLACES = ("object_id", "ra", "dec", "is_primary")


class _Row(NamedTuple):
    """The row of an object: its id, its position in degrees, and its tile."""

    object_id: int
    ra: float
    dec: float
    tile: Footer


_Object = tuple[float, float, Vectors, float]
"""Position in degrees, vector and lens score of an object, NaN where it has none."""


def match(
    snapshot: Snapshot,
    ra: Sequence[float],
    dec: Sequence[float],
    radius: float = MATCH_RADIUS,
    names: Sequence[str] | None = None,
) -> Examples:
    """Match positions (degrees) to objects as ``match_each`` does; each object becomes one example."""
    return Examples.of(match_each(snapshot, ra, dec, radius, names), snapshot.catalogue.info.dim)


def match_each(
    snapshot: Snapshot,
    ra: Sequence[float],
    dec: Sequence[float],
    radius: float = MATCH_RADIUS,
    names: Sequence[str] | None = None,
) -> list[Example | Unmatched]:
    """Find for each position (degrees) the nearest object within ``radius`` arcsec; each tile is read once.

    Of the copies of an object in overlapping tiles, the primary one is taken. A position without an object has the code
    of the reason: ``sky.out_of_range``, ``query.outside_coverage`` (no tile is there), ``query.no_object`` (a tile, but
    no object) or ``query.no_embedding``. ``names`` default to numbers from 1.
    """
    if not len(ra):
        return []
    right, up, reach = geometry.normalise_ra(ra), np.asarray(dec, float), radius * rows.ARCSEC
    names = [str(number) for number in range(1, len(right) + 1)] if names is None else names

    # The rows near each position, with their distance in degrees, from all tiles that reach it.
    on_sky = np.isfinite(right) & (np.abs(up) <= 90)
    covered = np.zeros(len(right), bool)
    nearby: list[list[tuple[float, bool, _Row]]] = [[] for _ in right]
    for footer in snapshot.footers:
        places = np.flatnonzero(on_sky & _reached(footer.circle, right, up, reach))
        covered[places] = True
        for table in rows.tile_groups(snapshot, footer, _PLACES) if len(places) else ():
            columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in _PLACES}
            pairs = geometry.pairs_within(right[places], up[places], columns["ra"], columns["dec"], reach)
            for place, number in zip(places[pairs[0]].tolist(), pairs[1].tolist(), strict=True):
                identity, row_ra, row_dec, primary = (values[number].item() for values in columns.values())
                away = float(geometry.separation(right[place], up[place], row_ra, row_dec))
                nearby[place].append((away, primary, _Row(identity, row_ra, row_dec, footer)))

    # Copies of one object lie within half an arcsec of each other: a primary one counts first, then the nearest.
    best_copies: dict[int, _Row] = {}
    unmatched: dict[int, Unmatched] = {}
    for place, candidates in enumerate(nearby):
        if candidates:
            least = min(away for away, _, _ in candidates)
            copies = [one for one in candidates if one[0] <= least + SAME_OBJECT / 2]
            best_copies[place] = min(copies, key=lambda one: (not one[1], one[0]))[2]
        else:
            code = ErrorCode.QUERY_NO_OBJECT if covered[place] else ErrorCode.QUERY_OUTSIDE_COVERAGE
            code = code if on_sky[place] else ErrorCode.SKY_OUT_OF_RANGE
            unmatched[place] = Unmatched(names[place], float(right[place]), float(up[place]), code)
    matches = unmatched | _with_vectors(snapshot, best_copies, names)
    return [matches[place] for place in range(len(right))]


def match_ids(snapshot: Snapshot, names: Mapping[int, str]) -> Examples:
    """Find the objects with these ids, which get these names; an id that no tile holds is unmatched."""
    matches: dict[int, Example | Unmatched] = {}
    for footer in snapshot.footers:
        # The ids of a tile lie in a range of their own, so most tiles are not opened.
        here = [identity for identity in names if footer.first_id <= identity <= footer.last_id]
        for identity, (ra, dec, vector, score) in _read_objects(snapshot, footer, here).items():
            place = _Row(identity, ra, dec, footer)
            matches.setdefault(identity, _as_example(place, names[identity], vector, score))
    unknown = [
        Unmatched(names[one], np.nan, np.nan, ErrorCode.QUERY_UNKNOWN_OBJECT) for one in names if one not in matches
    ]
    return Examples.of([*unknown, *matches.values()], snapshot.catalogue.info.dim)


def match_one(
    snapshot: Snapshot,
    *,
    ra: float | None = None,
    dec: float | None = None,
    object_id: int | None = None,
    radius: float = MATCH_RADIUS,
) -> Example:
    """Find the object of this id, or the one nearest to a position (degrees) within ``radius`` arcsec.

    Raises:
        ScannerError: ``query.unknown_object``, or a code of ``match_each``.
    """
    if object_id is not None:
        matches = match_ids(snapshot, {object_id: str(object_id)})
    elif ra is not None and dec is not None:
        matches = match(snapshot, [ra], [dec], radius)
    else:
        raise TypeError("match_one() takes ra and dec, or object_id")
    if matches.unmatched:
        raise unmatched_error(snapshot, matches.unmatched[0], radius)
    return matches.one(0)


def unmatched_error(snapshot: Snapshot, missing: Unmatched, radius: float = MATCH_RADIUS) -> ScannerError:
    """Make the error that says why there is no object for a position or an id."""
    place = f"ra {missing.ra:.6f}, dec {missing.dec:+.6f}"
    path = snapshot.catalogue.path
    message, hint = {
        ErrorCode.QUERY_UNKNOWN_OBJECT: (
            f"The catalogue {path} has no object {missing.name}.",
            "Ask by position instead; the nearest object is taken.",
        ),
        ErrorCode.QUERY_OUTSIDE_COVERAGE: (
            f"No tile of the catalogue {path} covers {place}.",
            "Scan the tile that covers it first, or give another position.",
        ),
        ErrorCode.QUERY_NO_OBJECT: (
            f"The catalogue {path} has no object within {radius} arcsec of {place}.",
            "Widen the radius, or give the folder of the images, so that the spot itself is embedded.",
        ),
        ErrorCode.QUERY_NO_EMBEDDING: (
            f"The object at {place} has no embedding: its cutout has no data.",
            "Give another object.",
        ),
        ErrorCode.SKY_OUT_OF_RANGE: (
            f"{place} is not a position on the sky.",
            "Give ra and dec in degrees, dec from -90 to 90.",
        ),
    }[missing.code]
    return ScannerError(missing.code, message, hint)


def _reached(circle: Circle | None, ra: Degrees, dec: Degrees, reach: float) -> NDArray[np.bool_]:
    """Tell which positions [N] lie within ``reach`` degrees of the circle that holds a tile's rows."""
    if circle is None:
        return np.zeros(len(ra), bool)
    # Most tiles are far away. A cut in declination saves the trigonometry for all but those nearby.
    reached = np.abs(dec - circle.dec) <= circle.radius + reach
    close = np.flatnonzero(reached)
    if len(close):
        reached[close] = Circle(circle.ra, circle.dec, circle.radius + reach).contains(ra[close], dec[close])
    return reached


def _with_vectors(
    snapshot: Snapshot, located: Mapping[int, _Row], names: Sequence[str]
) -> dict[int, Example | Unmatched]:
    """Read the vectors and scores of objects, each tile once; one without a finite vector is unmatched."""
    by_tile: dict[str, list[int]] = {}
    for place, row in located.items():
        by_tile.setdefault(row.tile.tile, []).append(place)
    read: dict[int, _Object] = {}
    for places in by_tile.values():
        # By id, not by row number: a scan may have replaced the file since the objects were located.
        ids = [located[place].object_id for place in places]
        read |= _read_objects(snapshot, located[places[0]].tile, ids)
    return {
        place: _as_example(row, names[place], *read.get(row.object_id, (None, np.nan))[-2:])
        for place, row in located.items()
    }


def _read_objects(snapshot: Snapshot, footer: Footer, ids: Sequence[int]) -> dict[int, _Object]:
    """Read objects of a tile by their ids; one that is not in it is left out."""
    if not ids:
        return {}
    has_score = LENS_SCORE in snapshot.catalogue.schema.names
    names = ["object_id", "ra", "dec", EMBEDDING, *([LENS_SCORE] if has_score else [])]
    read: dict[int, _Object] = {}
    for table in rows.tile_groups(snapshot, footer, names, Selection(row_filter.of_ids(ids))):
        identity, ra, dec = (table.column(name).to_pylist() for name in names[:3])
        score = table.column(LENS_SCORE).to_pylist() if has_score else [np.nan] * table.num_rows
        read |= zip(
            identity, zip(ra, dec, vectors.from_arrow(table.column(EMBEDDING)), score, strict=True), strict=True
        )
    return read


def _as_example(row: _Row, name: str, vector: Vectors | None, score: float) -> Example | Unmatched:
    if vector is None or not vectors.sound(vector[None])[0]:
        return Unmatched(name, row.ra, row.dec, ErrorCode.QUERY_NO_EMBEDDING)
    return Example(name, vectors.unit(vector[None])[0], row.ra, row.dec, row.object_id, row.tile.tile, score)

"""Which objects of a catalogue look most like examples? One pass over all tiles, a row group in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs import reading, rows, scorers, search, sky, vectors
from catalogs.candidates import COLUMNS
from catalogs.errors import ScannerError
from catalogs.footers import Footer
from catalogs.hits import ONE_SYSTEM, Hits
from catalogs.reading import Selection
from catalogs.schema import EMBEDDING
from catalogs.scorers import Linear
from catalogs.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store import Catalogue

NOT_FOUND = ("query.no_object", "query.outside_coverage", "query.no_embedding")
SAMPLE, SAMPLE_TILES = 4000, 32  # objects, and tiles they come from, that stand for the whole catalogue


@dataclass(frozen=True)
class Examples:
    """P objects of the catalogue: their ids, positions (degrees) and unit vectors [P, D].

    ``unmatched`` are the positions that are no object of it, and why.
    """

    object_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    vectors: Vectors
    unmatched: tuple[tuple[float, float, str], ...] = ()

    def __len__(self) -> int:
        return len(self.object_id)


def match(
    catalogue: Catalogue, ra: Sequence[float], dec: Sequence[float], radius: float = search.MATCH_RADIUS
) -> Examples:
    """The object nearest to each position (degrees), within ``radius`` arcsec, each once."""
    found: dict[int, search.Example] = {}
    unmatched: list[tuple[float, float, str]] = []
    for one_ra, one_dec in zip(ra, dec, strict=True):
        try:
            example = search.example(catalogue, ra=one_ra, dec=one_dec, radius=radius)
            found[example.object_id] = example
        except ScannerError as error:
            if error.code not in NOT_FOUND:
                raise
            unmatched.append((one_ra, one_dec, error.code))
    stacked = np.array([one.vector for one in found.values()], np.float32).reshape(-1, catalogue.info.dim)
    places = np.array([(one.ra, one.dec) for one in found.values()], float).reshape(-1, 2)
    ids = np.array(list(found), np.int64)
    return Examples(ids, places[:, 0], places[:, 1], vectors.unit(stacked), tuple(unmatched))


def rank(
    catalogue: Catalogue,
    like: Examples,
    unlike: Examples | None = None,
    *,
    method: str = "auto",
    k: int = 100,
    where: str | None = None,
    seed: int = 0,
) -> Table:
    """The ``k`` primary objects that score highest: ``rank``, ``score``, for a probe its ``probability``,
    ``similarity`` (cosine with the nearest example), ``nearest_id`` (that example), ``known`` (within 3 arcsec of an
    example), then the columns of the catalogue.

    ``centroid`` scores by the difference of the means of ``like`` and ``unlike``, ``nearest`` by the similarity,
    ``probe`` by logistic regression; a random sample of the catalogue stands for ``unlike`` where there is none.
    ``auto``: see ``scorers.automatic``. Copies on the sky count once. Raises ``ScannerError`` ``rank.no_example``,
    ``rank.bad_method``, ``query.bad_k``, ``where.*``.
    """
    if not len(like) or (unlike is not None and not len(unlike)):
        hint = "Give positions on tiles of the catalogue, or a larger radius."
        raise ScannerError("rank.no_example", "None of the examples is an object of the catalogue.", hint)
    if method not in ("auto", *scorers.METHODS):
        known = ", ".join(("auto", *scorers.METHODS))
        raise ScannerError("rank.bad_method", f"There is no method {method!r}.", f"Give one of {known}.")
    if k < 1:
        raise ScannerError("query.bad_k", f"{k} objects cannot be ranked.", "Ask for one or more.")
    chosen = rows.selection(catalogue, f"({where}) and is_primary" if where else "is_primary", None)
    scorer = _scorer(catalogue, method, like, unlike, seed)
    count = 4 * k + 64
    while True:
        footers = [footer for footer in catalogue.footers() if footer.rows]
        best = _best(catalogue, footers, chosen, like, scorer, count)
        unique = best.unique()
        if len(unique) >= k or len(best) < count:
            return _answer(catalogue, footers, unique[:k], like, scorer)
        count *= 8  # so many copies that too few objects are left


def sample(catalogue: Catalogue, seed: int = 0, count: int = SAMPLE) -> Vectors:
    """Unit vectors [<= count, D] of primary objects drawn at random, from at most ``SAMPLE_TILES`` tiles."""
    rng = np.random.default_rng(seed)
    footers = [footer for footer in catalogue.footers() if footer.rows]
    if len(footers) > SAMPLE_TILES:
        sizes = np.array([footer.rows for footer in footers], float)
        numbers = rng.choice(len(footers), SAMPLE_TILES, replace=False, p=sizes / sizes.sum())
        footers = [footers[number] for number in np.sort(numbers)]
    kept: list[Vectors] = []
    total = sum(footer.rows for footer in footers)
    chosen = rows.selection(catalogue, "is_primary", None)
    for footer in footers:
        for table in rows.tile_groups(catalogue, footer, [EMBEDDING], chosen):
            embedding = vectors.from_arrow(table.column(EMBEDDING))
            drawn = rng.random(len(embedding)) < count / total
            kept.append(embedding[drawn & vectors.sound(embedding)])
    return vectors.unit(np.concatenate(kept)) if kept else np.zeros((0, catalogue.info.dim), np.float32)


def _scorer(catalogue: Catalogue, method: str, like: Examples, unlike: Examples | None, seed: int) -> Linear | None:
    """None for ``nearest``."""
    if method == "auto":
        method = scorers.automatic(len(like))
    if method == "nearest":
        return None
    others = unlike.vectors if unlike is not None else sample(catalogue, seed)
    if not len(others):
        raise ScannerError("rank.no_example", "The catalogue has no primary objects to compare with.", "Give --unlike.")
    return scorers.probe(like.vectors, others) if method == "probe" else scorers.centroid(like.vectors, others)


def _best(
    catalogue: Catalogue,
    footers: Sequence[Footer],
    chosen: Selection,
    like: Examples,
    scorer: Linear | None,
    count: int,
) -> Hits:
    best = Hits.joined([])
    for number, footer in enumerate(footers):
        for table in rows.tile_groups(catalogue, footer, COLUMNS, chosen):
            embedding = vectors.from_arrow(table.column(EMBEDDING))
            sound = vectors.sound(embedding)
            unit = vectors.unit(embedding[sound])
            scores = scorers.nearest(unit, like.vectors)[0] if scorer is None else scorer(unit)
            names = ("object_id", "ra", "dec", reading.ROW)
            object_id, ra, dec, row = (table.column(name).to_numpy()[sound] for name in names)
            hits = Hits(scores, object_id, ra, dec, np.full(len(scores), number), row)
            best = Hits.joined([best, hits.best(count)]).best(count)
    return best


def _answer(
    catalogue: Catalogue, footers: Sequence[Footer], hits: Hits, like: Examples, scorer: Linear | None
) -> Table:
    schema = catalogue.schema
    parts, places = [schema.empty_table()], [np.zeros(0, np.int64)]
    for number in np.unique(hits.tile):
        here = np.flatnonzero(hits.tile == number)
        path = catalogue.tile_path(footers[number].tile)
        parts.append(reading.take(path, schema.names, hits.row[here], catalogue.owners).cast(schema))
        places.append(here)
    found = pa.concat_tables(parts).take(np.argsort(np.concatenate(places)))
    similarity, which = scorers.nearest(vectors.unit(vectors.from_arrow(found.column(EMBEDDING))), like.vectors)
    added: dict[str, tuple[Any, str]] = {
        "rank": (np.arange(1, len(hits) + 1), "Place in the order of the scores, from 1"),
        "score": (hits.similarity, "Score of the method; compare within one answer only"),
        "similarity": (np.minimum(similarity, 1), "Cosine of the embeddings with the nearest example"),
        "nearest_id": (like.object_id[which], "The example that is most similar"),
        "known": (_known(hits, like), "Within 3 arcsec of an example"),
    }
    if scorer is not None and scorer.logistic:
        said = "Of being like the examples, where as many are as are not: for the order, not for counting"
        added["probability"] = (scorers.probability(hits.similarity), said)
    table = reading.to_astropy(found.drop_columns([EMBEDDING]))
    for index, (name, (values, description)) in enumerate(added.items()):
        table.add_column(values, name=name, index=index)
        table[name].description = description
    return table


def _known(hits: Hits, like: Examples) -> NDArray[np.bool_]:
    known = np.zeros(len(hits), bool)
    for ra, dec in zip(like.ra, like.dec, strict=True):
        known |= sky.separation(ra, dec, hits.ra, hits.dec) <= ONE_SYSTEM
    return known

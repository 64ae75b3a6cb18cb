"""Which objects look least like all others? Their vectors are far from where those of the catalogue lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import full_pass, random_sample
from catalogs.search.hits import Hits
from catalogs.search.random_sample import Sample
from catalogs.store import tile_reader
from catalogs.store.rows import primary
from catalogs.store.tile_store import Snapshot, TileStore
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

Method = Literal["mahalanobis", "knn"]
METHODS: tuple[Method, ...] = ("mahalanobis", "knn")
SAMPLE = 20_000
NEIGHBOUR = 10  # whose distance counts
ITSELF = 1 - 1e-6  # cosine above which an object of the sample is the one that is asked about
RIDGE = 0.01  # of the mean variance, added to every direction's: some directions have none
BROKEN = 2 | 16 | 64  # SEP: object or aperture cut by the edge, aperture without any pixel
WHOLE = 0.98  # share of the pixels of the bands present below which the window has a hole or an edge in it
_PRODUCTS = 4_000_000  # held at a time in each thread


@dataclass(frozen=True)
class Mahalanobis:
    """Distance from the mean [D] in units of what is usual in that direction, over the root of D: typically 1.

    ``axes`` [D, D] turn and scale a vector so that all directions are alike.
    """

    mean: Vectors
    axes: Vectors

    def __call__(self, embedding: Vectors, length: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.empty(len(embedding), np.float32)
        for part in _parts(len(embedding), len(self.mean)):
            away = (embedding[part] / length[part, None] - self.mean) @ self.axes
            found[part] = np.sqrt(np.einsum("nd,nd->n", away, away) / away.shape[1])
        return found


@dataclass(frozen=True)
class Knn:
    """Distance (of unit vectors: 0 to 2) to the ``neighbour``-th nearest of the sample [M, D], itself not counted."""

    sample: Vectors
    neighbour: int

    def __call__(self, embedding: Vectors, length: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.empty(len(embedding), np.float32)
        most = len(self.sample) - 1
        places = [most - self.neighbour, most - self.neighbour + 1, most]
        for part in _parts(len(embedding), len(self.sample)):
            ordered = np.partition(embedding[part] @ self.sample.T, places, axis=1)
            beyond, wanted, nearest = (ordered[:, place] / length[part] for place in places)
            found[part] = np.sqrt(np.maximum(2 - 2 * np.where(nearest > ITSELF, beyond, wanted), 0))
        return found


def outliers(
    catalogue: TileStore,
    *,
    method: str = "mahalanobis",
    k: int = 100,
    where: str | None = None,
    sample: int = SAMPLE,
    neighbour: int = NEIGHBOUR,
    seed: int = 0,
) -> Table:
    """The ``k`` primary objects farthest out: ``rank``, ``distance``, ``rarer_than``, ``suspect``, then the columns.

    A seeded ``sample`` of the objects that pass ``where`` says what is usual; then all are compared with it in one
    pass. ``distance`` is that of ``Mahalanobis`` or, by ``knn``, to the ``neighbour``-th nearest of the sample.
    ``rarer_than`` is the share of the sample that is nearer in. ``suspect`` marks objects whose window has a hole or an
    edge, or that detection flagged so. Raises ``ScannerError``: ``outliers.bad_method``, ``outliers.few_objects``,
    ``query.bad_k``, ``where.*``, ``catalogue.changing``.
    """
    if method not in METHODS:
        raise ScannerError(
            ErrorCode.OUTLIERS_BAD_METHOD, f"There is no method {method!r}.", f"Give one of {', '.join(METHODS)}."
        )
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{k} outliers cannot be found.", "Ask for one or more.")
    chosen = primary(catalogue, where)
    snapshot = catalogue.snapshot()
    usual = random_sample.draw(snapshot, chosen, sample, seed)
    far = distance(method, usual, neighbour)
    inside = np.sort(far(usual.vectors, np.ones(len(usual), np.float32)))

    def answer(current: Snapshot) -> Table:
        count = 4 * k + 64
        while True:
            best = full_pass.best(current, chosen, far, count)
            hits = best.unique()
            if len(hits) >= k or len(best) < count:
                return _table(current, hits[:k], inside)
            count *= 8

    return full_pass.steady(snapshot, chosen, answer)


def _parts(rows: int, width: int) -> Iterator[slice]:
    """Rows in parts whose products of this width fit in memory."""
    step = max(_PRODUCTS // width, 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def distance(method: str, usual: Sample, neighbour: int) -> Mahalanobis | Knn:
    """How far out a vector is of what is ``usual``; ``outliers.few_objects``."""
    dim = usual.vectors.shape[1]
    if len(usual) <= max(neighbour, 2):
        message = f"{len(usual)} objects are too few to say what is usual."
        hint = "Let --where pass more, take a larger --sample or a smaller --neighbour, or scan more tiles."
        raise ScannerError(ErrorCode.OUTLIERS_FEW_OBJECTS, message, hint)
    if method == "knn":
        return Knn(usual.vectors, neighbour)
    mean = usual.vectors.mean(axis=0, dtype=np.float64)
    centred = usual.vectors - mean
    variance, directions = np.linalg.eigh(centred.T @ centred / len(usual))
    scale = np.sqrt(np.maximum(variance, 0) + RIDGE * max(variance.sum(), 1e-12) / dim)
    return Mahalanobis(mean.astype(np.float32), (directions / scale).astype(np.float32))


def _table(snapshot: Snapshot, hits: Hits, inside: NDArray[np.float32]) -> Table:
    names = tile_reader.checked_columns(None, snapshot.catalogue.schema)
    found = tile_reader.to_astropy(full_pass.rows_of(snapshot, hits, names))
    rarer = np.searchsorted(inside, hits.score) / len(inside)
    holed = found["valid_fraction"] < WHOLE * _share_of_bands(snapshot.catalogue, found)
    suspect = holed | (found["flags"] & BROKEN != 0)
    said = {
        "rank": (np.arange(1, len(hits) + 1), "Place in the order of distance, from 1"),
        "distance": (hits.score, "How far out: see the method"),
        "rarer_than": (rarer, "Share of the sample that is nearer in"),
        "suspect": (np.asarray(suspect, bool), "A hole or an edge in the window, or flagged as truncated"),
    }
    for index, (name, (values, description)) in enumerate(said.items()):
        found.add_column(values, name=name, index=index)
        found[name].description = description
    return found


def _share_of_bands(catalogue: TileStore, found: Table) -> NDArray[np.float64]:
    """Share of the model's bands that each object has: the most that its ``valid_fraction`` can be."""
    bands = catalogue.info.contract.get("bands", catalogue.info.bands)
    return np.array(
        [sum(band in present for band in bands) / len(bands) for present in found["bands_present"].tolist()]
    )

"""Outliers: objects whose embeddings are far from those of most objects of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from catalogs.ranking import OUTLIER_METHODS
from catalogs.search import full_pass, random_sample
from catalogs.search.hits import Hits
from catalogs.search.random_sample import Sample
from catalogs.search.tile_pass import Executor
from catalogs.store import tile_reader
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.rows import primary
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table


SAMPLE = 20_000
NEIGHBOUR = 10
"""Rank of the neighbour whose distance is the score."""
ITSELF = 1 - 1e-6
"""Cosine above which an object of the sample is the object itself."""
RIDGE = 0.01
"""Share of the mean variance that is added to that of every direction, since some directions have none."""
BROKEN = 2 | 16 | 64
"""Flags of SEP: object or aperture truncated by the edge, aperture without a valid pixel."""
WHOLE = 0.98
"""Share of the pixels of the present bands below which a cutout has a hole or an edge."""
_PRODUCTS = 4_000_000
"""Products held in memory at a time in each thread."""


@dataclass(frozen=True)
class Mahalanobis:
    """Distance from the mean [D] in units of the scatter in that direction, over the root of D: typically 1.

    ``axes`` [D, D] rotate and scale a vector so that the scatter is 1 in all directions.
    """

    mean: Vectors
    axes: Vectors

    def __call__(self, embedding: Vectors, length: NDArray[np.float32]) -> NDArray[np.float32]:
        distances = np.empty(len(embedding), np.float32)
        for part in _parts(len(embedding), len(self.mean)):
            away = (embedding[part] / length[part, None] - self.mean) @ self.axes
            distances[part] = np.sqrt(np.einsum("nd,nd->n", away, away) / away.shape[1])
        return distances


@dataclass(frozen=True)
class Knn:
    """Distance (of unit vectors: 0 to 2) to the ``neighbour``-th nearest of the sample [M, D] besides itself."""

    sample: Vectors
    neighbour: int

    def __call__(self, embedding: Vectors, length: NDArray[np.float32]) -> NDArray[np.float32]:
        distances = np.empty(len(embedding), np.float32)
        for part in _parts(len(embedding), len(self.sample)):
            products = embedding[part] @ self.sample.T
            # One place alone: with a second one, numpy does without vector instructions, in seven times the time.
            products.partition(len(self.sample) - 1 - self.neighbour, axis=1)
            # The neighbour + 1 largest cosines: the first is the smallest of them, the others are in no order.
            cosines = products[:, -1 - self.neighbour :] / length[part, None]
            nearest, cosine, beyond = cosines.max(axis=1), cosines[:, 1:].min(axis=1), cosines[:, 0]
            # An object of the sample is its own nearest neighbour, so the next one counts.
            distances[part] = np.sqrt(np.maximum(2 - 2 * np.where(nearest > ITSELF, beyond, cosine), 0))
        return distances


@one_core()
def outliers(
    catalogue: Backend,
    *,
    method: str = "mahalanobis",
    k: int = 100,
    where: str | None = None,
    sample: int = SAMPLE,
    neighbour: int = NEIGHBOUR,
    seed: int = 0,
    executor: Executor | None = None,
) -> Table:
    """List the ``k`` most distant primary objects.

    Columns: ``rank``, ``distance``, ``rarer_than``, ``suspect``, then those of the catalogue. All objects that pass
    ``where`` are compared with a seeded ``sample`` of them in one pass, which ``executor`` runs. ``distance`` is that
    of ``Mahalanobis`` or, by ``knn``, to the ``neighbour``-th nearest of the sample. ``rarer_than`` is the share of
    the sample with a smaller distance. ``suspect`` flags objects whose cutout has a hole or an edge, or that detection
    flagged as truncated.

    Raises:
        ScannerError: ``outliers.bad_method``, ``outliers.few_objects``, ``query.bad_k``, ``where.*``,
            ``catalogue.changing``.
    """
    if method not in OUTLIER_METHODS:
        hint = f"Give one of {', '.join(OUTLIER_METHODS)}."
        raise ScannerError(ErrorCode.OUTLIERS_BAD_METHOD, f"There is no method {method!r}.", hint)
    if k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{k} outliers cannot be listed.", "Ask for one or more.")
    selection = primary(catalogue, where)
    snapshot = catalogue.snapshot()
    # Distances of the sample, ascending, tell how rare a distance is.
    ordinary = random_sample.draw(snapshot, selection, sample, seed)
    distance = fit_distance(method, ordinary, neighbour)
    usual = np.sort(distance(ordinary.vectors, np.ones(len(ordinary), np.float32)))

    def answer(current: Snapshot) -> Table:
        # More than k, since copies of an object in overlapping tiles count once.
        count = 4 * k + 64
        while True:
            best = full_pass.best(current, selection, full_pass.BlockScores(distance), count, executor=executor)
            hits = best.unique()
            if len(hits) >= k or len(best) < count:
                return _table(current, hits[:k], usual)
            # Copies left fewer than k: look further down.
            count *= 8

    return full_pass.steady(snapshot, selection, answer)


def _parts(rows: int, width: int) -> Iterator[slice]:
    """Divide rows into parts whose products of this width fit in memory."""
    step = max(_PRODUCTS // width, 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def fit_distance(method: str, sample: Sample, neighbour: int) -> Mahalanobis | Knn:
    """Fit a distance to a sample of the catalogue.

    Raises:
        ScannerError: ``outliers.few_objects``.
    """
    dim = sample.vectors.shape[1]
    if len(sample) <= max(neighbour, 2):
        message = f"{len(sample)} objects are too few for a sample."
        hint = "Loosen --where, give a larger --sample or a smaller --neighbour, or scan more tiles."
        raise ScannerError(ErrorCode.OUTLIERS_FEW_OBJECTS, message, hint)
    if method == "knn":
        return Knn(sample.vectors, neighbour)
    mean = sample.vectors.mean(axis=0, dtype=np.float64)
    centred = sample.vectors - mean
    # Eigenvectors of the covariance [D, D]: the scatter along them is uncorrelated.
    variance, directions = np.linalg.eigh(centred.T @ centred / len(sample))
    scale = np.sqrt(np.maximum(variance, 0) + RIDGE * max(variance.sum(), 1e-12) / dim)
    return Mahalanobis(mean.astype(np.float32), (directions / scale).astype(np.float32))


def _table(snapshot: Snapshot, hits: Hits, usual: NDArray[np.float32]) -> Table:
    """Tabulate hits; ``usual`` [M] are the distances of the sample, ascending."""
    names = tile_reader.check_columns(None, snapshot.catalogue.schema)
    table = tile_reader.to_astropy(full_pass.rows_of(snapshot, hits, names))
    rarer = np.searchsorted(usual, hits.score) / len(usual)
    # The share of the model's bands that an object has is the most that its valid_fraction can be.
    info = snapshot.catalogue.info
    bands = info.contract.get("bands", info.bands)
    share = [sum(band in present for band in bands) / len(bands) for present in table["bands_present"].tolist()]
    suspect = (table["valid_fraction"] < WHOLE * np.array(share)) | (table["flags"] & BROKEN != 0)
    columns = {
        "rank": (np.arange(1, len(hits) + 1), "Place in the order of distance, from 1"),
        "distance": (hits.score, "How far out: see the method"),
        "rarer_than": (rarer, "Share of the sample that is nearer in"),
        "suspect": (np.asarray(suspect, bool), "A hole or an edge in the window, or flagged as truncated"),
    }
    for index, (name, (values, description)) in enumerate(columns.items()):
        table.add_column(values, name=name, index=index)
        table[name].description = description
    return table

"""Projections of embeddings to the plane: PCA, t-SNE (openTSNE), UMAP (umap-learn), fitted to a sample.

t-SNE and UMAP have no formula for a new object: it is placed at the weighted mean of the most similar fitted objects.
The transforms of the libraries are not used. UMAP's depends on the other objects of the batch, and their state can only
be stored by pickling. Here the place of an object depends on the fitted sample alone, on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from catalogs.store.vectors import Vectors

PRINCIPAL = 50
"""Leading principal components that t-SNE and UMAP take, the usual choice; distances are computed in them."""
NEAREST = 10
PERPLEXITY, NEIGHBOURS, MIN_DISTANCE = 30.0, 15, 0.1
"""The defaults of the libraries."""
_BLOCK = 2048
_LIBRARIES = {"tsne": "openTSNE", "umap": "umap"}

Places = NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """Principal components of a sample: its mean [D] and the leading directions [D, C], each with a fixed sign."""

    mean: Vectors
    directions: Vectors

    def __call__(self, vectors: Vectors) -> Vectors:
        """Compute the coordinates [N, C] of unit vectors [N, D]."""
        return np.asarray((vectors - self.mean) @ self.directions, np.float32)


def find_components(sample: Vectors, count: int = PRINCIPAL) -> Components:
    """Find the principal components of unit vectors [M, D]: at most ``count``, M and D."""
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    leading = directions[:, ::-1][:, : min(count, len(sample))]
    # Eigenvectors have no sign of their own: the largest entry of each is made positive.
    sign = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    return Components(mean.astype(np.float32), (leading * sign).astype(np.float32))


def fit(sample: Vectors, method: str, seed: int) -> Places:
    """Find the places [M, 2] of a sample of unit vectors [M, D]; the same sample and seed give the same places.

    Raises:
        ScannerError: ``map.too_few`` (fewer than 10 objects), ``map.not_installed``.
    """
    if len(sample) < NEAREST:
        hint = "Scan more tiles, or loosen --where."
        raise ScannerError(ErrorCode.MAP_TOO_FEW, f"{len(sample)} objects are too few for a map.", hint)
    # Before the block, since it loads a BLAS of its own.
    library = _import(_LIBRARIES[method]) if method in _LIBRARIES else None
    with one_core():
        leading = find_components(sample)(sample)
        if library is None:
            return np.ascontiguousarray(leading[:, :2])
        return np.asarray({"tsne": _tsne, "umap": _umap}[method](library, leading, seed), np.float32)


class Placer:
    """Places objects among the fitted ``sample`` [M, D] at ``places`` [M, 2]."""

    def __init__(self, sample: Vectors, places: Places, method: str) -> None:
        self._places, self._method = places, method
        with one_core():
            self._components = find_components(sample)
            self._sample = self._components(sample)
        self._squares = np.einsum("mc,mc->m", self._sample, self._sample)

    def __call__(self, vectors: Vectors) -> Places:
        """Find the places [N, 2] of unit vectors [N, D]; a block of 2048 is compared with the sample at a time."""
        leading = self._components(vectors)
        if self._method == "pca":
            return np.ascontiguousarray(leading[:, :2])
        blocks = [self._place(leading[start : start + _BLOCK]) for start in range(0, len(leading), _BLOCK)]
        return np.concatenate([np.zeros((0, 2), np.float32), *blocks])

    def _place(self, leading: Vectors) -> Places:
        """Average the places of the nearest fitted objects, weighted by a Gaussian of the distance of the farthest."""
        # Squared distances [N, M].
        squares = np.einsum("nc,nc->n", leading, leading)[:, None] + self._squares - 2 * leading @ self._sample.T
        nearest = np.argpartition(squares, NEAREST - 1, axis=1)[:, :NEAREST]
        away = np.maximum(np.take_along_axis(squares, nearest, axis=1), 0)
        # The farthest of the nearest has weight exp(-4). Duplicates of one object are all at distance zero.
        width = np.maximum(away.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        weights = np.exp(-4 * away / width)
        placed: Places = np.einsum("nk,nkc->nc", weights, self._places[nearest]) / weights.sum(axis=1, keepdims=True)
        return placed.astype(np.float32)


def _tsne(library: Any, leading: Vectors, seed: int) -> Any:
    # openTSNE needs three objects for each unit of perplexity. One thread, so that the result is reproducible.
    perplexity = min(PERPLEXITY, (len(leading) - 1) / 3)
    return library.TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1).fit(leading)


def _umap(library: Any, leading: Vectors, seed: int) -> Any:
    neighbours = min(NEIGHBOURS, len(leading) - 1)
    fitted = library.UMAP(n_neighbors=neighbours, min_dist=MIN_DISTANCE, init="pca", random_state=seed, n_jobs=1)
    return fitted.fit_transform(leading)


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = "pip install 'unions-scanner[maps]'"
        raise ScannerError(ErrorCode.MAP_NOT_INSTALLED, f"{name} is not installed.", hint) from error

"""Embeddings to search in: from a stated generator, or real ones repeated with noise. Unit vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

ROWS_A_CLUSTER = 333
LOCAL = 24
"""Dimensions of the subspace in which a cluster extends."""
SUBSPACES = 64
SPREAD, NOISE = 0.3, 0.05
"""Lengths of the scatter inside a cluster's subspace, and of that in all dimensions; cluster centres have length 1."""
DECAY = 0.25
"""Variance of dimension j of the centres falls as (j + 1) ** -2 DECAY: leading dimensions matter more."""
AXES_FROM = 20_000
"""Vectors from which the principal axes are found: as the exported encoder does, all are turned to them."""
NEAR = 8
"""Neighbours between which real embeddings are varied."""


class Source(Protocol):
    """Where embeddings come from: ``rows`` of ``dim`` numbers, and queries from the same population."""

    @property
    def dim(self) -> int: ...

    @property
    def rows(self) -> int: ...

    def draw(self, count: int, stream: int = 0) -> Vectors:
        """``count`` unit vectors [N, D]; another ``stream`` gives others."""

    def stated(self) -> dict[str, Any]:
        """The generator's numbers, as JSON values."""


@dataclass(frozen=True)
class Cloud:
    """Clusters that are flat inside. ``mean`` is the length of a vector added to all before they are brought to length
    1: 0 is centred."""

    dim: int
    rows: int
    mean: float = 0.0
    seed: int = 1

    def draw(self, count: int, stream: int = 0) -> Vectors:
        """``count`` unit vectors [N, D]; another ``stream`` draws others from the same clusters."""
        return self._draw_raw(count, stream) @ _axes(self)

    def _draw_raw(self, count: int, stream: int) -> Vectors:
        centres, bases, common = _fixed(self)
        rng = np.random.default_rng([self.seed, 1 + stream])
        which = np.sort(rng.integers(len(centres), size=count))
        rows = centres[which] + common
        # The root of D makes NOISE the typical length of the whole vector.
        rows += rng.standard_normal(rows.shape, np.float32) * np.float32(NOISE / np.sqrt(self.dim))
        along = rng.standard_normal((count, bases.shape[2]), np.float32) * np.float32(SPREAD / np.sqrt(bases.shape[2]))
        for subspace in range(SUBSPACES):
            here = which % SUBSPACES == subspace
            # One product [n, L] by [L, D] serves all rows of a subspace.
            rows[here] += along[here] @ bases[subspace].T
        return _unit(rows)[rng.permutation(count)]

    def stated(self) -> dict[str, Any]:
        """The generator's numbers, as JSON values."""
        return {
            "embeddings": "clusters",
            "clusters": len(_fixed(self)[0]),
            "local_dimensions": min(LOCAL, self.dim // 2),
            "spread": SPREAD,
            "noise": NOISE,
            "decay": DECAY,
            "mean": self.mean,
            "seed": self.seed,
        }


class Repeated:
    """Real embeddings ``base`` [M, D], each repeated with noise of the shape that the data have around it.

    A row is one of ``base``, moved part of the way to one of its 8 nearest, plus half of a difference (times a normal
    number) between two others that are as near.
    """

    def __init__(self, base: Vectors, rows: int, seed: int = 1) -> None:
        self._base, self._rows, self._seed = _unit(base), rows, seed
        # One more is taken below, since each vector is among its own nearest. Blocks bound the memory for the products.
        near = min(NEAR, len(base) - 1)
        parts = [
            np.argpartition(-(block @ self._base.T), near, axis=1)[:, : near + 1]
            for block in np.array_split(self._base, max(len(base) // 1000, 1))
        ]
        self._near = np.concatenate(parts)

    @property
    def dim(self) -> int:
        return int(self._base.shape[1])

    @property
    def rows(self) -> int:
        return self._rows

    def draw(self, count: int, stream: int = 0) -> Vectors:
        """``count`` unit vectors [N, D]; another ``stream`` varies others."""
        rng = np.random.default_rng([self._seed, 1 + stream])
        one, third = rng.integers(len(self._base), size=(2, count))
        towards, beside = (self._near[i, rng.integers(self._near.shape[1], size=count)] for i in (one, third))
        share, width = rng.random((count, 1), np.float32), 0.5 * rng.standard_normal((count, 1), np.float32)
        moved = self._base[one] + share * (self._base[towards] - self._base[one])
        return _unit(moved + width * (self._base[beside] - self._base[third]))

    def stated(self) -> dict[str, Any]:
        """The generator's numbers, as JSON values."""
        return {"embeddings": "real, repeated", "from": len(self._base), "nearest": NEAR, "seed": self._seed}


@lru_cache
def _fixed(cloud: Cloud) -> tuple[Vectors, Vectors, Vectors]:
    """Centres of the clusters, bases of their subspaces, and the common mean."""
    fixed = np.random.default_rng([cloud.seed, cloud.dim])
    clusters = max(cloud.rows // ROWS_A_CLUSTER, 4)
    scale = (np.arange(cloud.dim) + 1.0) ** -DECAY
    centres = _unit(fixed.normal(size=(clusters, cloud.dim)) * scale)
    # Orthonormal bases [subspaces, D, L].
    bases = np.linalg.qr(fixed.normal(size=(SUBSPACES, cloud.dim, min(LOCAL, cloud.dim // 2))))[0].astype(np.float32)
    return centres, bases, (_unit(fixed.normal(size=(1, cloud.dim))) * np.float32(cloud.mean)).astype(np.float32)


@lru_cache
def _axes(cloud: Cloud) -> Vectors:
    # No benchmark draws rows or queries from this stream.
    some = cloud._draw_raw(max(AXES_FROM, 2 * cloud.dim), stream=99)
    return np.asarray(np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2].T, np.float32)


def _unit(vectors: NDArray[Any]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

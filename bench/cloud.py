"""Embeddings from a stated generator: clusters that are flat inside, unit vectors, with or without a common mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Cloud:
    """``mean`` is the length of a vector added to all before they are brought to length 1: 0 is centred."""

    dim: int
    rows: int
    mean: float = 0.0
    seed: int = 1

    def draw(self, count: int, stream: int = 0) -> Vectors:
        """``count`` unit vectors [N, D]; another ``stream`` draws others from the same clusters."""
        fixed = np.random.default_rng([self.seed, self.dim])
        clusters = max(self.rows // ROWS_A_CLUSTER, 4)
        local = min(LOCAL, self.dim // 2)
        scale = (np.arange(self.dim) + 1.0) ** -DECAY
        centres = _unit(fixed.normal(size=(clusters, self.dim)) * scale)
        bases = np.linalg.qr(fixed.normal(size=(SUBSPACES, self.dim, local)))[0].astype(np.float32)
        common = _unit(fixed.normal(size=(1, self.dim))) * self.mean
        rng = np.random.default_rng([self.seed, 1 + stream])
        which = np.sort(rng.integers(clusters, size=count))
        found = centres[which] + common.astype(np.float32)
        found += rng.standard_normal(found.shape, np.float32) * np.float32(NOISE / np.sqrt(self.dim))
        along = rng.standard_normal((count, local), np.float32) * np.float32(SPREAD / np.sqrt(local))
        for subspace in range(SUBSPACES):
            here = which % SUBSPACES == subspace
            found[here] += along[here] @ bases[subspace].T
        return _unit(found)[rng.permutation(count)]

    def stated(self) -> dict[str, Any]:
        """The generator's numbers, as JSON values."""
        return {
            "clusters": max(self.rows // ROWS_A_CLUSTER, 4),
            "local_dimensions": min(LOCAL, self.dim // 2),
            "spread": SPREAD,
            "noise": NOISE,
            "decay": DECAY,
            "mean": self.mean,
            "seed": self.seed,
        }


def _unit(vectors: NDArray[Any]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

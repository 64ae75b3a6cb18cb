"""Rows of made-up tiles, and the run that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from catalogs.catalogue import Catalogue
from catalogs.store.provenance import Run

DIM = 16
RUN = Run("unions", ("u", "g", "r"), "small", "a" * 64, {"embedding_dim": DIM, "window": 64}, {"min_snr": 5.0})
SCORES = {"names": ["lens"], "prevalence": 0.01, "population": "made-up objects"}
SCORED_RUN = replace(RUN, contract={**RUN.contract, "scores": SCORES})
"""A run of a model that gives a lens score: rows need the column ``score_lens``."""
Rows = dict[str, np.ndarray]


def make(number: int, ra: Any, dec: Any, embedding: np.ndarray | None = None, **columns: Any) -> Rows:
    """Rows of tile ``number``; columns that are not given have some plausible value."""
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    count = len(ra)
    rng = np.random.default_rng(number)
    if embedding is None:
        embedding = rng.normal(size=(count, DIM))
    embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    floats = ["x", "y", "flux_auto", "mag_auto", "a", "b", "theta", "flux_radius", "snr", "valid_fraction"]
    floats += [f"{kind}_{band}" for band in "ugr" for kind in ("flux", "fluxerr", "mag")]
    rows: Rows = {name: rng.uniform(1, 30, count).astype(np.float32) for name in floats}
    rows |= {
        "object_id": number * 1_000_000 + np.arange(count),
        "ra": ra,
        "dec": dec,
        "flags": rng.integers(0, 8, count),
        "detection_band": np.full(count, "r"),
        "bands_present": np.full(count, "ugr"),
        "is_primary": np.ones(count, bool),
        "embedding": embedding.astype(np.float32),
    }
    return rows | {name: np.asarray(value) for name, value in columns.items()}


def write(catalogue: Catalogue, tile: str, rows: Mapping[str, np.ndarray], by: Run = RUN) -> None:
    """Write one tile in one batch."""
    with catalogue.writer(tile, by) as writer:
        writer.write(rows)

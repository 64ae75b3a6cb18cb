"""Recall of an index of trees, which needs a few dominant directions, while whitening levels them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from catalogs.estimate import measure_recall
from catalogs.index import half_vectors
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from training.evaluate.models import Vectors

DIMS, CANDIDATES, NEAREST = 64, 500, 10
EFFORT = 1000
"""Annoy's ``search_k``: a fifth of the default, which is meant for many more rows."""
ASKED, SEED = 300, 1


def recall(vectors: Vectors) -> float:
    """Measure recall@10 of the catalogue's index: trees over the leading dimensions, candidates ranked by all of them.

    ``ASKED`` of the unit vectors [N, D] ask for their nearest among the others.
    """
    order = np.random.default_rng(SEED).permutation(len(vectors))
    queries, stored = vectors[order[:ASKED]], vectors[order[ASKED:]]
    engine = find_engine("annoy")
    settings = IndexSettings("annoy", min(DIMS, vectors.shape[1]), engine.TREES[0], SEED, EFFORT, CANDIDATES)
    with TemporaryDirectory(prefix="trees_") as folder:
        path = Path(folder) / "rows"
        path.write_bytes(half_vectors.pack(stored).tobytes())
        rows, trees = HalfVectors(path, vectors.shape[1]), Path(folder) / "trees"
        engine.build(trees, rows, settings, on_disk=False)
        loaded, recalls = engine.load(trees, settings), []
        for query, truth in zip(queries, np.argsort(-(queries @ stored.T), axis=1)[:, :NEAREST], strict=True):
            numbers = engine.nearest(loaded, query[: settings.dims], settings.candidates, settings.effort)
            # A search does the same: it ranks the candidates of the trees again by all dimensions.
            best = numbers[np.argsort(-rows.cosines(numbers, query))[:NEAREST]]
            recalls.append(measure_recall(truth, best))
    return float(np.mean(recalls))

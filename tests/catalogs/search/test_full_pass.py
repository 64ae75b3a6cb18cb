"""One pass over all vectors finds what brute force finds, whether a filter leaves most rows of a row group or few."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.search import full_pass
from catalogs.store import rows


@pytest.mark.parametrize("least", [-1.0, 2.0, 15.0, 29.5, 31.0])
def test_the_best_of_a_pass_are_those_of_brute_force(catalogue, make_rows, write_tile, least):
    rng = np.random.default_rng(5)
    for number in range(3):
        embedding = rng.normal(size=(400, 16)) * rng.uniform(0.5, 2, (400, 1))
        made = make_rows(number, rng.uniform(0, 1, 400), rng.uniform(30, 31, 400), embedding)
        made["embedding"] = made["embedding"] * rng.uniform(0.5, 2, (400, 1)).astype(np.float32)
        made["embedding"][::7], made["embedding"][::11] = np.nan, 0
        write_tile(catalogue, f"{number}.1", made)
    direction = rng.normal(size=16).astype(np.float32)
    selection = rows.selection(catalogue, f"snr > {least}", None)
    blocks: list[np.ndarray] = []

    def score(vectors, length):
        blocks.append(vectors)
        return vectors @ direction / length

    with np.errstate(all="raise"):  # what has no direction is no division by zero
        hits = full_pass.best(catalogue.snapshot(), selection, lambda block: block.scored(score), 20)
    table = catalogue.table(["object_id", "snr", "embedding"])
    vectors = np.asarray(table["embedding"], np.float64)
    length = np.linalg.norm(vectors, axis=1)
    able = np.isfinite(length) & (length > 0) & (table["snr"] > least)
    cosine = np.where(able, vectors @ direction / np.where(able, length, 1), -np.inf)
    expected = np.argsort(-cosine)[: min(20, able.sum())]
    assert hits.object_id.tolist() == table["object_id"][expected].tolist()
    np.testing.assert_allclose(hits.score, cosine[expected], rtol=1e-5)
    if least == 29.5:
        assert sum(len(vectors) for vectors in blocks) == able.sum()  # where few are left, only those are scored

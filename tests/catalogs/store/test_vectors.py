"""Dot products with few directions are those of many, and of double precision."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.store import vectors


@pytest.mark.parametrize("directions", [1, 4, 5, 30])
def test_products_are_those_of_double_precision(directions):
    rng = np.random.default_rng(1)
    rows, asked = (vectors.unit(rng.normal(size=(count, 192)).astype(np.float32)) for count in (500, directions))
    found = vectors.products(rows, asked)
    assert (found.shape, found.dtype) == ((500, directions), np.float32)
    np.testing.assert_allclose(found, rows.astype(float) @ asked.T.astype(float), atol=2e-7)
    np.testing.assert_allclose(vectors.along(rows, asked[0]), found[:, 0], atol=2e-7)


def test_no_rows_and_no_directions_are_no_special_case():
    rows = np.ones((3, 4), np.float32)
    assert vectors.products(rows[:0], rows).shape == (0, 3)
    assert vectors.products(rows, rows[:0]).shape == (3, 0)

"""Intervals of estimates against formulas and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.estimate import Share


def test_wilson_intervals_are_those_of_the_formula() -> None:
    z = 1.959963984540054
    for found, total in ((3, 10), (0, 10), (10, 10), (57, 60)):
        p = found / total
        middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z / (1 + z**2 / total) * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
        share = Share.of(found, total)
        assert (share.value, share.low, share.high) == pytest.approx((p, middle - half, middle + half), abs=1e-12)
    assert Share.of(3, 10).low == pytest.approx(0.1078, abs=1e-4)  # the value of tables
    assert np.isnan(Share.of(0, 0).value)

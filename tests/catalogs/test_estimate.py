"""Intervals of estimates against formulas and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.estimate import Share, average, difference, estimate_paired_mean, estimate_paired_share


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


def test_shares_of_few_objects_keep_the_width_that_a_bootstrap_has_not() -> None:
    """Of 4 objects without one hit the interval reaches to z^2 / (n + z^2) = 0.49, of one object to 0.79."""
    for count, high in ((1, 0.793), (4, 0.490), (19, 0.168)):
        none, every = estimate_paired_share(np.zeros(count, bool)), estimate_paired_share(np.ones(count, bool))
        assert (none.value, none.low, none.high) == pytest.approx((0, 0, high), abs=5e-4)
        assert (every.value, every.low, every.high) == pytest.approx((1, 1 - high, 1), abs=5e-4)
        assert none.counts == every.counts == (count,)
    with pytest.raises(ValueError, match="1 or 0"):
        estimate_paired_share(np.array([0, 0.5]))


def test_shares_are_compared_draw_by_draw() -> None:
    """Two shares of the same 40 objects, whose intervals overlap: one has what the other has and eight objects more."""
    one, other = estimate_paired_share(np.arange(40) < 28), estimate_paired_share(np.arange(40) < 20)
    assert one.low < other.high
    apart, by_means = difference(one, other), [estimate_paired_mean(1.0 * (np.arange(40) < n)) for n in (28, 20)]
    assert (apart.value, apart.low) == (difference(*by_means).value, difference(*by_means).low)
    assert 0 < apart.low < apart.value == pytest.approx(0.2)


def test_a_share_over_several_networks_is_of_no_more_objects() -> None:
    all_right, mean = estimate_paired_share(np.ones(10)), average([estimate_paired_share(np.ones(10))] * 3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((1, all_right.low, all_right.high))
    assert mean.spread == 0
    assert mean.counts == (10,)

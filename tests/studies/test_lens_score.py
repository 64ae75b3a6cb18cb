"""The table of thresholds of the lens score."""

from __future__ import annotations

import numpy as np

from catalogs.estimate import Share
from studies.lens_score import purity, tabulate


def test_what_was_trained_on_has_no_part_in_the_purity() -> None:
    """Of ten lenses five score above 4.5; one of four other galaxies does, and none of six that were trained on."""
    scores = np.array([*range(10), 9, 0, 0, 0, *[0] * 6], float)
    is_lens, trained = np.arange(20) < 10, np.arange(20) >= 14
    head, _, *rows = tabulate(scores, is_lens, trained).splitlines()
    assert head.endswith("| galaxies trained on |")
    cells = next(row for row in rows if row.startswith("| 4.50 |")).split(" | ")
    assert cells[1].startswith("50.0% ")
    assert cells[2].startswith("25.0% ")
    assert cells[-1].startswith("0.0% [0.0%, 39.0%]")
    pure = 0.01 * 0.5 / (0.01 * 0.5 + 0.99 * 0.25)
    assert cells[3].startswith(f"{pure:.2g} [")


def test_a_purity_without_a_false_positive_is_a_lower_limit() -> None:
    """None of 411 others: the upper end of Wilson's interval of their share is z^2 / (n + z^2)."""
    other = 1.959964**2 / (411 + 1.959964**2)
    least = 0.001 * 0.1 / (0.001 * 0.1 + 0.999 * other)
    assert purity(0.1, Share.of(0, 411), 0.001) == f"> {least:.2g}" == "> 0.011"
    assert purity(0.1, Share.of(1, 411), 0.001).endswith("]")

"""The table of thresholds of the lens score."""

from __future__ import annotations

import numpy as np

from studies.lens_score import tabulate


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

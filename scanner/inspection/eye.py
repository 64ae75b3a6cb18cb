"""Completeness of the eye: the share of the fakes that the team grades as lenses, by what their arcs are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.completeness.injected import Injected, Search
from catalogs.completeness.measure import BINS, Bin, in_bins
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Share
from scanner.inspection.consensus import Consensus

PREFIX = "truth_"
"""Beginning of the columns of a list of fakes that tell what was painted."""
THETA, SEEING, RATIO = "theta_e", "seeing", "theta_e_seeing"
SHOWN = (RATIO, THETA, "snr", "host_mag_r", "host_mag", "source_mag_r", "source_mag", SEEING)
"""Properties in whose bins the completeness is measured, where the list has them."""
EACH = 10
"""Lenses of a bin: with fewer its interval says little."""

Floats = NDArray[np.float64]


def measure_eye(consensus: Consensus, bins: int | None = None) -> tuple[Share, dict[str, list[Bin]]]:
    """Measure which share of the graded lenses of known truth is found, in all and in bins of their properties.

    One is found if its mean grade is one that the scheme keeps. Bins hold about as many lenses each: ``EACH`` or
    more by default, in up to ``BINS``.

    Raises:
        ScannerError: ``inspect.no_truth``.
    """
    plan = consensus.plan
    chosen = np.flatnonzero(plan.is_lens & (consensus.count > 0))
    if not len(chosen):
        message = "No lens of known truth was graded yet."
        hint = "Add fakes to the stream with: scanner inspect fakes PROJECT --list TRUTH"
        raise ScannerError(ErrorCode.INSPECT_NO_TRUTH, message, hint)
    found = np.array([consensus.scheme.mark(consensus.grade_of_mean(index)) == "kept" for index in chosen.tolist()])
    measured: dict[str, list[Bin]] = {}
    for name, values in _properties(consensus, chosen).items():
        lenses = Injected(np.full(len(chosen), ""), plan.ra[chosen], plan.dec[chosen], {name: values})
        # A score of 1 is that of a found lens; the rest of a search plays no part in bins.
        search = Search(lenses, np.ones(len(chosen), bool), found.astype(float), np.zeros(0), 0, 0, np.nan, 0, 0)
        # Known lenses may lack what is known of painted ones.
        count = int(np.isfinite(values).sum())
        measured |= in_bins(search, 1.0, bins or min(max(count // EACH, 1), BINS))
    return Share.of(int(found.sum()), len(found)), {name: measured[name] for name in SHOWN if name in measured}


def _properties(consensus: Consensus, chosen: NDArray[np.int64]) -> dict[str, Floats]:
    """Read the properties of objects [P] from the lists that tell their truth, NaN where one does not have them."""
    values = {name: np.full(len(chosen), np.nan) for name in SHOWN}
    for at, index in enumerate(chosen.tolist()):
        round_, number = consensus.plan.told(index)
        for name in SHOWN:
            if f"{PREFIX}{name}" in round_.objects.column_names:
                values[name][at] = round_.objects.column(f"{PREFIX}{name}")[number].as_py()
    values[RATIO] = values[THETA] / values[SEEING]
    return values

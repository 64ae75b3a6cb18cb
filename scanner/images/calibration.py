"""Calibration: counts of an image become fluxes in nanojansky, NaN where there is no data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.survey.survey import nanojansky_per_count

HUGE = 1e30
"""nJy. Larger values are not fluxes: some programs fill gaps with the most negative float."""


def calibrate(
    counts: NDArray[Any], zero_point: float, zero_is_missing: bool, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Flux in nJy of counts with an AB ``zero_point``.

    ``counts`` has any shape and number type; the result has its shape, float32, in ``out`` where that is given. It is
    NaN where counts are not finite or out of range, and with ``zero_is_missing`` also where they are exactly 0.
    """
    flux = np.empty(np.shape(counts), np.float32) if out is None else out
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(counts, nanojansky_per_count(zero_point), out=flux, casting="unsafe")
        # Comparisons with NaN are false, so NaN is not valid either.
        valid = np.abs(flux) < HUGE
    if zero_is_missing:
        valid &= flux != 0
    np.copyto(flux, np.nan, where=~valid)
    return flux

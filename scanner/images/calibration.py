"""Calibration: counts of an image become fluxes in nanojansky, NaN where there is no data.

``flux_units`` decides which zero point the counts have, by the cards of the header.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey.survey import nanojansky_per_count

_scale: Callable[..., None] | None
try:
    from scanner.images._decoders import scale as _scale
except ImportError:  # installed without a compiler, or compiled from an earlier version
    _scale = None

HUGE = 1e30
"""nJy. Larger values are not fluxes: some programs fill gaps with the most negative float."""

_POGSON = 2.5 * math.log10(math.e)
_MOST = _POGSON * math.log(HUGE)
"""The largest value of an asinh image: that of a flux of ``HUGE``."""

_CLOSE = 1e-6
"""Counts as a share of softening and offset that are 0: the rounding of a float32 that holds their asinh."""


@dataclass(frozen=True)
class Asinh:
    """Counts that an image of a file holds as asinh: counts = offset + 2 softening sinh(value / (2.5 log10 e)).

    Source: Waters et al. 2020, ApJS 251, 4 (stacks of Pan-STARRS).
    """

    softening: float
    offset: float
    path: Path

    def expand(self, values: NDArray[Any], zero_is_missing: bool) -> NDArray[np.float32]:
        """Linear counts of the values [H, W]; exactly 0 for a gap, with ``zero_is_missing``.

        Raises:
            ScannerError: ``tile.unknown_unit`` for values that no asinh image has.
        """
        out = np.empty(values.shape, np.float32)
        # In double precision row by row, without a copy of the image that is twice as large.
        for row, counts in zip(values, out, strict=True):
            size = np.abs(row, dtype=np.float64)
            # Larger ones are fillers, and are infinite counts.
            if (large := size[(size > _MOST) & (size < HUGE)]).size:
                raise ScannerError(
                    ErrorCode.TILE_UNKNOWN_UNIT,
                    f"{self.path}: BSOFTEN and BOFFSET say that its pixels are asinh, but one is {large[0]:g}.",
                    "Remove the cards if the pixels are linear counts.",
                )
            with np.errstate(over="ignore", invalid="ignore"):
                counts[:] = self.offset + 2 * self.softening * np.sinh(np.divide(row, _POGSON, dtype=np.float64))
            if zero_is_missing:
                # Gaps may have been filled before or after the counts became asinh.
                counts[(size == 0) | (np.abs(counts) <= _CLOSE * (self.softening + abs(self.offset)))] = 0
        return out


def calibrate(
    counts: NDArray[Any], zero_point: float, zero_is_missing: bool, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Flux in nJy of counts with an AB ``zero_point``.

    ``counts`` has any shape and number type; the result has its shape, float32, in ``out`` where that is given. It is
    NaN where counts are not finite or out of range, and with ``zero_is_missing`` also where they are exactly 0.
    """
    flux = np.empty(np.shape(counts), np.float32) if out is None else out
    return scale(counts, nanojansky_per_count(zero_point), (-HUGE, HUGE), zero_is_missing, flux)


def scale(
    values: NDArray[Any],
    factor: float,
    limits: tuple[float, float],
    zero_is_missing: bool,
    out: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Fill ``out`` with values times a factor, in single precision; NaN where they do not lie between the ``limits``.

    ``zero_is_missing``: 0 becomes NaN too. Values have the shape of ``out``, and any number type and byte order.
    """
    plain = values.flags.c_contiguous and out.flags.c_contiguous and values.shape == out.shape
    if _scale is not None and plain and values.dtype.kind == "f" and values.dtype.itemsize == out.dtype.itemsize == 4:
        # What follows, in one pass. numpy's passes take four times as long.
        _scale(values.data, not values.dtype.isnative, factor, *limits, zero_is_missing, out.data)
        return out
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(values, factor, out=out, casting="unsafe")
        # Comparisons with NaN are false, so NaN is not valid either.
        valid = (out > limits[0]) & (out < limits[1])
    if zero_is_missing:
        valid &= out != 0
    np.copyto(out, np.nan, where=~valid)
    return out

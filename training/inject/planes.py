"""Planes of a FITS file with light added: their stored values, in parts or as they are, and all else untouched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from training.inject.light import Light

ROWS = 64
"""Rows of an image that are changed at once."""
_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class Change:
    """What light does to the values of a plane: an image in counts becomes brighter, or a variance in counts^2 larger.

    ``gain`` is in electrons per nJy for a variance, None for an image. ``inverse``: the plane holds 1 / variance. With
    ``zero_is_missing`` a 0 is no data.
    """

    to_nanojansky: float
    gain: float | None = None
    inverse: bool = False
    zero_is_missing: bool = False

    def values(self, old: NDArray[np.float64], light: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the new values [N] for ``light`` [N] in nJy. What has no data stays so."""
        if self.gain is None:
            new = old + light / self.to_nanojansky
        else:
            # Photons of the light add their own variance: their number, in electrons, over the square of the gain.
            more = np.maximum(light, 0) / self.gain / self.to_nanojansky**2
            with np.errstate(divide="ignore", invalid="ignore"):
                new = 1 / (1 / old + more) if self.inverse else old + more
        return np.where(self._has_data(old), new, old)

    def keeps_data(self, old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which stored values still have data where they had it: rounding must not make a gap."""
        return np.asarray(self._has_data(old) & self._has_data(new))

    def _has_data(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self.gain is not None:
            return np.isfinite(values) & (values > 0)
        return np.isfinite(values) & ~(self.zero_is_missing & (values == 0))


@dataclass(frozen=True)
class Adder:
    """Adds light to stored values, each of which is (value - ``zero``) / ``scale``."""

    light: Light
    change: Change
    rng: np.random.Generator
    path: Path

    def add(
        self,
        stored: NDArray[Any],
        light: NDArray[np.float32],
        scale: NDArray[np.float64] | float,
        zero: NDArray[np.float64] | float,
        special: Mapping[int, float] = {},
    ) -> NDArray[Any]:
        """Add ``light`` [h, W] in nJy to stored values [h, W]; where there is none, their bits stay.

        Whole numbers are rounded at random, up or down, so that light fainter than their step is kept on average.
        ``special``: stored numbers that stand for a value of their own.

        Raises:
            ScannerError: ``inject.range`` where a value does not fit into the type of the pixels.
        """
        there = light != 0
        for number, value in special.items():
            # Values that are not finite have no data.
            there &= (stored != number) | math.isfinite(value)
        old_stored = stored[there]
        scale, zero = (np.broadcast_to(one, stored.shape)[there] for one in (scale, zero))
        old = old_stored.astype(np.float64) * scale + zero
        for number, value in special.items():
            old[old_stored == number] = value
        new = (self.change.values(old, light[there].astype(np.float64)) - zero) / scale
        if stored.dtype.kind in "iu":
            new = np.floor(new + self.rng.random(len(new)))
            limits = np.iinfo(stored.dtype)
            if len(new) and not (limits.min <= new.min() and new.max() <= limits.max):
                raise _range_error(self.path, stored.dtype)
        with np.errstate(over="ignore"):
            new = new.astype(stored.dtype)
        keep = self.change.keeps_data(old, new.astype(np.float64) * scale + zero) & ~np.isin(new, list(special))
        result = stored.copy()
        result[there] = np.where(keep, new, old_stored)
        return result


def plain_plane(header: fits.Header, file: Any, start: int, adder: Adder) -> Iterator[bytes]:
    """Yield the data of an image, without its padding, from a file where they lie at ``start``."""
    height, width = header["NAXIS2"], header["NAXIS1"]
    dtype = np.dtype(_TYPES[header["BITPIX"]])
    scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
    special = {int(header["BLANK"]): math.nan} if "BLANK" in header and dtype.kind in "iu" else {}
    for first in range(0, height, ROWS):
        last = min(first + ROWS, height)
        file.seek(start + first * width * dtype.itemsize)
        content = file.read((last - first) * width * dtype.itemsize)
        if (light := adder.light.rows(first, last)) is not None:
            stored = np.frombuffer(content, dtype).reshape(last - first, width)
            content = adder.add(stored, light, scale, zero, special).tobytes()
        yield content


def _range_error(path: Path, dtype: np.dtype[Any]) -> ScannerError:
    message = f"{path}: its pixels are whole numbers of {8 * dtype.itemsize} bits, too few for the light of a lens."
    return ScannerError(ErrorCode.INJECT_RANGE, message, "Store the pixels as floating-point numbers.")

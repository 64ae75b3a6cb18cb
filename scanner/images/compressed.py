"""Planes that are compressed in small parts, decoded many parts at a time.

Images of a survey are compressed row by row, and astropy spends half of its time for a row of 10,000 pixels on
headers. Here the table is read once, and its parts go to the decoders of ``_decoders.c``. Unusual kinds are left to
astropy, and so is every plane of which a part differs from what astropy makes of it.

Source: FITS standard 4.0, section 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.images.fits_guard import RICE, Column, columns, setting
from scanner.images.streams import DamagedError, inflate

_decoders: ModuleType | None
try:
    from scanner.images import _decoders
except ImportError:  # installed without a compiler: astropy decodes everything then
    _decoders = None

SMALL = 2**17
"""Pixels of a part. The time between larger ones does not matter, and astropy decodes them."""

_GZIP = ("GZIP_1", "GZIP_2")
_COLUMNS = {"COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA", "ZSCALE", "ZZERO"}
_DITHERS = {"NO_DITHER": -1, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_TYPES = {16: ">i2", 32: ">i4", -32: ">f4", -64: ">f8"}
_CLOSE = 1e-6
"""Tolerance, as a share of a pixel and of a quantisation step: processors differ in the last bit."""

Cells = Mapping[str, Column]


@dataclass(frozen=True)
class Quantised:
    """How floating-point pixels were quantised: scale and zero of each part [parts], and the dither of all.

    ``seed`` is 1 to 10,000; some programs write 0, which counts as the last.
    """

    scale: NDArray[np.float64]
    zero: NDArray[np.float64]
    method: int
    seed: int
    blank: int | None


@dataclass(frozen=True)
class CompressedPlane:
    """A compressed image [H, W] in an open file: parts of ``step`` [h, w], the last ones smaller."""

    file: Any
    heap: int
    shape: tuple[int, int]
    step: tuple[int, int]
    kind: str
    dtype: np.dtype[Any]
    arrays: NDArray[np.int64]  # [parts, 2]: bytes of each, and its first byte in the heap
    gzipped: NDArray[np.int64]  # the same for parts that could not be quantised, and are empty in ``arrays``
    rice: tuple[int, int]  # pixels a block, bytes a value
    quantised: Quantised | None

    @classmethod
    def of(cls, hdu: Any) -> CompressedPlane | None:
        """The plane of a ``CompImageHDU``, or None where astropy must read it.

        Raises:
            DamagedError: The part in the middle is damaged.
        """
        try:
            plane = cls._read(hdu)
            if plane is None:
                return None
            # The part in the middle of the image is decoded twice, and must come out the same.
            middle = [side // 2 // step * step for side, step in zip(plane.shape, plane.step, strict=True)]
            rows, across = (
                slice(start, min(start + step, side))
                for start, step, side in zip(middle, plane.step, plane.shape, strict=True)
            )
            ours, theirs = plane[rows, across], hdu.section[rows, across]
        except DamagedError:
            raise
        except Exception:  # noqa: BLE001  (astropy's message about a wrong header is the better one)
            return None
        return plane if _are_same(ours, theirs, plane.quantised) else None

    @classmethod
    def _read(cls, hdu: Any) -> CompressedPlane | None:
        table, header = hdu._bintable, hdu._bintable.header
        by_name = {column.name: column for column in columns(table)}
        kind, bits = header["ZCMPTYPE"], int(header["ZBITPIX"])
        shape, step = tuple(map(int, hdu.shape)), tuple(map(int, hdu.tile_shape))
        scaled = hdu.header.get("BSCALE", 1) != 1 or hdu.header.get("BZERO", 0) != 0
        numbers = range(1, len(by_name) + 1)
        scaled |= any(f"{card}{number}" in header for card in ("TSCAL", "TZERO") for number in numbers)
        blank = header.get("ZBLANK", hdu.header.get("BLANK"))
        quantised = "ZSCALE" in by_name
        # What surveys write: Rice's code of integers or of quantised floats, or gzip.
        is_usual = (
            _decoders is not None
            and len(shape) == len(step) == 2
            and math.prod(step) <= SMALL
            and bits in _TYPES
            and not scaled
            and len(by_name) == header["TFIELDS"]
            and _COLUMNS.issuperset(by_name)
            and setting(header, "BYTEPIX", 4) != 1  # astropy makes unsigned numbers of these
            and (kind in RICE if quantised else kind in _GZIP or (kind in RICE and bits > 0))
            and (bits == -32 if quantised else blank is None)
        )
        if not is_usual:
            return None
        place = table.fileinfo()
        heap = int(header.get("THEAP", header["NAXIS1"] * header["NAXIS2"]))
        arrays, name = _places(by_name, "COMPRESSED_DATA"), "GZIP_COMPRESSED_DATA"
        return cls(
            file=place["file"],
            heap=place["datLoc"] + heap,
            shape=(shape[0], shape[1]),
            step=(step[0], step[1]),
            kind=kind,
            dtype=np.dtype(_TYPES[bits]),
            arrays=arrays,
            gzipped=_places(by_name, name) if name in by_name else np.zeros_like(arrays),
            rice=(setting(header, "BLOCKSIZE", 32), setting(header, "BYTEPIX", 4)),
            quantised=_quantisation(header, by_name, blank) if quantised else None,
        )

    def __getitem__(self, region: tuple[slice, slice]) -> NDArray[Any]:
        """Values of a region (rows and columns, each with start and stop), native.

        Raises:
            DamagedError: A part is damaged.
            Exception: Of any kind, where the data are unusual.
        """
        (top, bottom), (left, right) = (
            (part.start // step, -(-part.stop // step)) for part, step in zip(region, self.step, strict=True)
        )
        # Whole parts are decoded, [top, bottom) down and [left, right) across; ``whole`` are their rows and columns.
        across = -(-self.shape[1] // self.step[1])
        whole = [
            slice(first * step, min(last * step, side))
            for first, last, step, side in zip((top, left), (bottom, right), self.step, self.shape, strict=True)
        ]
        out = np.empty([part.stop - part.start for part in whole], self.dtype.newbyteorder("="))
        numbers = np.arange(top, bottom)[:, None] * across + np.arange(left, right)
        content = _Stretch(self, numbers)
        if across == 1:  # rows of the image: one part ends where the next begins
            self._decode(content, numbers[:, 0], out.reshape(-1))
        else:
            for down, line in zip(range(0, out.shape[0], self.step[0]), numbers, strict=True):
                for over, number in zip(range(0, out.shape[1], self.step[1]), line, strict=True):
                    part = out[down : down + self.step[0], over : over + self.step[1]]
                    pixels = np.empty(part.size, out.dtype)
                    self._decode(content, number[None], pixels)
                    part[:] = pixels.reshape(part.shape)
        return out[
            tuple(
                slice(want.start - have.start, want.stop - have.start) for want, have in zip(region, whole, strict=True)
            )
        ]

    def _decode(self, content: _Stretch, numbers: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Fill ``out`` [N] with the pixels of parts that follow each other."""
        size = min(self.step[0] * min(self.step[1], self.shape[1]), len(out))
        arrays, rice = self.arrays[numbers], self.kind in RICE
        if rice:
            self._decode_rice(content, numbers, size, out)
        for place in np.flatnonzero(arrays[:, 0] == 0) if rice else range(len(numbers)):
            pixels = out[place * size : (place + 1) * size]
            if data := content.of(arrays[place]):
                _inflate(data, pixels, shuffled=self.kind == "GZIP_2")
            else:
                _inflate(content.of(self.gzipped[numbers[place]]), pixels, shuffled=False)

    def _decode_rice(self, content: _Stretch, numbers: NDArray[np.int64], size: int, out: NDArray[Any]) -> None:
        """The same for those parts, of ``size`` pixels each, that have an array in Rice's code."""
        assert _decoders is not None
        stream = content.bytes, content.within(self.arrays[numbers]), size, *self.rice
        if (how := self.quantised) is None:
            pixels = out if out.dtype == np.int32 else np.empty(len(out), np.int32)
            damaged = _decoders.rice(*stream, pixels)
            out[:] = pixels
        else:
            scale, zero, row = how.scale[numbers], how.zero[numbers], int(numbers[0]) + how.seed - 1
            damaged = _decoders.rice_quantised(*stream, out, scale, zero, row, how.method, how.blank)
        if damaged is not None:
            raise DamagedError(f"part {numbers[damaged] + 1} of {len(self.arrays)} of a compressed image is damaged")


class _Stretch:
    """The stretch of the heap in which some parts lie, read at once.

    Raises:
        ValueError: Most of the stretch belongs to other parts.
    """

    def __init__(self, plane: CompressedPlane, numbers: NDArray[np.int64]) -> None:
        places = np.concatenate([plane.arrays[numbers.ravel()], plane.gzipped[numbers.ravel()]])
        places = places[places[:, 0] > 0]
        self._start = int(places[:, 1].min(initial=2**62))
        length = int(places.sum(axis=1).max(initial=self._start)) - self._start
        if length > 2 * places[:, 0].sum():
            raise ValueError("its parts lie far from each other")
        plane.file.seek(plane.heap + self._start)
        self.bytes = plane.file.read(length)

    def within(self, arrays: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of bytes of arrays and their first bytes in the stretch, [N, 2]."""
        places: NDArray[np.int64] = arrays - np.array([0, self._start])
        return places

    def of(self, array: NDArray[np.int64]) -> bytes:
        """The bytes of one array."""
        count, start = self.within(array).tolist()
        return bytes(self.bytes[start : start + count]) if count else b""


def _inflate(data: bytes, out: NDArray[Any], shuffled: bool) -> None:
    """Fill ``out`` [N] with the pixels of a part that was compressed by gzip."""
    kind, raw = out.dtype.newbyteorder(">"), inflate(data, out.nbytes)
    if raw is None or len(raw) != out.nbytes:
        raise ValueError(f"a part is not one stream of {out.nbytes} bytes")
    if shuffled:
        assert _decoders is not None
        _decoders.unshuffle(raw, kind.itemsize, out)
    else:
        out[:] = np.frombuffer(raw, kind)


def _are_same(ours: NDArray[Any], theirs: NDArray[Any], quantised: Quantised | None) -> bool:
    """Whether two decoders give the same pixels."""
    if ours.dtype != theirs.dtype.newbyteorder("="):
        return False
    if quantised is None:
        return np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
    step = float(np.abs(quantised.scale).max())
    return np.allclose(ours, theirs, rtol=_CLOSE, atol=_CLOSE * step, equal_nan=True)


def _places(by_name: Cells, name: str) -> NDArray[np.int64]:
    """The number of bytes of each part in a column of arrays, and its first byte in the heap, [parts, 2]."""
    column = by_name[name]
    if column.element != "B":
        raise ValueError(f"{name} holds {column.element}")
    return np.stack(column.descriptors(), axis=1)


def _quantisation(header: Any, by_name: Cells, blank: int | None) -> Quantised:
    scale, zero = (_doubles(by_name[name]) for name in ("ZSCALE", "ZZERO"))
    return Quantised(scale, zero, _DITHERS[header.get("ZQUANTIZ", "NO_DITHER")], int(header.get("ZDITHER0", 0)), blank)


def _doubles(column: Column) -> NDArray[np.float64]:
    if column.letter != "D" or column.cells.shape[1] != np.dtype(np.float64).itemsize:
        raise ValueError(f"{column.name} holds {column.letter}")
    return np.ascontiguousarray(column.cells).view(">f8")[:, 0].astype(np.float64)

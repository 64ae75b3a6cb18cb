"""Planes that are compressed in parts, with light added: parts that it reaches are encoded anew, all others copied.

The quantisation stays: light is added to the whole numbers that a part holds, so no pixel without light changes.

Source: FITS standard 4.0, section 10.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.fits_guard import RICE, Column, columns, setting
from training.inject.planes import ROWS, Adder

_DATA, _GZIPPED = "COMPRESSED_DATA", "GZIP_COMPRESSED_DATA"
_KINDS = (*RICE, "GZIP_1", "GZIP_2")
_ZERO = -2147483646
"""The whole number that stands for 0 where pixels are dithered by the second method."""
_RICE_TYPES = {2: np.int16, 4: np.int32}
_QUANTISED = ("ZSCALE", "ZZERO", "ZQUANTIZ", "ZDITHER0", "ZBLANK")
_FORMAT = re.compile(r"(\d*[PQ]B)(?:\(\d+\))?")


def compressed_plane(hdu: Any, adder: Adder) -> tuple[dict[str, Any], bytes]:
    """Add light to a ``CompImageHDU`` of an open file; returns the cards that change, and the data of its table.

    Raises:
        ScannerError: ``inject.compression`` for a kind of compression that is not written here.
    """
    if "ZSCALE" in hdu._bintable.columns.names:
        # Rounding makes zeros, which are no gaps then; light does not reach those that are.
        adder = replace(adder, change=replace(adder.change, zero_is_missing=False))
    plane = _Plane.of(hdu, adder)
    streams: dict[int, tuple[str, bytes]] = {}
    height, down = plane.shape[0], plane.step[0] * max(1, ROWS // plane.step[0])
    with plane.as_stored() as stored:
        for first in range(0, height, down):
            last = min(first + down, height)
            if (light := adder.light.rows(first, last)) is not None:
                streams |= plane.encode(slice(first, last), light, stored)
    return plane.table(streams)


@dataclass(frozen=True)
class _Plane:
    """A compressed image [H, W] in parts of ``step`` [h, w], the columns of its table, and the bytes of its heap."""

    hdu: Any
    adder: Adder
    header: fits.Header
    shape: tuple[int, int]
    step: tuple[int, int]
    kind: str
    columns: dict[str, Column]
    places: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]  # bytes of each part, and its first byte in the heap
    gap: bytes  # between the rows of the table and the heap
    heap: bytes

    @classmethod
    def of(cls, hdu: Any, adder: Adder) -> _Plane:
        table, header = hdu._bintable, hdu._bintable.header
        by_name = {column.name: column for column in columns(table)}
        kind, bits = str(header["ZCMPTYPE"]), int(header["ZBITPIX"])
        arrays = {name: column.descriptors() for name, column in by_name.items() if column.element is not None}
        width = setting(header, "BYTEPIX", 4)
        is_usual = (
            kind in _KINDS
            and len(hdu.shape) == len(hdu.tile_shape) == 2
            and _DATA in arrays
            and arrays.keys() <= {_DATA, _GZIPPED}
            and all(by_name[name].element == "B" for name in arrays)
            and not any(f"{card}{number}" in header for card in ("TSCAL", "TZERO") for number in range(1, 10))
            and not ("ZSCALE" in by_name and {"BSCALE", "BZERO"} & set(header))
            and (bits == -32 if "ZSCALE" in by_name else kind not in RICE or bits > 0)
            and (kind not in RICE or width == (4 if "ZSCALE" in by_name else bits // 8) in _RICE_TYPES)
        )
        if not is_usual:
            raise _not_written(adder.path, kind)
        place, rows = table.fileinfo(), header["NAXIS1"] * header["NAXIS2"]
        start, end = int(header.get("THEAP", rows)), rows + int(header["PCOUNT"])
        place["file"].seek(place["datLoc"] + rows)
        after = place["file"].read(end - rows)
        return cls(
            hdu=hdu,
            adder=adder,
            header=header,
            shape=tuple(map(int, hdu.shape)),  # type: ignore[arg-type]
            step=tuple(map(int, hdu.tile_shape)),  # type: ignore[arg-type]
            kind=kind,
            columns=by_name,
            places=arrays,
            gap=after[: start - rows],
            heap=after[start - rows :],
        )

    @property
    def is_quantised(self) -> bool:
        return "ZSCALE" in self.columns

    def as_stored(self) -> fits.HDUList:
        """Open the image as the numbers that its parts hold: whole ones where it was quantised."""
        header = self.header.copy()
        if self.is_quantised:
            header["ZBITPIX"] = 32
            for number in range(1, header["TFIELDS"] + 1):
                if header[f"TTYPE{number}"] in _QUANTISED:
                    header[f"TTYPE{number}"] = f"WAS_{header[f'TTYPE{number}']}"
        for card in (*_QUANTISED, "BLANK"):
            header.remove(card, ignore_missing=True)
        place = self.hdu._bintable.fileinfo()
        place["file"].seek(place["datLoc"])
        data = place["file"].read(place["datSpan"])
        content = fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode() + data
        return fits.open(io.BytesIO(content), do_not_scale_image_data=True)

    def encode(self, rows: slice, light: NDArray[np.float32], stored: fits.HDUList) -> dict[int, tuple[str, bytes]]:
        """Encode the parts of some rows that light reaches; returns column and stream by the number of the part."""
        numbers = np.array(stored[1].section[rows, :])
        blank = self.header.get("ZBLANK", self.hdu.header.get("BLANK"))
        special = {} if blank is None or numbers.dtype.kind == "f" else {int(blank): math.nan}
        if self.header.get("ZQUANTIZ") == "SUBTRACTIVE_DITHER_2":
            special[_ZERO] = 0.0
        streams, changed = {}, {}
        for number, place in self._parts(rows):
            if not light[place].any():
                continue
            if self.places[_DATA][0][number]:
                numbers[place] = self.adder.add(numbers[place], light[place], *self._scaling(number), special)
                changed[number] = place
            else:
                # A part that could not be quantised, such as one of equal pixels.
                at = slice(rows.start + place[0].start, rows.start + place[0].stop)
                plain = np.asarray(self.hdu.section[at, place[1]], ">f4")
                streams[number] = _GZIPPED, _gzip(self.adder.add(plain, light[place], 1.0, 0.0), shuffled=False)
        if changed and self.kind in RICE:
            encoded = self._rice(numbers)
            first = rows.start // self.step[0] * self.across
            streams |= {number: (_DATA, encoded[number - first]) for number in changed}
        else:
            is_shuffled = self.kind == "GZIP_2"
            streams |= {number: (_DATA, _gzip(numbers[place], is_shuffled)) for number, place in changed.items()}
        return streams

    def table(self, streams: dict[int, tuple[str, bytes]]) -> tuple[dict[str, Any], bytes]:
        """Make the data of the table with new streams in place of the old; returns the cards that change with them."""
        cells = np.concatenate([column.cells for column in self.columns.values()], axis=1)
        heap, at, longest = io.BytesIO(), 0, dict.fromkeys(self.places, 0)
        starts = {}
        for name, column in self.columns.items():
            starts[name], at = at, at + column.cells.shape[1]
        for number in range(len(cells)):
            for name, (counts, firsts) in self.places.items():
                column, stream = streams.get(number, ("", b""))
                if column != name:
                    stream = self.heap[firsts[number] : firsts[number] + counts[number]]
                longest[name] = max(longest[name], len(stream))
                pair = np.array([len(stream), heap.tell() if stream else 0], self._descriptor(name))
                cells[number, starts[name] : starts[name] + pair.nbytes] = np.frombuffer(pair.tobytes(), np.uint8)
                heap.write(stream)
        data = b"".join([cells.tobytes(), self.gap, heap.getvalue()])
        changes: dict[str, Any] = {"PCOUNT": len(self.gap) + heap.tell()}
        for column_number, name in enumerate(self.columns, 1):
            if name in self.places and (form := _FORMAT.match(self.header[f"TFORM{column_number}"])):
                changes[f"TFORM{column_number}"] = f"{form[1]}({longest[name]})"
        return changes, data

    @property
    def across(self) -> int:
        """Parts beside each other."""
        return -(-self.shape[1] // self.step[1])

    def _parts(self, rows: slice) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """Yield the number of each part of some rows, and its place within them."""
        high, wide = self.step
        for top, left in itertools.product(range(rows.start, rows.stop, high), range(0, self.shape[1], wide)):
            place = (
                slice(top - rows.start, min(top + high, rows.stop) - rows.start),
                slice(left, min(left + wide, self.shape[1])),
            )
            yield top // high * self.across + left // wide, place

    def _scaling(self, number: int) -> tuple[float, float]:
        """The scale and zero of the numbers of a part."""
        if not self.is_quantised:
            return float(self.header.get("BSCALE", 1)), float(self.header.get("BZERO", 0))
        scale, zero = (
            np.frombuffer(column.cells[number].tobytes(), {"D": ">f8", "E": ">f4"}[column.letter])[0]
            for column in (self.columns["ZSCALE"], self.columns["ZZERO"])
        )
        return float(scale), float(zero)

    def _descriptor(self, name: str) -> str:
        return {"P": ">i4", "Q": ">i8"}[self.columns[name].letter]

    def _rice(self, numbers: NDArray[Any]) -> list[bytes]:
        """Encode whole numbers [h, W] by Rice's code, part by part."""
        content = io.BytesIO()
        width = _RICE_TYPES[setting(self.header, "BYTEPIX", 4)]
        fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.CompImageHDU(numbers.astype(width), compression_type="RICE_1", tile_shape=self.step),
            ]
        ).writeto(content)
        again, raw = io.BytesIO(content.getvalue()), io.BytesIO(content.getvalue())
        with fits.open(again) as decoded, fits.open(raw, disable_image_compression=True) as hdus:
            header, data = hdus[1].header, hdus[1].data
            streams = [one.tobytes() for one in data[_DATA]]
            is_same = setting(header, "BLOCKSIZE", 32) == setting(self.header, "BLOCKSIZE", 32)
            if not is_same or not np.array_equal(decoded[1].data, numbers):
                raise _not_written(self.adder.path, self.kind)
        return streams


def _gzip(values: NDArray[Any], shuffled: bool) -> bytes:
    """Compress pixels as big-endian numbers; ``shuffled``: their first bytes, then their second ones, and so on."""
    raw = np.ascontiguousarray(values, values.dtype.newbyteorder(">"))
    if shuffled:
        raw = raw.view(np.uint8).reshape(-1, values.dtype.itemsize).T
    # A time in the header would make every run different.
    return gzip.compress(raw.tobytes(), mtime=0)


def _not_written(path: Path, kind: str) -> ScannerError:
    message = f"{path}: its image is compressed by {kind} in a way that is not written here."
    return ScannerError(ErrorCode.INJECT_COMPRESSION, message, "Expand the file first (funpack, gunzip).")

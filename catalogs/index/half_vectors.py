"""Vectors at half precision in a memory map: exact search runs over them, and candidates are ranked again by them.

A row is a record of D float16 numbers and the length by which to divide them. The numbers of a catalogue have a
mantissa of 10 bits, as float16 has, so only what lies below 2**-25 of a vector's length is lost. numkong multiplies
float16 directly; numpy would have to convert every row first. It also converts three times as fast, to the same bits.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from catalogs.store.vectors import Vectors, along

Numbers = NDArray[np.int64]

_BLOCK = 65_536
"""Rows compared at a time."""
_PRODUCTS = 4_194_304
"""Cosines held in memory at a time."""


def record_type(dim: int) -> np.dtype[np.void]:
    """Give the numpy type of one row."""
    return np.dtype([("length", "<f4"), ("vector", "<f2", (dim,))])


def pack(embedding: Vectors) -> NDArray[np.void]:
    """Make records of valid vectors [N, D]. Each is scaled to a length of 0.5 to 1 by a power of two, exactly."""
    rows = np.zeros(len(embedding), record_type(embedding.shape[1]))
    # A power of two moves the exponent alone, so no digit of the mantissa is lost.
    length = np.sqrt(np.einsum("nd,nd->n", embedding, embedding, dtype=np.float64))
    rows["vector"] = np.ldexp(embedding, -np.frexp(length)[1][:, None])
    # The length of the rounded vector, so that cosines of equal vectors are 1.
    kept = rows["vector"].astype(np.float32)
    rows["length"] = np.sqrt(np.einsum("nd,nd->n", kept, kept))
    return rows


class HalfVectors:
    """The records of a file, memory-mapped: only the pages in use are read, and the system can reclaim them.

    After a pass its pages are unmapped, unless they ``stay`` for the next one, as where there are few.
    """

    def __init__(self, path: Path, dim: int, stay: bool = False) -> None:
        size = path.stat().st_size
        kind = record_type(dim)
        if size % kind.itemsize:
            raise ValueError(f"the size of {path} is not a multiple of a row of {dim} numbers")
        self.dim, self.bytes, self._stay = dim, size, stay
        self._rows: NDArray[np.void] = np.memmap(path, kind, mode="r") if size else np.zeros(0, kind)

    def __len__(self) -> int:
        return len(self._rows)

    def leading(self, dims: int, rows: Numbers | None = None) -> Iterator[Vectors]:
        """Yield the first ``dims`` numbers of all vectors, or of ``rows``, as [<= 65536, dims], in order."""
        for _, block in self._blocks(rows, _BLOCK):
            yield _to_float32(block["vector"][:, :dims])

    def between(self, start: int, end: int) -> Vectors:
        """Copy the vectors of these rows as [end - start, D]; their length is from 0.5 to 1."""
        block = _to_float32(self._rows[start:end]["vector"])
        self._unmap(start, end)
        return block

    def chosen(self, rows: Numbers) -> Vectors:
        """Copy the vectors of these rows [N] as [N, D]; their length is from 0.5 to 1."""
        return _to_float32(self._rows[rows]["vector"])

    def cosines(self, rows: Numbers, direction: Vectors) -> Vectors:
        """Compute the cosines of these rows [N] with a unit vector [D]."""
        records = self._rows[rows]
        cosine: Vectors = along(_to_float32(records["vector"]), direction) / records["length"]
        return cosine

    def best(self, directions: Vectors, count: int, rows: Numbers | None = None) -> list[tuple[Numbers, Vectors]]:
        """Find for each unit vector [Q, D] the ``count`` nearest rows, of all or of ``rows`` (ascending), exactly.

        Returns their numbers and cosines, in no order.
        """
        # Rounding a direction to float16 moves a cosine by at most the length of the rounding. Rows that could still
        # be among the best within that slack are compared again at full precision.
        rounded = directions.astype(np.float16)
        slack = 2 * np.linalg.norm(directions - rounded.astype(np.float32), axis=1) + 1e-6
        keepers = [_Keeper(count, float(one)) for one in slack]
        query = numkong.dots_pack(rounded)
        # The number of rows n bounds the cosines [n, Q] of a block in memory.
        for numbers, block in self._blocks(rows, min(_BLOCK, max(_PRODUCTS // len(directions), 256))):
            cosines = np.asarray(numkong.dots_packed(block["vector"], query)) / block["length"][:, None]
            for keeper, cosine in zip(keepers, cosines.T, strict=True):
                keeper.offer(numbers, cosine)
        best: list[tuple[Numbers, Vectors]] = []
        for keeper, direction in zip(keepers, directions, strict=True):
            numbers, _ = keeper.rows()
            cosine = self.cosines(numbers, direction)
            if len(cosine) > count:
                nearest = np.argpartition(-cosine, count - 1)[:count]
                numbers, cosine = numbers[nearest], cosine[nearest]
            best.append((numbers, cosine))
        return best

    def _blocks(self, rows: Numbers | None, size: int) -> Iterator[tuple[Numbers, NDArray[np.void]]]:
        for start in range(0, len(self) if rows is None else len(rows), size):
            if rows is None:
                block = self._rows[start : start + size]
                yield np.arange(start, start + len(block)), block
                self._unmap(start, start + len(block))
            else:
                chosen = rows[start : start + size]
                yield chosen, self._rows[chosen]

    def _unmap(self, start: int, end: int) -> None:
        """Unmap the pages of rows that were read; they stay in the page cache, and are not resident in this process."""
        mapped: Any = getattr(self._rows, "_mmap", None)
        # Windows has no madvise.
        if hasattr(mapped, "madvise") and not self._stay:
            first = start * self._rows.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, first, end * self._rows.itemsize - first)


def _to_float32(vectors: NDArray[np.float16]) -> Vectors:
    """Copy vectors [N, D] as float32."""
    copied = np.empty(vectors.shape, np.float32)
    if len(copied):
        numkong.astype(vectors, "float32", out=copied)
    return copied


class _Keeper:
    """Rows whose cosine is within ``slack`` of the ``count``-th best so far."""

    def __init__(self, count: int, slack: float) -> None:
        self._count, self._slack, self._floor = count, slack, -np.inf
        self._parts: list[tuple[Numbers, Vectors]] = []
        self._held = 0

    def offer(self, numbers: Numbers, cosine: Vectors) -> None:
        here = np.flatnonzero(cosine >= self._floor)
        self._parts.append((numbers[here], cosine[here]))
        self._held += len(here)
        # Sorting out now and then costs less than after each block.
        if self._held > 4 * self._count:
            self._parts = [self.rows()]
            self._held = len(self._parts[0][0])

    def rows(self) -> tuple[Numbers, Vectors]:
        numbers, cosine = (np.concatenate(part) for part in zip(*self._parts, strict=True)) if self._parts else _NONE
        if len(cosine) > self._count:
            self._floor = float(np.partition(cosine, -self._count)[-self._count]) - self._slack
            numbers, cosine = numbers[cosine >= self._floor], cosine[cosine >= self._floor]
        return numbers, cosine


_NONE = (np.zeros(0, np.int64), np.zeros(0, np.float32))

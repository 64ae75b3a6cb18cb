"""Embeddings as numbers: their precision on disk, products, and conversion between Arrow and numpy."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Real = TypeVar("Real", np.float32, np.float64)

_FEW = 4  # directions; more are worth a matrix product
_DROPPED = 13  # of the 23 mantissa bits of float32; 10 stay, as in float16


def round_mantissa(values: Vectors) -> Vectors:
    """Round float32 to a 10-bit mantissa, ties to even: half the bytes after compression, relative error 2**-11.

    NaN and infinities stay as they are; a value beyond the largest representable one rounds to infinity.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (_DROPPED - 1)) - 1)
    rounded = (bits + half + ((bits >> np.uint32(_DROPPED)) & np.uint32(1))) & ~np.uint32((1 << _DROPPED) - 1)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def unit(vectors: Vectors) -> Vectors:
    """Scale the rows of [N, D] to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return scaled


def along(vectors: NDArray[Real], direction: NDArray[Real]) -> NDArray[Real]:
    """Compute the dot products [N] of rows [N, D] with one ``direction`` [D]."""
    # One core takes the product in the time it takes to read the rows. BLAS would start threads for it and wait for
    # them, which takes ten times as long where other work has the cores.
    product: NDArray[Real] = np.einsum("nd,d->n", vectors, direction)
    return product


def products(vectors: Vectors, directions: Vectors) -> Vectors:
    """Compute the dot products [N, Q] of rows [N, D] with ``directions`` [Q, D]."""
    if not 1 <= len(directions) <= _FEW:
        return vectors @ directions.T
    return np.stack([along(vectors, one) for one in directions], axis=1)


def from_arrow(column: Any) -> Vectors:
    """View an embedding column (Arrow array, or chunked array) as [N, D]; several chunks are copied."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    dim = column.type.list_size
    values: Vectors = column.flatten().to_numpy(zero_copy_only=True)
    return values.reshape(-1, dim)


def to_arrow(vectors: Vectors, kind: pa.DataType) -> pa.Array:
    """Convert [N, D] to an Arrow array of the fixed-size list type ``kind``; ``ValueError`` for another shape."""
    if vectors.ndim != 2 or vectors.shape[1] != kind.list_size:
        raise ValueError(f"embeddings of shape {vectors.shape} do not fit {kind}")
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), kind.value_type), type=kind)


def sound(vectors: Vectors) -> NDArray[np.bool_]:
    """Tell which rows of [N, D] have a direction: those that are finite and not all zero."""
    length = np.einsum("nd,nd->n", vectors, vectors)
    return np.asarray(np.isfinite(length) & (length > 0))

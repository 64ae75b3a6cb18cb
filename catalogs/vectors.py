"""Embeddings as numbers: the precision they are stored with, and their passage between Arrow and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

_DROPPED = 13  # of the 23 mantissa bits of float32; 10 stay, as in float16


def round_mantissa(values: Vectors) -> Vectors:
    """Round float32 to a 10-bit mantissa, ties to even: half the bytes after compression, relative error 2**-11.

    NaN and infinities stay what they are; a value beyond the largest representable rounds to infinity, as IEEE has it.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (_DROPPED - 1)) - 1)
    rounded = (bits + half + ((bits >> np.uint32(_DROPPED)) & np.uint32(1))) & ~np.uint32((1 << _DROPPED) - 1)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def unit(vectors: Vectors) -> Vectors:
    """Rows of [N, D] scaled to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return scaled


def from_arrow(column: Any) -> Vectors:
    """Embedding column (Arrow array, or chunked array) as [N, D]; no copy where it is one chunk."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    dim = column.type.list_size
    values: Vectors = column.flatten().to_numpy(zero_copy_only=True)
    return values.reshape(-1, dim)


def to_arrow(vectors: Vectors, kind: pa.DataType) -> pa.Array:
    """[N, D] as an Arrow array of the fixed-size list type ``kind``; ``ValueError`` for another shape."""
    if vectors.ndim != 2 or vectors.shape[1] != kind.list_size:
        raise ValueError(f"embeddings of shape {vectors.shape} do not fit {kind}")
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), kind.value_type), type=kind)


def sound(vectors: Vectors) -> NDArray[np.bool_]:
    """Which rows of [N, D] have a direction: finite and not all zero."""
    length = np.einsum("nd,nd->n", vectors, vectors)
    return np.asarray(np.isfinite(length) & (length > 0))

"""An ONNX file as bytes: its metadata, and whether it is whole, without a session or the ``onnx`` package.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from scanner.encoder.protobuf import fields

SEAL_KEY = "scanner.sha256"
"""Key of the metadata entry with the SHA-256 of all other bytes of the file, which ``python -m export`` writes."""

_GRAPH, _METADATA = 7, 14  # fields of ModelProto
_KEY, _VALUE = 1, 2  # fields of StringStringEntryProto
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1  # fields of TensorProto, and a value of the second
_MOST_FIELDS, _MOST_ENTRY, _MOST_BYTES = 2_000_000, 1 << 20, 2 << 30
"""Bounds on a file that may be anything: fields, bytes of an entry of the metadata, bytes of the file (protobuf's)."""

TENSOR = "TensorProto"
INNER: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR, 6: "GraphProto", 10: TENSOR, 11: "GraphProto", 22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
}  # fmt: skip
"""For each message, the fields that lead to tensors, and the messages that these are."""


def read_bytes(path: Path) -> bytes:
    """Read a file that may be an ONNX model. Raises ``ValueError`` for one that is too large, and ``OSError``."""
    with path.open("rb") as file:
        model = file.read(_MOST_BYTES + 1)
    if len(model) > _MOST_BYTES:
        raise ValueError("it is larger than 2 GB")
    return model


def read_metadata(model: bytes) -> dict[str, str]:
    """Read ``metadata_props``; entries of more than 1 MB are left out. Raises ``ValueError`` if it is not a model."""
    metadata, numbers = {}, set()
    for number, value, _ in islice(fields(memoryview(model)), _MOST_FIELDS):
        numbers.add(number)
        if number == _METADATA:
            key, text = _entry(value)
            metadata[key] = text
    if _GRAPH not in numbers:
        raise ValueError("it has no graph")
    return metadata


def has_external_data(model: bytes) -> bool:
    """Whether any tensor, of whatever subgraph or function, has its values in another file. Raises ``ValueError``."""
    left = [("ModelProto", memoryview(model))]
    count = 0
    while left:
        kind, message = left.pop()
        for number, value, _ in fields(message):
            count += 1
            if count > _MOST_FIELDS:
                raise ValueError(f"it has more than {_MOST_FIELDS} fields")
            if kind == TENSOR:
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL):
                    return True
            elif (inner := INNER[kind].get(number)) and isinstance(value, memoryview):
                left.append((inner, value))
    return False


def seal(model: bytes) -> str:
    """SHA-256 of a model file, in hexadecimal, without its entry ``SEAL_KEY``."""
    digest = hashlib.sha256()
    for part in _unsealed(memoryview(model)):
        digest.update(part)
    return digest.hexdigest()


def _unsealed(model: memoryview) -> Iterator[memoryview]:
    start = 0
    for number, value, end in fields(model):
        if number != _METADATA or _entry(value)[0] != SEAL_KEY:
            yield model[start:end]
        start = end


def _entry(value: int | memoryview) -> tuple[str, str]:
    """Key and text of an entry of the metadata."""
    if isinstance(value, int) or len(value) > _MOST_ENTRY:
        # An entry larger than any contract is somebody else's.
        return "", ""
    pair = {number: bytes(part) for number, part, _ in fields(value) if isinstance(part, memoryview)}
    return pair.get(_KEY, b"").decode(), pair.get(_VALUE, b"").decode()

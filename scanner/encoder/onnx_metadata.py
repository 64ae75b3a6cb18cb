"""The metadata of an ONNX file, read without a session and without the ``onnx`` package.

An ONNX file is one protobuf message, ModelProto: a sequence of fields, each a tag (number and wire type) and its value.
The weights are one field of many megabytes, which is skipped by its length.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_GRAPH, _METADATA = 7, 14  # fields of ModelProto
_KEY, _VALUE = 1, 2  # fields of StringStringEntryProto
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_MOST_FIELDS, _MOST_BYTES = 10_000, 1 << 20
"""Bounds on what is read of a file that may be anything: fields of a message, and bytes of one entry."""


def read_metadata(path: Path) -> dict[str, str]:
    """Read ``metadata_props``.

    Raises:
        ValueError: The file is not an ONNX model.
        OSError: The file cannot be read.
    """
    metadata: dict[str, str] = {}
    with path.open("rb") as file:
        numbers = set()
        for number, entry in _fields(file, path.stat().st_size, _METADATA):
            numbers.add(number)
            if number == _METADATA:
                pair = dict(_fields(io.BytesIO(entry), len(entry), _KEY, _VALUE))
                metadata[pair.get(_KEY, b"").decode()] = pair.get(_VALUE, b"").decode()
    if _GRAPH not in numbers:
        raise ValueError("it has no graph")
    return metadata


def _fields(file: IO[bytes], size: int, *wanted: int) -> Iterator[tuple[int, bytes]]:
    """Numbers of a message's fields, with the bytes of the ``wanted`` ones; of the others, nothing is read."""
    for _ in range(_MOST_FIELDS):
        if file.tell() == size:
            return
        number, wire_type = divmod(_varint(file), 8)
        if wire_type == _VARINT:
            _varint(file)
            length = 0
        elif wire_type == _LENGTH:
            length = _varint(file)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field {number} has the unknown wire type {wire_type}")
        if length > size - file.tell():
            raise ValueError(f"field {number} reaches beyond the end")
        # An entry larger than any contract is somebody else's.
        if number in wanted and wire_type == _LENGTH and length <= _MOST_BYTES:
            yield number, file.read(length)
        else:
            file.seek(length, io.SEEK_CUR)
            yield number, b""
    raise ValueError(f"it has more than {_MOST_FIELDS} fields")


def _varint(file: IO[bytes]) -> int:
    """A number in groups of seven bits, the lowest first; the top bit of a byte says that another follows."""
    number = 0
    for place in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        number |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return number
    raise ValueError("a number has more than ten bytes")

"""Protocol buffers, read without their schema: a message is a sequence of fields, each a tag and its value.

Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """Yield the number of each field, its value, and where it ends. Values are whole numbers or bytes, not copied.

    Raises:
        ValueError: The bytes are not a message.
    """
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, wire_type = divmod(tag, 8)
        value: int | memoryview
        if wire_type == _VARINT:
            value, place = _varint(message, place)
        else:
            if wire_type == _LENGTH:
                length, place = _varint(message, place)
            elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
                length = 8 if wire_type == _EIGHT_BYTES else 4
            else:
                raise ValueError(f"field {number} has the unknown wire type {wire_type}")
            if length > end - place:
                raise ValueError(f"field {number} reaches beyond the end")
            value = message[place : place + length]
            place += length
        yield number, value, place


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends; a byte's top bit announces another."""
    number = 0
    for position, byte in enumerate(message[place : place + 10]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return number, place + position + 1
    raise ValueError("it ends within a number, or a number has more than ten bytes")

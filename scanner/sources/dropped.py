"""Positions that gave no row of a catalogue, counted by reason."""

from __future__ import annotations

from dataclasses import dataclass, fields

_WORDS = {
    "not_numbers": "not numbers",
    "off_sky": "off the sky",
    "off_tile": "off the tile",
    "no_data": "without data",
    "no_embedding": "without embedding",
}


@dataclass(frozen=True)
class Dropped:
    """Counts of dropped positions.

    Of a table: ``not_numbers`` (also empty cells), ``off_sky`` (no angles of the sky), ``off_tile``. Of any sources:
    ``no_data`` (no pixel of the cutout has data) and ``no_embedding`` (the model gave no finite vector).
    """

    not_numbers: int = 0
    off_sky: int = 0
    off_tile: int = 0
    no_data: int = 0
    no_embedding: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def total(self) -> int:
        return sum(getattr(self, one.name) for one in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{count} {_WORDS[one.name]}" for one in fields(self) if (count := getattr(self, one.name)))

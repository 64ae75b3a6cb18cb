"""A tile: its name, its number, and the files of its bands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey.urls import Remote


@dataclass(frozen=True)
class Tile:
    """One tile: its canonical name, and the file of each band that has one.

    ``problem`` is the error in the request for it; opening such a tile raises it. ``remote`` says where files of other
    bands may be on other machines, to be copied first (``scanner.scan.staging``).
    """

    name: str
    files: Mapping[str, Path] = field(default_factory=dict)
    problem: ScannerError | None = None
    remote: Remote | None = None


# The names of UNIONS, of the bricks of the Legacy Surveys (p and m are signs), and of the patches of HSC.
_BUILT_IN = re.compile("[0-9]{3}[.][0-9]{3}|[0-9]{4}[pm][0-9]{3}|(0|[1-9][0-9]{0,4})-[0-9],[0-9]")
_SYMBOLS = "0123456789.,_+-pm"
# Earlier versions gave numbers up to 10**12 or 2**40: those given here never repeat one of them.
_SPELT, _HASHED, _END = 1_200_000_000_000, 3_400_000_000_000, 9_200_000_000_000


def tile_number(name: str) -> int:
    """The number that a tile's object ids start with, below 9.2 * 10**12: six more digits fit into 64 bits.

    For a name of the built-in surveys it is its digits, with p as 1 and m as 0. Any other name of up to ten digits and
    separators has a number of its own. Longer names, and names with other letters, have a number by their hash, which
    two names may share: see ``refuse_shared_numbers``.
    """
    if _BUILT_IN.fullmatch(name):
        return int(re.sub("[.,-]", "", name.replace("p", "1").replace("m", "0")))
    if len(name) <= 10 and set(name) <= set(_SYMBOLS):
        number = 0
        for symbol in name:
            # Digits from 1, so that leading zeros count.
            number = number * len(_SYMBOLS) + _SYMBOLS.index(symbol) + 1
        return _SPELT + number
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=16).digest()
    return _HASHED + int.from_bytes(digest) % (_END - _HASHED)


def refuse_shared_numbers(tiles: Iterable[Tile], others: Iterable[str] = ()) -> list[Tile]:
    """The tiles, with a ``problem`` for each whose number another of them, or of the names ``others``, has already."""
    owners = {tile_number(name): name for name in others}
    checked = []
    for tile in tiles:
        # A tile that cannot be scanned has no objects.
        owner = owners.setdefault(tile_number(tile.name), tile.name) if tile.problem is None else tile.name
        if owner != tile.name:
            problem = ScannerError(
                ErrorCode.TILE_SAME_NUMBER,
                f"The objects of tile {tile.name} would have the ids of tile {owner}.",
                "Scan it into another catalogue, or change how the survey file writes the names of its tiles.",
            )
            tile = replace(tile, problem=problem)
        checked.append(tile)
    return checked

"""A tile: its name, its number, and the files of its bands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from catalogs.errors import ScannerError
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


def tile_number(name: str) -> int:
    """The number that a tile's object ids start with: the digits of its name, with 'p' as 1 and 'm' as 0 between them.

    A name of another form gets a number from its hash, below 2**40.
    """
    # p and m are the signs of declinations, as in the brick 1238p245 of the Legacy Surveys.
    text = re.sub("(?<=[0-9])[pm](?=[0-9])", lambda sign: "01"[sign[0] == "p"], name)
    digits = re.sub("[._,+-]", "", text)
    # With six more digits for the object, an id of up to 18 digits fits into 64 bits.
    if digits.isascii() and digits.isdigit() and len(digits) <= 12:
        return int(digits)
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=5).digest())

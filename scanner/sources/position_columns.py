"""The columns of a table that are its positions: by their names, with what these say of frame and unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from scanner.sources.tables.columns import Column

_SEXTRACTOR = ("", "win", "psf", "model", "peak")
_EQUATORIAL = (
    *("ra dec", "ra_deg dec_deg", "radeg decdeg", "radeg dedeg", "ra de", "ra decl", "_ra _de", "s_ra s_dec"),
    *("ramean decmean", "rastack decstack", "target_ra target_dec", "right_ascension declination"),
    *(f"alpha{kind}_sky delta{kind}_sky" for kind in _SEXTRACTOR),
    *(f"x{kind}_world y{kind}_world" for kind in _SEXTRACTOR),
)
_J2000 = (
    *("raj2000 dej2000", "raj2000 decj2000", "_raj2000 _dej2000", "ra_j2000 dec_j2000", "ra_j2000 de_j2000"),
    *(
        "ra2000 dec2000",
        "ra2000 de2000",
        "ra_icrs de_icrs",
        "ra_icrs dec_icrs",
        "_ra_icrs _de_icrs",
        "_ra.icrs _de.icrs",
    ),
    *(f"alpha{kind}_j2000 delta{kind}_j2000" for kind in _SEXTRACTOR),
)
_B1950 = (
    *("rab1950 deb1950", "rab1950 decb1950", "_rab1950 _deb1950", "ra_b1950 dec_b1950", "ra1950 dec1950"),
    *(f"alpha{kind}_b1950 delta{kind}_b1950" for kind in _SEXTRACTOR),
)
_ONE_BASED = (*(f"x{kind}_image y{kind}_image" for kind in _SEXTRACTOR), "xpos ypos")
_ZERO_BASED = ("x y", "xcentroid ycentroid", "x_0based y_0based")

_ANNOTATED = re.compile(r"(.*?)\s*[\[(]\s*([^\[\]()]*?)\s*[\])]")
_FRAMES = {"j2000": "J2000", "j2000.0": "J2000", "icrs": "J2000", "fk5": "J2000", "b1950": "FK4 B1950"}


@dataclass(frozen=True)
class Pair:
    """The names, in lower case, of two columns that together are positions.

    ``frame`` is that of angles, "" where the name leaves it to the file; None is of pixels, which count from
    ``origin``. ``needs_unit``: without a unit, the names do not say what the columns are.
    """

    first: str
    second: str
    frame: str | None = ""
    origin: float = 0.0
    needs_unit: bool = False


def _pairs(texts: Iterable[str], frame: str | None = "", origin: float = 0.0, needs_unit: bool = False) -> list[Pair]:
    split = (text.split() for text in texts)
    return [Pair(first, second, frame, origin, needs_unit) for first, second in split]


SKY = (
    *_pairs(_EQUATORIAL),
    *_pairs(_J2000, "J2000"),
    *_pairs(["coord_ra coord_dec"], needs_unit=True),  # LSST's tables have had radians and degrees
    *_pairs(_B1950, "FK4 B1950"),
    *_pairs(["glon glat", "_glon _glat", "lii bii"], "galactic"),
    *_pairs(["l b"], "galactic", needs_unit=True),
)
PIXELS = (*_pairs(_ONE_BASED, None, 1.0), *_pairs(_ZERO_BASED, None))
"""Pairs in order of preference."""

_NAMES = frozenset(chain.from_iterable((pair.first, pair.second) for pair in SKY + PIXELS))


def plain_name(name: str) -> str:
    """A name in lower case, without a unit or a frame in brackets behind it."""
    annotated = _ANNOTATED.fullmatch(name.strip())
    return (annotated[1] if annotated else name).strip().lower()


def annotation(name: str) -> tuple[str, str]:
    """The unit and the frame, "" where it has none, of a name such as ``RA [hours]`` or ``Dec (J2000)``."""
    annotated = _ANNOTATED.fullmatch(name.strip())
    words = annotated[2] if annotated else ""
    frame = _FRAMES.get(words.lower(), "")
    return "" if frame else words, frame


def is_position(name: str) -> bool:
    """Whether a column of this name may be of positions, or the mask of one."""
    return plain_name(name.removesuffix(".mask")) in _NAMES


def find_pair(names: Iterable[str], columns: Iterable[Column] = ()) -> Pair | None:
    """The pair that positions are read from: the first one whose columns are there, or None.

    Right ascension and declination come before angles of other frames, these before pixels, and numbers before text.
    """
    there = {plain_name(name) for name in names}
    texts = {plain_name(column.name) for column in columns if column.is_text}
    for pairs in (SKY, PIXELS):
        present = [pair for pair in pairs if {pair.first, pair.second} <= there]
        # A stable sort keeps the order of preference among equals.
        present.sort(key=lambda pair: (pair.frame not in ("", "J2000", None), bool({pair.first, pair.second} & texts)))
        if present:
            return present[0]
    return None

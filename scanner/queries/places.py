"""Places as people type them: degrees, sexagesimal angles, the number of an object, or a name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import normalise_ra
from scanner.queries.query import Position, collect_positions

if TYPE_CHECKING:
    from astropy.table import Table

_LONGEST = 200
_IDENTITY = re.compile(r"\d{4,}")
_DEGREES = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*(?:[,;\s]\s*|(?=[+-]))([+-]?\d+(?:\.\d*)?)")
_SEXAGESIMAL = re.compile(
    r"(\d{1,2}[:h ]\s*\d{1,2}[:m ]\s*\d{1,2}(?:\.\d*)?s?)[\s,]*"
    r"([+-]?\s*\d{1,2}[:d° ]\s*\d{1,2}[:m' ]\s*\d{1,2}(?:\.\d*)?[s\"]?)"
)
_J_NAME = re.compile(r"J?(\d\d)(\d\d)(\d\d(?:\.\d*)?)([+-]\d\d)(\d\d)(\d\d(?:\.\d*)?)")


def read_place(text: str, known: Table | None = None) -> Position | int:
    """Read a position, or the id of an object, as a person typed it.

    Positions are ``194.0567 +56.0333``, ``12:56:13.6 +56:02:00``, ``12h56m13.6s +56d02m00s`` or
    ``J125613.61+560200.0``. Four digits or more alone are an object_id. Anything else is a name, looked up in ``known``
    (a table with ``name``, ``ra`` and ``dec``), then on-line through Sesame.

    Raises:
        ScannerError: ``sky.out_of_range``, ``name.unresolved``.
    """
    from astropy.coordinates import Angle

    text = " ".join(text[: _LONGEST + 1].replace("−", "-").split())
    if _IDENTITY.fullmatch(text) and int(text) < 2**63:
        return int(text)
    if match := _DEGREES.fullmatch(text):
        return _position(float(match[1]), float(match[2]), text)
    if match := _J_NAME.fullmatch(text.replace(" ", "").removeprefix("J")):
        hours, degrees = ":".join(match.groups()[:3]), ":".join(match.groups()[3:])
    elif match := _SEXAGESIMAL.fullmatch(text):
        hours, degrees = match[1], match[2].replace(" ", "", 1) if match[2][:1] in "+-" else match[2]
    else:
        return _by_name(text, known)
    try:
        return _position(float(Angle(hours, "hourangle").degree), float(Angle(degrees, "deg").degree), text)
    except ValueError as error:
        raise _off_sky(text) from error


def _position(ra: float, dec: float, text: str) -> Position:
    turned = float(normalise_ra(ra))
    if not (np.isfinite(turned) and -90 <= dec <= 90):
        raise _off_sky(text)
    return Position(turned, dec, text)


def _off_sky(text: str) -> ScannerError:
    hint = "Give ra and dec in degrees (194.0567 +56.0333) or sexagesimal (12:56:13.6 +56:02:00)."
    return ScannerError(ErrorCode.SKY_OUT_OF_RANGE, f"{text!r} is not a position on the sky.", hint)


def _by_name(text: str, known: Table | None) -> Position:
    if not text or len(text) > _LONGEST:
        raise ScannerError(ErrorCode.NAME_UNRESOLVED, f"A name has 1 to {_LONGEST} characters.", "Give another name.")
    if known is not None:
        wanted = text.casefold()
        for row in known:
            # A lens may have several names in the literature.
            if wanted in (name.strip().casefold() for name in str(row["name"]).split("|")):
                return Position(float(row["ra"]), float(row["dec"]), text)
    return next(collect_positions(None, None, text, None))

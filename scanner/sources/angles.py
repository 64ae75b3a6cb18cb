"""Angles on the sky: units and sexagesimal text to degrees, and any frame to ICRS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NO_UNIT = frozenset({"", "-", "--", "---", "none", "null", "unitless"})
_DEGREES = frozenset({"deg", "degs", "degree", "degrees", "d", "d:m:s", "dms", "dd"})
_HOURS = frozenset({"h", "hr", "hrs", "hour", "hours", "hourangle", "h:m:s", "hms"})
"""Units as people write them; of the sky's coordinates, right ascension alone counts in hours."""

_PIXELS = frozenset({"pix", "pixel", "pixels", "px"})
_SEXAGESIMAL = re.compile(
    r"[+-]?\d{1,3}(?:\s*[:hdHD°]\s*|\s+)\d{1,2}(?:(?:\s*[:mM'′]\s*|\s+)\d{1,2}(?:\.\d*)?)?\s*(?:[sS\"″]|'')?"
)
_FRAME = re.compile(r"(?!$)(?:(?:EQ_)?(ICRS|ICRF|FK4|FK5|GALACTIC))?\s*(?:([BJ]?)(\d{4}(?:\.\d*)?))?")


def degrees_per(unit: str, is_ra: bool) -> float:
    """The number of degrees of a unit, as a file writes it; a column without one is in degrees.

    Raises:
        ValueError: It is no unit of an angle.
    """
    word = _word(unit)
    if word in _NO_UNIT or word in _DEGREES:
        return 1.0
    if word in _HOURS and (is_ra or word == "hourangle"):
        return 15.0
    from astropy import units

    for text in (unit.strip(" '\""), word, word.removesuffix("s")):
        try:
            parsed = units.Unit(text)
        except (ValueError, TypeError):
            continue
        if parsed.physical_type == "angle":
            return float(parsed.to(units.deg))
    raise ValueError(f"{unit!r} is no unit of an angle")


def check_pixels(unit: str) -> None:
    """Refuse a unit that is not of pixels.

    Raises:
        ValueError: It is of something else.
    """
    if _word(unit) not in _NO_UNIT | _PIXELS:
        raise ValueError(f"{unit!r} is no unit of pixels")


def has_no_unit(unit: str) -> bool:
    """Whether a unit says nothing."""
    return _word(unit) in _NO_UNIT


def parse_sexagesimal(texts: NDArray[Any], unit: str, is_ra: bool) -> Floats:
    """Degrees of sexagesimal texts [N], such as ``14:00:05.2``, ``14h00m05.2s``, ``-05 10 00``; NaN for an empty one.

    Right ascension is in hours unless its unit or its letters say degrees.

    Raises:
        ValueError: A text is not sexagesimal, or its unit leaves open what it counts.
    """
    from astropy.coordinates import Angle

    word = _word(unit)
    in_hours = is_ra and word not in ("d:m:s", "dms")
    filled = np.flatnonzero(texts != "")
    clean = [str(text).replace("\N{MINUS SIGN}", "-") for text in texts[filled]]
    if odd := next((text for text in clean if not _SEXAGESIMAL.fullmatch(text)), None):
        raise ValueError(f"has the text {odd[:40]!r}")
    if word not in _NO_UNIT | {"d:m:s", "dms"} | (_HOURS if is_ra else {"deg"}):
        raise ValueError(f"is text in the unit {unit!r}")
    degrees = np.full(len(texts), np.nan)
    if clean:
        try:
            degrees[filled] = Angle(clean, unit="hourangle" if in_hours else "deg").degree
        except ValueError as error:
            raise ValueError(f"has an angle out of range: {str(error).rstrip('.')}") from error
    return degrees


@dataclass(frozen=True)
class Frame:
    """A frame of the sky: icrs, fk5, fk4 or galactic, with the ``equinox`` of the middle two, such as ``B1950.0``."""

    system: str
    equinox: str = ""

    @classmethod
    def parse(cls, text: str) -> Frame:
        """Parse what a file says: ``ICRS``, ``FK4 1950.0``, ``eq_FK5 J2000``, or an equinox alone.

        Raises:
            ValueError: It is not known.
        """
        match = _FRAME.fullmatch(text.strip().upper())
        if match is None:
            raise ValueError(f"the frame {text!r} is not known")
        system, kind, year = match.groups()
        if system in ("ICRS", "ICRF"):
            return ICRS
        if system == "GALACTIC":
            return cls("galactic")
        if system is None:  # the standard: an equinox before 1984 is of FK4 and counts Besselian years
            system = "FK4" if (kind or ("B" if float(year) < 1984 else "J")) == "B" else "FK5"
        if year is None:
            return cls("fk4", "B1950.0") if system == "FK4" else cls("fk5", "J2000.0")
        return cls(system.lower(), f"{kind or ('B' if system == 'FK4' else 'J')}{float(year)}")

    @property
    def is_j2000(self) -> bool:
        """Whether it is ICRS, or FK5 at J2000, which agrees with it to 0.03 arcsec."""
        return self in (ICRS, Frame("fk5", "J2000.0"))

    def to_icrs(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """RA and Dec (degrees ICRS, [N]) of angles in degrees; those that are on no sky stay as they are."""
        from astropy.coordinates import SkyCoord

        good = np.isfinite(lon) & (np.abs(lat) <= 90)
        if self == ICRS or not good.any():
            return lon, lat
        equinox = {"equinox": self.equinox} if self.equinox else {}
        places = SkyCoord(lon[good], lat[good], unit="deg", frame=self.system, **equinox).icrs
        ra, dec = lon.copy(), lat.copy()
        ra[good], dec[good] = places.ra.degree, places.dec.degree
        return ra, dec


ICRS = Frame("icrs")


def _word(unit: str) -> str:
    return unit.strip(" '\"[]()").lower()

"""Names of objects by their positions, as the IAU recommends: truncated, so that a name is a box that holds the object.

Source: https://cds.unistra.fr/Dic/iau-spec.html
"""

from __future__ import annotations

import re

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import normalise_ra

SECONDS, ARCSECONDS = 2, 1
"""Digits after the point: 0.01 s of right ascension and 0.1 arcsec of declination, finer than cutouts' pixels."""
_GUARD = 4
_ACRONYM = re.compile("[A-Z][A-Za-z0-9_+-]{1,19}")


def iau_name(ra: float, dec: float, acronym: str = "") -> str:
    """Name a position in degrees ICRS, such as ``UNIONS J125613.61+560200.0``.

    Digits are dropped, not rounded. What is missing to a digit by less than a ten-thousandth of it counts as that
    digit, since a number of degrees is hardly ever exact.

    Raises:
        ValueError: The position is not on the sky.
    """
    turned = float(normalise_ra(ra))
    if not (0 <= turned < 360 and -90 <= dec <= 90):
        raise ValueError(f"{ra}, {dec} is not a position on the sky")
    hours = _digits(turned / 15, SECONDS, 24)
    degrees = _digits(abs(dec), ARCSECONDS, None)
    sign = "-" if dec < 0 else "+"
    return f"{acronym} J{hours}{sign}{degrees}".strip()


def check_acronym(text: str) -> str:
    """Return an acronym that may begin a name.

    Raises:
        ScannerError: ``release.bad_option``.
    """
    if text and not _ACRONYM.fullmatch(text):
        hint = "Use 2 to 20 letters, digits and _ + -, the first a capital letter, such as UNIONS."
        raise ScannerError(ErrorCode.RELEASE_BAD_OPTION, f"{text!r} cannot begin the names of objects.", hint)
    return text


def _digits(value: float, places: int, turn: int | None) -> str:
    """Write hours or degrees as ``hhmmss.ss``, truncated."""
    # In integers, so that no binary fraction takes the last digit.
    units = round(value * 3600 * 10 ** (places + _GUARD)) // 10**_GUARD
    whole, fraction = divmod(units, 10**places)
    minutes, seconds = divmod(whole, 60)
    first, minutes = divmod(minutes, 60)
    return f"{first % turn if turn else first:02d}{minutes:02d}{seconds:02d}.{fraction:0{places}d}"

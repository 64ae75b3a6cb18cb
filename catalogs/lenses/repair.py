"""Positions that lost their hours or degrees on the way into the list, put back by the coordinates in their names.

Two sources of lenscat come with right ascensions below 15 degrees throughout, one of them with declinations below 1:
``AGEL 010128-334319`` stands at ra 0.366 and not 15.366, Q0957+561 at ra 0.337 and not 150.337.
"""

from __future__ import annotations

import re

HOURS_LOST = ("arXiv:2205.05307", "https://web.physics.ucsb.edu/~tt/LSD/")
"""References all of whose rows lost the hours of their right ascension (AGEL, Tran+22; LSD)."""
DEGREES_LOST = ("arXiv:2205.05307",)

_IN_NAME = re.compile(r"(?<![0-9])(\d\d)(\d\d)(\d\d)?([+-])(\d\d)(\d\d?)")
HOUR = 15.0


def restored(name: str, ra: float, dec: float, reference: str) -> tuple[float, float]:
    """The position with the hours (and degrees) that its source lost; unchanged for every other source.

    The fraction is exact; the name says only how many whole hours and degrees to add. B1950 names are near enough.
    """
    found = _IN_NAME.search(name)
    if reference not in HOURS_LOST or found is None or ra >= HOUR:
        return ra, dec
    hours, minutes, seconds, sign, degrees, arcminutes = found.groups()
    named_ra = HOUR * (int(hours) + int(minutes) / 60 + int(seconds or 0) / 3600)
    ra = (ra + HOUR * round((named_ra - ra) / HOUR)) % 360
    if reference in DEGREES_LOST and 0 <= dec < 1 and sign == "+":
        dec += round(int(degrees) + int(arcminutes) / 60 - dec)
    return round(ra, 6), dec

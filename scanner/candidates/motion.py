"""Proper motions: positions of a table moved to the epoch of the images that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import directions
from scanner.sources.tables.columns import Column

Floats = NDArray[np.float64]

PAIRS = (("pmra", "pmdec"), ("pmra", "pmde"), ("pm_ra", "pm_dec"))
"""Names of columns of proper motion, in any case: those of Gaia, SIMBAD and VizieR. That of RA has cos(dec) in it."""
REFERENCE = "ref_epoch"
"""The column of the epoch of each position, in Julian years."""
FASTEST = 10.5
"""Arcsec a year: Barnard's star moves by 10.4."""
_EARLIEST, _LATEST = 1800.0, 2100.0
_MAS = 3.6e6  # in a degree


@dataclass(frozen=True)
class Motion:
    """How to move positions: to the year ``epoch``, from that of each row or from ``reference``, if that is given."""

    ra: str
    dec: str
    epoch: float
    reference: float | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return (self.ra, self.dec) if self.reference is not None else (self.ra, self.dec, REFERENCE)

    @property
    def reach(self) -> float:
        """The farthest that a star may have moved, in degrees; of an unknown reference, since 1950."""
        years = abs(self.epoch - (1950.0 if self.reference is None else self.reference))
        return FASTEST * years / 3600

    def move(self, ra: Floats, dec: Floats, columns: Sequence[Column]) -> tuple[Floats, Floats, int]:
        """Move positions [N] in degrees ICRS; also count those that have no proper motion, which stay.

        Source: ESA 1997, The Hipparcos and Tycho Catalogues, vol. 1, section 1.5.5, without parallax and radial
        velocity, which move no star by a milliarcsec within decades.

        Raises:
            ScannerError: ``sources.bad_unit``, ``crossmatch.bad_epoch``, ``column.not_numbers``.
        """
        there = {one.name.strip().lower(): one for one in columns}
        speed_ra, speed_dec = (_per_year(there[name]) for name in (self.ra, self.dec))
        if self.reference is not None:
            years = np.full(len(ra), self.epoch - self.reference)
        else:
            epochs = _numbers(there[REFERENCE])
            check_epochs(epochs[np.isfinite(ra) & np.isfinite(dec)], REFERENCE)
            years = self.epoch - epochs
        known = np.isfinite(speed_ra) & np.isfinite(speed_dec)
        angle = np.radians(np.where(known, [speed_ra, speed_dec], 0.0) / _MAS) * years
        lon, lat = np.radians(ra), np.radians(dec)
        east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)], axis=-1)
        north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
        moved = directions(ra, dec) + angle[0][:, None] * east + angle[1][:, None] * north
        x, y, z = moved.T
        there_ra, there_dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
        return there_ra, there_dec, int(np.count_nonzero(~known & np.isfinite(ra)))


def find_motion(
    names: Sequence[str], source: str, epoch: float | None, reference: float | None, as_it_is: bool
) -> Motion | None:
    """Decide how the positions of a table with these columns are moved; None: not at all.

    Raises:
        ScannerError: ``crossmatch.bad_epoch`` where proper motions are there and an epoch is missing,
            ``crossmatch.no_motion`` where an epoch is given and they are not.
    """
    there = {name.strip().lower() for name in names}
    pair = next((pair for pair in PAIRS if set(pair) <= there), None)
    given = [one for one in (epoch, reference) if one is not None]
    check_epochs(np.array(given), "--epoch")
    if pair is None:
        if given:
            hint = "Leave the epochs out: the positions are then matched as they are."
            message = f"{source} has no columns of proper motion ({', '.join('/'.join(one) for one in PAIRS)})."
            raise ScannerError(ErrorCode.CROSSMATCH_NO_MOTION, message, hint)
        return None
    if as_it_is:
        return None
    if epoch is None:
        hint = "Give --epoch, the year of the images, or --ignore-motion."
        raise ScannerError(ErrorCode.CROSSMATCH_BAD_EPOCH, f"{source} has proper motions ({', '.join(pair)}).", hint)
    if reference is None and REFERENCE not in there:
        hint = "Give --table-epoch: 2016.0 for Gaia DR3, 2000.0 for SIMBAD."
        raise ScannerError(ErrorCode.CROSSMATCH_BAD_EPOCH, f"{source} has no column {REFERENCE}.", hint)
    return Motion(*pair, epoch, reference)


def check_epochs(epochs: Floats, what: str) -> None:
    """Refuse what is no Julian year, such as a Julian date.

    Raises:
        ScannerError: ``crossmatch.bad_epoch``.
    """
    wrong = ~((epochs >= _EARLIEST) & (epochs <= _LATEST))
    if wrong.any():
        message = f"{what} has {epochs[wrong][0]}, which is not a year between {_EARLIEST:g} and {_LATEST:g}."
        raise ScannerError(ErrorCode.CROSSMATCH_BAD_EPOCH, message, "Give Julian years, such as 2016.0.")


def _per_year(column: Column) -> Floats:
    """Proper motions in milliarcsec a year; without a unit they are, as in every archive that these names are from.

    Raises:
        ScannerError: ``sources.bad_unit``, ``column.not_numbers``.
    """
    values = _numbers(column)
    if not column.unit.strip():
        return values
    from astropy import units

    try:
        factor = units.Unit(column.unit.strip()).to(units.mas / units.yr)
    except (ValueError, TypeError) as error:
        message = f"The column {column.name} is in {column.unit!r}, which is not an angle a time."
        raise ScannerError(ErrorCode.SOURCES_BAD_UNIT, message, "Correct the unit, or give mas/yr.") from error
    return np.asarray(values * factor)


def _numbers(column: Column) -> Floats:
    if column.is_text or column.problem:
        message = f"The column {column.name} does not hold one number for each object."
        raise ScannerError(ErrorCode.COLUMN_NOT_NUMBERS, message, "Leave the cell empty where nothing is known.")
    return np.asarray(column.values, np.float64)

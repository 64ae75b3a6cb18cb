"""Names of objects: truncated, and whole where a number of degrees stands a little below its digit."""

from __future__ import annotations

import pytest
from astropy.coordinates import Angle
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.names import check_acronym, iau_name


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (194.0567371, 56.0333167, "J125613.61+560159.9"),
        (0.0, 0.0, "J000000.00+000000.0"),
        (359.99999999, -0.00001, "J235959.99-000000.0"),
        (15 * (1 + 59 / 60 + 59.999 / 3600), 89.99999, "J015959.99+895959.9"),
        (360.0, -90.0, "J000000.00-900000.0"),
        (-0.1, 5.0, "J235936.00+050000.0"),
    ],
)
def test_digits_are_dropped(ra: float, dec: float, name: str) -> None:
    assert iau_name(ra, dec) == name
    assert iau_name(ra, dec, "UNIONS") == f"UNIONS {name}"


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 5999), st.integers(-89, 89), st.integers(0, 599))
def test_a_position_of_few_digits_keeps_them(hour: int, minute: int, hundredths: int, degree: int, tenths: int) -> None:
    """Its number of degrees may lie a last bit below what was written."""
    second, arcsec = f"{hundredths / 100:05.2f}", f"{tenths / 10:04.1f}"
    ra = float(Angle(f"{hour}h{minute}m{second}s").deg)
    sign = "-" if degree < 0 else "+"
    dec = float(Angle(f"{sign}{abs(degree)}d10m{arcsec}s").deg)
    assert iau_name(ra, dec) == f"J{hour:02d}{minute:02d}{second}{sign}{abs(degree):02d}10{arcsec}"


@pytest.mark.parametrize(("ra", "dec"), [(float("nan"), 0.0), (10.0, 91.0), (-999.0, 5.0)])
def test_a_place_off_the_sky_has_no_name(ra: float, dec: float) -> None:
    with pytest.raises(ValueError, match="not a position"):
        iau_name(ra, dec)


@pytest.mark.parametrize("text", ["lower", "A", "WITH BLANK", "X" * 30, "É1"])
def test_an_acronym_is_a_word(text: str) -> None:
    with pytest.raises(ScannerError) as error:
        check_acronym(text)
    assert error.value.code == ErrorCode.RELEASE_BAD_OPTION

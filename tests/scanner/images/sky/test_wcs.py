"""World coordinates: ICRS from any header that says where its pixels are, a refusal by the card from any other."""

from __future__ import annotations

import ctypes
import math
import re
from pathlib import Path
from warnings import catch_warnings, simplefilter

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import (
    FK4,
    FK5,
    ICRS,
    BarycentricMeanEcliptic,
    BaseCoordinateFrame,
    FK4NoETerms,
    Galactic,
    SkyCoord,
    Supergalactic,
)
from astropy.io import fits
from astropy.wcs import WCS

from catalogs.errors import ScannerError
from scanner.images.sky.wcs import CelestialWCS, measure_pixel_scale, read_wcs

SIDE = 300
SCALE = 0.2 / 3600
X, Y = np.array([3.0, 149.5, 296.0, 40.5]), np.array([7.0, 149.5, 250.0, 298.0])
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_0_2": -2e-5}
TPV = {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_2": 0.0, "PV1_4": 0.5, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_6": -0.5}


def header(ra: float = 150.0, dec: float = 20.0, without: tuple[str, ...] = (), **cards: object) -> fits.Header:
    """A tangent plane of 300 px a side with its middle at ``ra``, ``dec``."""
    made = fits.Header()
    made.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"})
    made.update({"CRVAL1": ra, "CRVAL2": dec, "CRPIX1": (SIDE + 1) / 2, "CRPIX2": (SIDE + 1) / 2})
    made.update({"CD1_1": -SCALE, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE})
    made.update(cards)
    for card in without:
        del made[card]
    return made


def projected(code: str, **cards: object) -> fits.Header:
    return header(CTYPE1=f"RA---{code}", CTYPE2=f"DEC--{code}", **cards)


def read(made: fits.Header) -> CelestialWCS:
    return read_wcs(made, (SIDE, SIDE), Path("r.fits"))


def refusal(made: fits.Header) -> str:
    with pytest.raises(ScannerError) as refused:
        measure_pixel_scale(read(made), (SIDE, SIDE), Path("r.fits"))
    assert refused.value.code == "tile.no_wcs"
    assert refused.value.message.startswith("r.fits has no usable world coordinates: ")
    assert ".c:" not in refused.value.message, "the line of a C file"
    return refused.value.message


def away(wcs: CelestialWCS, right: SkyCoord) -> float:
    """Arcsec between the positions of the test's pixels and the right ones."""
    ra, dec = wcs.pixels_to_sky(X, Y)
    assert ((ra >= 0) & (ra < 360)).all()
    return float(SkyCoord(ra, dec, unit="deg").separation(right.icrs).arcsec.max())


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({}, ICRS()),
        ({"RADESYS": "ICRS", "EQUINOX": 2000.0}, ICRS()),
        ({"RADESYS": "icrs"}, ICRS()),
        ({"EQUINOX": 2000.0}, FK5(equinox="J2000")),
        ({"EQUINOX": "J2000.0"}, FK5(equinox="J2000")),
        ({"RADESYS": "FK5"}, FK5(equinox="J2000")),
        ({"RADESYS": "fk5", "EQUINOX": 2015.5}, FK5(equinox="J2015.5")),
        ({"RADECSYS": "FK5"}, FK5(equinox="J2000")),
        ({"RADECSYS": "FK5", "RADESYS": "ICRS"}, ICRS()),
        ({"RADECSYS": "FK5", "RADESYS": ""}, FK5(equinox="J2000")),
        ({"EQUINOX": 1950.0}, FK4(equinox="B1950")),
        ({"EQUINOX": "B1950"}, FK4(equinox="B1950")),
        ({"EPOCH": 1950.0}, FK4(equinox="B1950")),
        ({"RADESYS": "FK4"}, FK4(equinox="B1950")),
        ({"RADESYS": "FK4", "EQUINOX": 1975.0}, FK4(equinox="B1975")),
        ({"RADESYS": "FK4-NO-E", "EQUINOX": 1950.0}, FK4NoETerms(equinox="B1950")),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, Galactic()),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADESYS": "FK4"}, Galactic()),
        ({"CTYPE1": "SLON-TAN", "CTYPE2": "SLAT-TAN"}, Supergalactic()),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, BarycentricMeanEcliptic()),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "EQUINOX": 2015.5}, BarycentricMeanEcliptic(equinox="J2015.5")),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_positions_are_icrs_in_any_frame_and_any_order_of_axes(
    cards: dict[str, object], frame: BaseCoordinateFrame, swapped: bool
) -> None:
    made = header(**cards)
    if swapped:
        for first, second in (("CTYPE1", "CTYPE2"), ("CRVAL1", "CRVAL2"), ("CD1_1", "CD2_2")):
            made[first], made[second] = made[second], made[first]
    wcs = read(made)
    with catch_warnings():
        simplefilter("ignore")  # old spellings
        native = WCS(made).wcs_pix2world(X, Y, 0)
    lon, lat = native[::-1] if swapped else native
    assert away(wcs, SkyCoord(lon, lat, unit="deg", frame=frame)) < 1e-4
    x, y = wcs.sky_to_pixels(*wcs.pixels_to_sky(X, Y))
    np.testing.assert_allclose((x, y), (X, Y), atol=1e-4)


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ({"RADESYS": "GAPPT"}, "RADESYS is 'GAPPT'"),
        ({"RADESYS": "J2000"}, "RADESYS is 'J2000'"),
        ({"RADESYS": 5}, "RADESYS is 5"),
        ({"RADESYS": "ICRS", "EQUINOX": 1950.0}, "EQUINOX is 1950.0, but RADESYS is ICRS"),
        ({"EQUINOX": "today"}, "EQUINOX is 'today'"),
        ({"EQUINOX": True}, "EQUINOX is True"),
        ({"EQUINOX": 2451545.0}, "EQUINOX is 2451545.0"),
        ({"EPOCH": 2015.5}, "EPOCH is 2015.5"),
        ({"CTYPE1": "HLON-TAN", "CTYPE2": "HLAT-TAN"}, "'HLON' of CTYPE1"),
        ({"CTYPE1": "TLON-TAN", "CTYPE2": "TLAT-TAN"}, "'TLON' of CTYPE1"),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "RADESYS": "FK4"}, "RADESYS is 'FK4'"),
    ],
)
def test_a_frame_that_is_unknown_or_contradicts_itself_is_refused_by_its_card(
    cards: dict[str, object], said: str
) -> None:
    assert said in refusal(header(**cards))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        *((header(without=(card,)), f"{card} is missing") for card in ("CTYPE1", "CTYPE2", "CRVAL2", "CRPIX2")),
        (header(without=("CD1_1", "CD1_2", "CD2_1", "CD2_2")), "CDELT1 is missing"),
        (header(CTYPE1=1.0), "CTYPE1 is 1.0, which is no text"),
        (header(CTYPE1="LINEAR", CTYPE2="LINEAR"), "CTYPE1 is 'LINEAR'"),
        (header(CTYPE1="ra---tan", CTYPE2="dec--tan"), "CTYPE1"),
        (header(CTYPE1="GLON-TAN"), "CTYPE2"),
        (header(CTYPE2="DEC--SIN"), "CTYPE2"),
        (projected("XYZ"), "XYZ in CTYPE1"),
        (projected("TNX"), "CTYPE1 is 'RA---TNX'"),
        (projected("ZPN"), "RA---ZPN"),
        (header(CRVAL1="150.0"), "CRVAL1 is '150.0'"),
        (header(CRVAL2=96.0), "CRVAL2 96.0"),
        (header(LONPOLE="north"), "LONPOLE is 'north'"),
        (header(LONPOLE=999.0), "LONPOLE is 999.0"),
        (header(PV1_1="a"), "PV1_1 is 'a'"),
        (header(PV1_1=90.0), "PV1_1 of a TAN projection"),
        (header(WCSAXES="two"), "WCSAXES is 'two'"),
        (header(CD1_1=0.0), "CD, or PC and CDELT"),
        (header(PC1_1=2.0), "CD1_1 is"),
        (header(CRPIX2=1e26), "CRPIX"),
        (projected("SIN", CRPIX1=400 / SCALE), "CRPIX"),
        (projected("CSC", CRPIX1=100 / SCALE), "CRPIX"),
        (header(CD1_1=-2.0, CD2_2=2.0), 'its pixels would be 7200.0" wide, by CD or CDELT'),
        (header(CPDIS1="LOOKUP"), "CPDIS1"),
        (header(D2IMDIS1="LOOKUP"), "D2IMDIS1"),
        (header(CUNIT1="hourangle"), "CUNIT1 is 'hourangle'"),
        (header(CUNIT2="pixel"), "CUNIT2 is 'pixel'"),
        (header(**{**SIP, "CTYPE2": "DEC--TAN"}), "CTYPE1 and CTYPE2"),
        (header(**SIP, without=("B_ORDER",)), "A_ORDER has no B_ORDER"),
        (header(**{**SIP, "B_ORDER": 1, "B_0_2": 0.0}), "B_ORDER is 1"),
        (header(**SIP, A_1_2=1e-7), "A_1_2 is beyond A_ORDER, which is 2"),
        (header(**{**SIP, "A_ORDER": "many"}), "A_ORDER is 'many'"),
        (header(**{**SIP, "A_2_0": "x"}), "A_2_0 is 'x'"),
        (header(**SIP, PV1_4=0.1), "PV1_4 stands beside the SIP distortion"),
    ],
)
def test_a_broken_header_is_refused_by_its_card(made: fits.Header, said: str) -> None:
    assert said in refusal(made)


@pytest.mark.parametrize(
    ("card", "value", "other"), [("CRVAL2", 20.0, 30.0), ("CTYPE1", "RA---TAN", "GLON-TAN"), ("RADESYS", "FK4", "FK5")]
)
def test_a_card_that_stands_twice_with_two_values_is_refused(card: str, value: object, other: object) -> None:
    made = header(**{card: value})
    made.append((card, value), end=True)
    read(made)
    made.append((card, other), end=True)
    assert f"{card} stands twice, as {value} and as {other}" in refusal(made)


@pytest.mark.parametrize("unit", ["Degrees", "degree", "DEG", "DEGREES", "deg", "", "arcsec", "ARCSEC", "Radians"])
def test_units_of_axes_are_what_archives_mean(unit: str) -> None:
    factor = {"a": 3600.0, "r": np.pi / 180}.get(unit[:1].lower(), 1.0)
    cards = {card: header()[card] * factor for card in ("CRVAL1", "CRVAL2", "CD1_1", "CD2_2")}
    wcs = read(header(CUNIT1=unit, CUNIT2=unit, **cards))
    assert away(wcs, SkyCoord(*read(header()).pixels_to_sky(X, Y), unit="deg")) < 1e-6
    assert measure_pixel_scale(wcs, (SIDE, SIDE), Path("r.fits")) == pytest.approx(0.2, rel=1e-9)


@pytest.mark.parametrize("ra", [-150.0, 0.0, -1e-14, 210.0, 359.9999, 570.0])
def test_right_ascensions_are_within_0_and_360(ra: float) -> None:
    wcs = read(header(ra=ra))
    assert away(wcs, SkyCoord(*WCS(header(ra=ra % 360)).all_pix2world(X, Y, 0), unit="deg")) < 1e-6
    x, y = wcs.sky_to_pixels([ra, ra + 360, ra - 360], [20.0] * 3)
    np.testing.assert_allclose((x, y), 149.5, atol=1e-6)


ANYWHERE = {
    "TAN": {},
    "SIN": {},
    "STG": {},
    "ARC": {},
    "ZEA": {},
    "ZPN": {"PV2_1": 1.0, "PV2_3": -50.0},
    "TPV": TPV,
    "TAN-SIP": {card: value for card, value in SIP.items() if not card.startswith("CTYPE")},
    "CAR": {},
    "CEA": {"PV2_1": 1.0},
    "MER": {},
    "SFL": {},
    "AIT": {},
    "MOL": {},
    "COE": {"PV2_1": 45.0},
    "HPX": {},
    "TSC": {},
}


@pytest.mark.parametrize("code", ANYWHERE)
@pytest.mark.parametrize("far", [0.0, 60.0])
def test_only_what_an_image_shows_has_a_pixel_of_it(code: str, far: float) -> None:
    """Wherever the reference point lies, and whatever the projection does with the rest of the sky."""
    cards = {"CRVAL1": 0.0, "CRVAL2": 0.0} if far else {}
    made = projected(code, **cards, **ANYWHERE[code])
    if far and code in ("CAR", "CEA", "MER", "SFL", "AIT", "MOL", "HPX", "ARC", "ZEA", "STG", "TSC"):
        made["CRPIX1"] += far / SCALE
    wcs = read(made)
    ra, dec = wcs.pixels_to_sky(X, Y)
    np.testing.assert_allclose(wcs.sky_to_pixels(ra, dec), (X, Y), atol=2e-3)
    # A million positions a degree and more from the image, and those on the other side of the sky.
    rng = np.random.default_rng(5)
    all_ra, all_dec = rng.uniform(0, 360, 100_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 100_000)))
    all_ra, all_dec = np.append(all_ra, ra + 180), np.append(all_dec, -dec)
    middle = SkyCoord(*wcs.pixels_to_sky(149.5, 149.5), unit="deg")
    elsewhere = middle.separation(SkyCoord(all_ra, all_dec, unit="deg")).deg > 1
    x, y = wcs.sky_to_pixels(all_ra[elsewhere], all_dec[elsewhere])
    assert not ((np.abs(x - 149.5) < SIDE) & (np.abs(y - 149.5) < SIDE)).any()


def test_what_is_no_position_has_no_pixel_and_harms_no_other() -> None:
    for made in (header(), header(**SIP), header(RADESYS="FK4")):
        wcs = read(made)
        ra, dec = wcs.pixels_to_sky([10.0], [20.0])
        x, y = wcs.sky_to_pixels([ra[0], ra[0], np.nan, ra[0], np.inf], [dec[0], 95.0, dec[0], np.nan, dec[0]])
        np.testing.assert_allclose((x[0], y[0]), (10, 20), atol=1e-3)
        assert np.isnan((x[1:], y[1:])).all()


@pytest.mark.parametrize("turn", [150.0, 210.0, 300.0, -150.0, -210.0])
@pytest.mark.parametrize("code", ["CAR", "MER"])
def test_a_cylinder_is_read_on_both_sides_of_its_seam(code: str, turn: float) -> None:
    """A map that begins at its reference point goes on beyond 180 degrees of native longitude."""
    wcs = read(projected(code, CRVAL1=0.0, CRVAL2=0.0, CRPIX1=turn / SCALE + 150.5, CRPIX2=-30 / SCALE + 150.5))
    ra, _ = wcs.pixels_to_sky(149.5, 149.5)
    assert ra == pytest.approx(turn % 360)
    np.testing.assert_allclose(wcs.sky_to_pixels(*wcs.pixels_to_sky(X, Y)), (X, Y), atol=1e-3)


def test_the_pixel_scale_is_that_of_the_image_and_not_of_a_far_reference_point() -> None:
    """In a plate carree 60 degrees from the equator, pixels are half as wide as at its reference point."""
    far = read(projected("CAR", CRVAL1=150.0, CRVAL2=0.0, CRPIX2=-60 / SCALE + 150.5))
    assert measure_pixel_scale(far, (SIDE, SIDE), Path("r.fits")) == pytest.approx(0.2 * np.sqrt(0.5), rel=1e-3)
    assert measure_pixel_scale(read(header()), (SIDE, SIDE), Path("r.fits")) == pytest.approx(0.2, rel=1e-12)


def test_sip_is_applied_with_its_suffix_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """By the convention; astropy applies it in any case, and writes a paragraph to standard output."""
    linear = SkyCoord(*read(header()).pixels_to_sky(X, Y), unit="deg")
    without = read(header(**{**SIP, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}))
    assert away(without, linear) == 0
    assert without.notes == ("r.fits: CTYPE has no suffix -SIP, so that the SIP coefficients are not applied.",)
    empty = read(header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP"))
    assert away(empty, linear) == 0
    assert "there are no SIP coefficients" in empty.notes[0]
    applied = read(header(**SIP))
    assert away(applied, SkyCoord(*WCS(header(**SIP)).all_pix2world(X, Y, 0), unit="deg")) == 0
    assert away(applied, linear) > 0.05
    assert applied.notes == ()
    assert capfd.readouterr().out == ""


def test_pv_cards_on_a_tangent_plane_are_those_of_scamp() -> None:
    tpv = SkyCoord(*read(projected("TPV", **TPV)).pixels_to_sky(X, Y), unit="deg")
    as_scamp_writes = read(header(**TPV))
    assert away(as_scamp_writes, tpv) == 0
    assert away(as_scamp_writes, SkyCoord(*read(header()).pixels_to_sky(X, Y), unit="deg")) > 0.01
    assert "taken as a TPV distortion" in as_scamp_writes.notes[0]


@pytest.mark.parametrize("absent", [("PV1_1",), ("PV2_1",), ("PV1_1", "PV2_1"), tuple(TPV)])
def test_a_linear_term_that_a_tpv_distortion_lacks_is_1(absent: tuple[str, ...]) -> None:
    rest = {card: value for card, value in TPV.items() if card not in absent}
    complete = SkyCoord(
        *read(projected("TPV", **(rest | {"PV1_1": 1.0, "PV2_1": 1.0}))).pixels_to_sky(X, Y), unit="deg"
    )
    assert away(read(projected("TPV", **rest)), complete) == 0


@pytest.mark.parametrize(
    ("cards", "note"),
    [
        ({"RADESYS": "ICRS", "RADECSYS": "FK5"}, "RADESYS is ICRS, so that RADECSYS FK5 is ignored."),
        ({"EPOCH": 2000.0}, "EPOCH 2000.0 is taken as the equinox, for want of EQUINOX."),
        ({"RADESYS": "ICRS", "EPOCH": 2015.5}, ""),
    ],
)
def test_what_is_taken_by_a_convention_is_noted(cards: dict[str, object], note: str) -> None:
    assert read(header(**cards)).notes == ((f"r.fits: {note}",) if note else ())


def test_pc_cards_that_repeat_the_cd_cards_are_read() -> None:
    """As SDSS frames that went through other programs have them."""
    repeated = {card.replace("CD", "PC"): header()[card] for card in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")}
    wcs = read(header(**repeated, CDELT1=1.0, CDELT2=1.0))
    assert away(wcs, SkyCoord(*read(header()).pixels_to_sky(X, Y), unit="deg")) == 0


def test_a_part_of_an_image_keeps_frame_and_axes() -> None:
    whole = read(header(CTYPE1="GLAT-TAN", CTYPE2="GLON-TAN", CRVAL1=20.0, CRVAL2=150.0))
    part = whole.slice((slice(30, 90), slice(20, 70)))
    np.testing.assert_allclose(part.pixels_to_sky(X - 20, Y - 30), whole.pixels_to_sky(X, Y), rtol=1e-12)


def test_one_module_decides_what_a_wcs_means() -> None:
    """astropy's methods speak of the axes of a header, in whatever frame and order."""
    calls = re.compile(r"\b(all|wcs)_(pix2world|world2pix)\(|\.(pixel_to_world|world_to_pixel)\w*\(")
    root = Path(__file__).parents[4]
    packages = ("catalogs", "scanner", "training", "export", "bench", "studies", "tools")
    sources = [path for package in packages for path in (root / package).rglob("*.py")]
    assert len(sources) > 100
    users = [path.relative_to(root).as_posix() for path in sources if calls.search(path.read_text(encoding="utf-8"))]
    assert users == ["scanner/images/sky/wcs.py"]


@pytest.mark.parametrize("cards", [{}, {"NAXIS": 2, "NAXIS1": 5, "NAXIS2": 5, "NAXIS3": -(2**31)}, {"NAXIS1": -3}])
def test_a_part_of_an_image_is_where_it_was_whatever_sizes_the_header_says(cards: dict[str, int]) -> None:
    wcs = read_wcs(header(**cards), (SIDE, SIDE), Path("image.fits"))
    part = wcs.slice((slice(40, 80), slice(100, 250)))
    np.testing.assert_allclose(part.pixels_to_sky(X - 100, Y - 40), wcs.pixels_to_sky(X, Y), rtol=0, atol=1e-10)


@pytest.mark.parametrize("angle", [0.0, 37.0, 200.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_compass_points_where_positions_increase(angle: float, mirrored: bool) -> None:
    c, s = math.cos(math.radians(angle)) * SCALE, math.sin(math.radians(angle)) * SCALE
    sign = 1 if mirrored else -1
    wcs = read(header(dec=62.0, CD1_1=sign * c, CD1_2=s, CD2_1=-sign * s, CD2_2=c))
    compass = wcs.compass(40.0, 200.0)
    assert compass is not None
    ra, dec = wcs.pixels_to_sky(40.0, 200.0)
    for direction, moved in (
        (compass.north, SkyCoord(ra, dec, unit="deg").directional_offset_by(0, 1e-3 * u.deg)),
        (compass.east, SkyCoord(ra, dec, unit="deg").directional_offset_by(90 * u.deg, 1e-3 * u.deg)),
    ):
        x, y = wcs.sky_to_pixels(moved.ra.deg, moved.dec.deg)
        step = np.array([x - 40, y - 200])
        np.testing.assert_allclose(direction, step / np.linalg.norm(step), atol=1e-5)


def test_a_pole_and_what_is_off_the_sky_have_no_compass() -> None:
    assert read(header(dec=90.0)).compass((SIDE - 1) / 2, (SIDE - 1) / 2) is None
    assert read(projected("AIT", CD1_1=-0.5, CD2_2=0.5)).compass(-1e4, 0.0) is None


class _Heap(ctypes.Structure):
    """What glibc says of its heap; ``used`` is in bytes."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", *"abcdef", "used", "free", "top")]


def test_positions_leave_no_memory_behind() -> None:
    """wcslib 8.6 keeps 48 bytes of each copy of a WCS: positions and scales must not copy it."""
    try:
        mallinfo = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        pytest.skip("needs glibc 2.33 to count bytes")
    mallinfo.restype = _Heap
    wcs, shape = read_wcs(header(), (SIDE, SIDE), Path("image.fits")), (SIDE, SIDE)

    def call(times: int) -> int:
        for _ in range(times):
            wcs.sky_to_pixels(*wcs.pixels_to_sky(X, Y))
            measure_pixel_scale(wcs, shape, Path("image.fits"))
        return int(mallinfo().used)

    before = call(100)  # what is made once
    assert call(1000) - before < 5000

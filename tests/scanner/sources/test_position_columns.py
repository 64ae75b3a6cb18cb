"""Which columns of a table are its positions, in which unit and frame; and what is refused because it is open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.io.votable import from_table, tree
from astropy.table import Table
from pyarrow import parquet

from catalogs.errors import ErrorCode, ScannerError
from scanner.sources.position_files import read_positions

PLACES = SkyCoord([210.0, 209.5, 359.75], [56.0, -5.25, 0.5], unit="deg")
RA, DEC = PLACES.ra.degree, PLACES.dec.degree


def refused(path: Path, *words: str) -> ErrorCode:
    with pytest.raises(ScannerError) as caught:
        read_positions(path)
    assert str(path) in caught.value.message
    for word in words:
        assert word in caught.value.message
    assert caught.value.hint
    return caught.value.code


def write_fits(path: Path, unit: str, ra: np.ndarray, names: tuple[str, str] = ("RA", "DEC")) -> Path:
    columns = [fits.Column(names[0], "D", unit=unit, array=ra), fits.Column(names[1], "D", unit="deg", array=DEC)]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


@pytest.mark.parametrize(
    ("unit", "degrees"),
    [
        *((unit, 1.0) for unit in ("", "deg", "degrees", "DEG", "'deg'", "Degree", "d", "---")),
        *((unit, 15.0) for unit in ("h", "hr", "hour", "Hours", "hourangle", "hms")),
        ("rad", np.degrees(1)),
        ("radians", np.degrees(1)),
        ("arcmin", 1 / 60),
        ("ARCSEC", 1 / 3600),
        ("mas", 1 / 3.6e6),
    ],
)
def test_units_of_angles_are_understood(unit: str, degrees: float, tmp_path: Path) -> None:
    read = read_positions(write_fits(tmp_path / "a.fits", unit, RA / degrees))
    np.testing.assert_allclose(read.first, RA, rtol=1e-12)
    np.testing.assert_array_equal(read.second, DEC)


@pytest.mark.parametrize("unit", ["pix", "m", "s", "min", "day", "mag", "deg2", "1/deg", "as", "banana", "count"])
def test_what_is_no_unit_of_an_angle_is_refused(unit: str, tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits", unit, RA)
    assert refused(path, "column RA", repr(unit)) == ErrorCode.SOURCES_BAD_UNIT


def test_declination_does_not_count_in_hours(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ra [deg],dec [h]\n1,2\n")
    assert refused(path, "dec [h]") == ErrorCode.SOURCES_BAD_UNIT


@pytest.mark.parametrize("names", ["ra [rad],dec", "ra,dec [arcmin]", "X_WORLD [mas],Y_WORLD"])
def test_an_angle_without_a_unit_beside_one_that_is_in_no_degrees_is_refused(names: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{names}\n1,2\n")
    assert refused(path, "has no unit") == ErrorCode.SOURCES_BAD_UNIT
    path.write_text("ra [h],dec\n1,2\n")
    assert (read_positions(path).first, read_positions(path).second) == (15.0, 2.0)


def test_pixels_are_not_angles(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits", "deg", RA, ("X_IMAGE", "Y_IMAGE"))
    assert refused(path, "X_IMAGE", "deg") == ErrorCode.SOURCES_BAD_UNIT
    (tmp_path / "b.csv").write_text("x [pix],y [pixels]\n1,2\n")
    assert not read_positions(tmp_path / "b.csv").on_sky


SKY = """
RA DEC, Ra De, ra_deg dec_deg, RAdeg DEdeg, RAJ2000 DEJ2000, _RAJ2000 _DEJ2000, RA_ICRS DE_ICRS, _RA _DE,
RA2000 DEC2000, _RA_icrs _DE_icrs, _RA.icrs _DE.icrs, ra_j2000 dec_j2000, raMean decMean, TARGET_RA TARGET_DEC,
RIGHT_ASCENSION DECLINATION, s_ra s_dec, coord_ra coord_dec, ALPHA_J2000 DELTA_J2000, ALPHAWIN_J2000 DELTAWIN_J2000,
ALPHAPEAK_J2000 DELTAPEAK_J2000,
ALPHA_SKY DELTA_SKY, ALPHAWIN_SKY DELTAWIN_SKY, X_WORLD Y_WORLD, XWIN_WORLD YWIN_WORLD, XPEAK_WORLD YPEAK_WORLD,
XPSF_WORLD YPSF_WORLD
"""


@pytest.mark.parametrize("names", SKY.split(","))
def test_names_of_the_sky(names: str, tmp_path: Path) -> None:
    """They win over pixels that stand before them."""
    path = tmp_path / "a.csv"
    path.write_text(f"X_IMAGE,Y_IMAGE,{','.join(names.split())}\n7,8,210,56\n")
    read = read_positions(path)
    assert (read.on_sky, read.first.tolist(), read.second.tolist()) == (True, [210], [56])


@pytest.mark.parametrize(
    ("names", "origin"), [("XPEAK_IMAGE,YPEAK_IMAGE", 1), ("Xpos,Ypos", 1), ("xcentroid,ycentroid", 0)]
)
def test_names_of_pixels(names: str, origin: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{names}\n7,8\n")
    read = read_positions(path)
    assert (read.on_sky, read.first.tolist(), read.second.tolist()) == (False, [7 - origin], [8 - origin])


def test_numbers_are_taken_before_text(tmp_path: Path) -> None:
    """As VizieR writes them: text in the catalogue's columns, and numbers that it computed."""
    path = tmp_path / "a.csv"
    path.write_text("RAJ2000,DEJ2000,_RAJ2000,_DEJ2000\n00 00 01,+00 00 01,210,56\n")
    assert read_positions(path).first.tolist() == [210]
    path.write_text("RAJ2000,DEJ2000,GLON,GLAT\n14 00 00,+56 00 00,1.0,2.0\n")
    assert read_positions(path).first.tolist() == [pytest.approx(210)]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("ra,RA,dec\n1,2,3\n", ErrorCode.SOURCES_AMBIGUOUS, ("2 columns ra", "ra, RA")),
        ("ra,ra,dec\n1,2,3\n", ErrorCode.SOURCES_AMBIGUOUS, ("2 columns ra",)),
        ("ra [h],ra [deg],dec\n1,2,3\n", ErrorCode.SOURCES_AMBIGUOUS, ("ra [h], ra [deg]",)),
        ("coord_ra,coord_dec\n1,1\n", ErrorCode.SOURCES_BAD_UNIT, ("coord_ra", "no unit")),
        ("l,b\n210,56\n", ErrorCode.SOURCES_BAD_UNIT, ("no unit",)),
        ("RAJ2000 (B1950),DEJ2000 (B1950)\n1,1\n", ErrorCode.SOURCES_AMBIGUOUS, ("frame", "J2000", "FK4 B1950")),
        ("ra,dec\n210:00:00,5:00:00\n", ErrorCode.SOURCES_NO_POSITIONS, ("column ra", "numeric", "range")),
        ("ra,dec\n1,abc\n2,3\n", ErrorCode.SOURCES_NO_POSITIONS, ("column dec", "numeric", "'abc'", "line 2")),
        ("ra,dec\n1_0,3\n", ErrorCode.SOURCES_NO_POSITIONS, ("column ra", "numeric", "'1_0'")),
        ("ra,dec\n14:00:00,3\n210.5,3\n", ErrorCode.SOURCES_NO_POSITIONS, ("column ra", "numeric", "'14:00:00'")),
        ("ra;dec\n1,5;2\n1.5;3\n", ErrorCode.SOURCES_NO_POSITIONS, ("decimal points and decimal commas",)),
        ("ra,magnitude\n1,2\n", ErrorCode.SOURCES_NO_POSITIONS, ("ra, magnitude",)),
    ],
)
def test_what_is_open_is_refused(text: str, code: ErrorCode, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert refused(path, *words) == code


def test_degrees_that_are_no_radians_need_no_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("coord_ra,coord_dec\n1,1\n6.5,1\n")
    assert read_positions(path).first.tolist() == [1, 6.5]


@pytest.mark.parametrize("width", [0, 2, 3])
def test_columns_of_several_numbers_a_row_are_refused(width: int, tmp_path: Path) -> None:
    columns = [fits.Column("RA", f"{width}D", array=np.zeros((3, width))), fits.Column("DEC", "D", array=DEC)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    assert refused(tmp_path / "a.fits", "column RA", f"{width} numbers") == ErrorCode.SOURCES_NO_POSITIONS
    rows = {"ra": [[1.0] * width] * 3, "dec": DEC.tolist()}
    if width:
        Table(rows).write(tmp_path / "a.vot", format="votable")
        Table(rows).write(tmp_path / "a.ecsv")
        assert refused(tmp_path / "a.vot", "column ra") == ErrorCode.SOURCES_NO_POSITIONS
        assert refused(tmp_path / "a.ecsv", "column ra") == ErrorCode.SOURCES_NO_POSITIONS
        Table(rows).write(tmp_path / "a.parquet")
        assert refused(tmp_path / "a.parquet", "column ra") == ErrorCode.SOURCES_NO_POSITIONS


FRAMES = {
    "FK4 1950": (PLACES.fk4, "eq_FK4", "B1950"),
    "FK5 2000": (PLACES.fk5, "eq_FK5", "J2000"),
    "FK5 1975": (PLACES.transform_to(FK5(equinox="J1975")), "eq_FK5", "J1975"),
    "ICRS 1950": (PLACES, "ICRS", None),  # whose equinox means nothing
}


@pytest.mark.parametrize("frame", list(FRAMES))
@pytest.mark.parametrize("name", ["a.fits", "first.fits", "a.ecsv", "a.parquet", "a.vot", "vo.parquet"])
def test_the_frame_that_a_file_says_is_converted(frame: str, name: str, tmp_path: Path) -> None:
    places, system, equinox = FRAMES[frame]
    table = Table({"RA": places.ra.degree, "DEC": places.dec.degree})
    cards = {"RADESYS": frame.split()[0], "EQUINOX": float(frame.split()[1])}
    if name.endswith("fits"):
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table)])
        hdus[0 if name == "first.fits" else 1].header.update(cards)
        hdus.writeto(tmp_path / name)
    elif name in ("a.vot", "vo.parquet"):
        content = from_table(table)
        content.resources[0].coordinate_systems.append(tree.CooSys(ID="s", system=system, equinox=equinox))
        content.to_xml(str(tmp_path / "a.vot"))
        if name == "vo.parquet":  # which keeps a VOTable beside its columns
            described = {"IVOA.VOTable-Parquet.content": (tmp_path / "a.vot").read_text()}
            columns = pa.table({one: np.asarray(table[one]) for one in table.colnames})
            parquet.write_table(columns.replace_schema_metadata(described), tmp_path / name)
    else:
        table.meta.update(cards)
        table.write(tmp_path / name)
    read = read_positions(tmp_path / name)
    np.testing.assert_allclose(read.first, RA, atol=1e-9)
    np.testing.assert_allclose(read.second, DEC, atol=1e-9)


def test_the_coordinate_system_that_a_votable_refers_to_counts(tmp_path: Path) -> None:
    content = from_table(Table({"ra": PLACES.fk4.ra.degree, "dec": PLACES.fk4.dec.degree}))
    for name, system, equinox in (("new", "ICRS", None), ("old", "eq_FK4", "B1950")):
        content.resources[0].coordinate_systems.append(tree.CooSys(ID=name, system=system, equinox=equinox))
    content.to_xml(str(tmp_path / "open.vot"))
    assert refused(tmp_path / "open.vot", "frame", "ICRS or eq_FK4 B1950") == ErrorCode.SOURCES_AMBIGUOUS
    for field in content.get_first_table().fields:
        field.ref = "old"
    content.to_xml(str(tmp_path / "said.vot"))
    np.testing.assert_allclose(read_positions(tmp_path / "said.vot").first, RA, atol=1e-9)


def test_galactic_positions_are_converted(tmp_path: Path) -> None:
    lon, lat = PLACES.galactic.l.degree, PLACES.galactic.b.degree
    for number, names in enumerate(("GLON,GLAT", "l [deg],b [deg]")):
        path = tmp_path / f"{number}.csv"
        path.write_text(
            names + "\n" + "".join(f"{one:.12f},{other:.12f}\n" for one, other in zip(lon, lat, strict=True))
        )
        np.testing.assert_allclose(read_positions(path).first, RA, atol=1e-9)


@pytest.mark.parametrize("system", ["GALACTIC", "GALACTIC_I", "GAPPT", "FK6", "FK5 abcd"])
def test_frames_that_are_unknown_or_none_of_right_ascension_are_refused(system: str, tmp_path: Path) -> None:
    hdu = fits.BinTableHDU(Table({"RA": RA, "DEC": DEC}))
    hdu.header["RADESYS"], *equinox = system.split()
    if equinox:
        hdu.header["EQUINOX"] = equinox[0]
    hdu.writeto(tmp_path / "a.fits")
    assert refused(tmp_path / "a.fits", "frame", system.split()[0]) == ErrorCode.SOURCES_AMBIGUOUS


@pytest.mark.parametrize(("epoch", "old"), [(1950.0, True), (2000.0, False), (2015.5, False)])
def test_an_epoch_is_an_equinox_where_it_can_be_no_other(epoch: float, old: bool, tmp_path: Path) -> None:
    places = PLACES.fk4 if old else PLACES
    hdu = fits.BinTableHDU(Table({"RA": places.ra.degree, "DEC": places.dec.degree}))
    hdu.header["EPOCH"] = epoch
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(read_positions(tmp_path / "a.fits").first, RA, atol=1e-5)


def test_a_name_and_a_header_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    hdu = fits.BinTableHDU(Table({"ALPHA_J2000": RA, "DELTA_J2000": DEC}))
    hdu.header["RADESYS"], hdu.header["EQUINOX"] = "FK4", 1950.0
    hdu.writeto(tmp_path / "a.fits")
    assert refused(tmp_path / "a.fits", "FK4 1950.0", "J2000") == ErrorCode.SOURCES_AMBIGUOUS


def test_tables_of_the_same_columns_follow_each_other_and_others_are_refused(tmp_path: Path) -> None:
    sky, more = Table({"RA": RA, "DEC": DEC}), Table({"RA": RA, "DEC": DEC, "MAG": RA})
    pixels, none = Table({"X_IMAGE": RA, "Y_IMAGE": DEC}), Table({"MAG": RA})

    def write(name: str, *tables: Table) -> Path:
        fits.HDUList([fits.PrimaryHDU(), *map(fits.BinTableHDU, tables)]).writeto(tmp_path / name)
        return tmp_path / name

    read = read_positions(write("mosaic.fits", none, sky, sky, sky))
    assert (read.first.tolist(), read.parts) == ([*RA] * 3, 3)
    assert refused(write("other.fits", sky, more), "different columns") == ErrorCode.SOURCES_AMBIGUOUS
    assert refused(write("pixels.fits", pixels, pixels), "2 tables of pixels") == ErrorCode.SOURCES_AMBIGUOUS
    assert refused(write("none.fits", none), "MAG") == ErrorCode.SOURCES_NO_POSITIONS


def test_a_column_of_words_is_found_in_any_case_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ra,dec,Label,kind,KIND\n1,2,lens,a,b\n")
    assert read_positions(path, "label").words.tolist() == ["lens"]
    for name, code in (("kind", ErrorCode.SOURCES_AMBIGUOUS), ("colour", ErrorCode.SOURCES_NO_COLUMN)):
        with pytest.raises(ScannerError, match=name) as caught:
            read_positions(path, name)
        assert caught.value.code == code

"""Columns added by position: nearest row, every digit of an id, positions moved to the epoch of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time

from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import render
from scanner.candidates.crossmatch import MatchOptions, MatchReport, crossmatch, read_list

GAIA_ID = 4_611_686_018_427_387_905  # a float64 would make it ...904


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.csv"
    path.write_text(
        "object_id,tile,ra,dec,mag_r,mark\n"
        "217290000001,217.290,150.1,2.2,19.5,\n"
        "217290000002,217.290,150.2,2.2,nan,\n"
        "217290000003,217.290,nan,nan,20.5,\n"
    )
    return path


def match(listed: Path, source: Path, **options: object) -> MatchReport:
    return crossmatch(*read_list(listed), source, MatchOptions(**options))  # type: ignore[arg-type]


def write(path: Path, **columns: object) -> Path:
    Table(columns).write(path, overwrite=True)
    return path


@pytest.mark.parametrize("ending", ["fits", "csv", "ecsv", "vot", "parquet"])
def test_the_nearest_row_gives_its_columns_in_every_format(tmp_path: Path, listed: Path, ending: str) -> None:
    near, far = 150.1 + 0.3 / 3600, 150.1 + 0.7 / 3600
    table = Table({"RA": [far, near, 10.0], "Dec": [2.2, 2.2, 3.0], "id": [7, GAIA_ID, 9], "z": [0.1, 0.5, 0.9]})
    table["z"].unit = ""
    path = tmp_path / f"other.{ending}"
    table.write(path, format={"vot": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(ending, ending))
    matched = match(listed, path, prefix="o_")
    out = matched.table
    assert matched.count == 1
    assert out["o_z"].tolist()[0] == 0.5
    assert np.isnan(out["o_z"][1:]).all()
    assert out["o_id"].tolist() == [str(GAIA_ID), "", ""]
    assert out["o_matches"].tolist() == [2, 0, 0]
    assert out["o_separation"][0] == pytest.approx(0.3 * np.cos(np.radians(2.2)), abs=1e-6)
    assert out["object_id"].tolist() == [217290000001, 217290000002, 217290000003]
    assert out["tile"].tolist() == ["217.290"] * 3, "a tile is text: as a number it would lose its zero"
    assert out["mark"].tolist() == [""] * 3
    assert "1 rows of the list have no position" in matched.notes[-1]


def test_a_whole_column_stays_whole_where_all_rows_match(tmp_path: Path, listed: Path) -> None:
    listed.write_text("\n".join(listed.read_text().splitlines()[:3]) + "\n")
    path = write(tmp_path / "other.fits", ra=[150.1, 150.2], dec=[2.2, 2.2], id=[GAIA_ID, 3], few=[1, 2])
    out = match(listed, path, prefix="o_").table
    assert out["o_id"].tolist() == [GAIA_ID, 3]
    assert out["o_few"].dtype == np.int64


def test_every_format_can_be_written(tmp_path: Path, listed: Path) -> None:
    path = write(tmp_path / "other.fits", ra=[150.1] * u.deg, dec=[2.2] * u.deg, plx=[1.5] * u.mas)
    out = match(listed, path, prefix="gaia_", columns=("plx",)).table
    for fmt in ("table", "csv", "ecsv", "json", "votable", "fits", "ds9"):
        assert render(out, fmt)
    assert out["gaia_plx"].unit == u.mas
    assert out["gaia_plx"].description == "plx of other.fits"
    # A text file has no units, and those of a catalogue's columns are known.
    assert out["mag_r"].unit == u.mag
    assert out["ra"].meta["ucd"] == "pos.eq.ra;meta.main"


def star(tmp_path: Path, **more: object) -> Path:
    """A star of high proper motion, where it was in 2016: 8 years later it is at the first object of the list."""
    then = SkyCoord(150.1 * u.deg, 2.2 * u.deg, pm_ra_cosdec=2500 * u.mas / u.yr, pm_dec=-1500 * u.mas / u.yr,
                    distance=1 * u.kpc, obstime=Time(2024.0, format="jyear"))  # fmt: skip
    at = then.apply_space_motion(Time(2016.0, format="jyear"))
    columns = {"ra": [at.ra.deg, 150.2], "dec": [at.dec.deg, 2.2], "pmra": [2500.0, np.nan], "pmdec": [-1500.0, np.nan]}
    return write(tmp_path / "gaia.fits", **columns, **more)


def test_positions_are_moved_to_the_epoch_of_the_images(tmp_path: Path, listed: Path) -> None:
    path = star(tmp_path, ref_epoch=[2016.0, 2016.0])
    matched = match(listed, path, prefix="g_", epoch=2024.0)
    assert matched.count == 2
    # Agrees with astropy's own space motion.
    assert matched.table["g_separation"][0] < 1e-3
    assert "moved from the epoch of each row to 2024 by pmra and pmdec" in matched.notes[0]
    assert "1 rows that were read have no proper motion" in matched.notes[1]
    assert match(listed, path, prefix="g_", ignore_motion=True).count == 1
    assert match(listed, path, prefix="g_", ignore_motion=True, radius=30.0).table["g_separation"][0] > 20


def test_units_of_proper_motions_count(tmp_path: Path, listed: Path) -> None:
    star(tmp_path)
    table = Table.read(tmp_path / "gaia.fits")
    table["pmra"], table["pmdec"] = table["pmra"] / 1000, table["pmdec"] / 1000
    table["pmra"].unit = table["pmdec"].unit = "arcsec/yr"
    table.write(tmp_path / "gaia.fits", overwrite=True)
    assert match(listed, tmp_path / "gaia.fits", prefix="g_", epoch=2024.0, table_epoch=2016.0).count == 2
    table["pmra"].unit = "km/s"
    table.write(tmp_path / "gaia.fits", overwrite=True)
    with pytest.raises(ScannerError) as error:
        match(listed, tmp_path / "gaia.fits", prefix="g_", epoch=2024.0, table_epoch=2016.0)
    assert error.value.code == ErrorCode.SOURCES_BAD_UNIT


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, ErrorCode.CROSSMATCH_BAD_EPOCH),
        ({"epoch": 2024.0}, ErrorCode.CROSSMATCH_BAD_EPOCH),
        ({"epoch": 2_457_389.0, "table_epoch": 2016.0}, ErrorCode.CROSSMATCH_BAD_EPOCH),
        ({"epoch": 2024.0, "table_epoch": 2016.0, "columns": ("none",)}, ErrorCode.COLUMN_UNKNOWN),
        ({"ignore_motion": True}, ErrorCode.CROSSMATCH_SAME_COLUMN),
    ],
)
def test_what_is_not_said_is_refused(tmp_path: Path, listed: Path, options: dict[str, object], code: str) -> None:
    with pytest.raises(ScannerError) as error:
        match(listed, star(tmp_path), **options)
    assert error.value.code == code


def test_an_epoch_without_motions_is_refused(tmp_path: Path, listed: Path) -> None:
    path = write(tmp_path / "other.fits", ra=[150.1], dec=[2.2], z=[0.5])
    with pytest.raises(ScannerError) as error:
        match(listed, path, epoch=2018.0)
    assert error.value.code == ErrorCode.CROSSMATCH_NO_MOTION


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x,y\n1,2\n", ErrorCode.SOURCES_NO_POSITIONS),
        ("a,b\n1,2\n", ErrorCode.SOURCES_NO_POSITIONS),
        ("", ErrorCode.SOURCES_UNREADABLE),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, listed: Path, text: str, code: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ScannerError) as error:
        match(listed, path)
    assert error.value.code == code


def test_no_counterpart_at_all_is_an_answer(tmp_path: Path, listed: Path) -> None:
    path = write(tmp_path / "other.fits", ra=[10.0, np.nan], dec=[2.2, 0.0], z=[0.5, 0.1], name=["a", "b"])
    matched = match(listed, path, prefix="o_")
    assert matched.count == 0
    assert np.isnan(matched.table["o_z"]).all()
    assert matched.table["o_name"].tolist() == ["", "", ""]

"""Positions from other catalogues, whatever their format, column names and pixel convention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import Table
from pyarrow import parquet

from catalogs.errors import ScannerError
from scanner.images.tile_images import TileImages
from scanner.sources import position_files
from scanner.sources.sources import from_file

SEXTRACTOR = """#   1 NUMBER                 Running object number
#   2 X_IMAGE                Object position along x                                    [pixel]
#   3 Y_IMAGE                Object position along y                                    [pixel]
#   4 MAG_AUTO               Kron-like elliptical aperture magnitude                    [mag]
"""


@pytest.fixture
def images(real_images: TileImages) -> TileImages:
    return real_images


@pytest.fixture
def place(images: TileImages) -> dict[str, np.ndarray]:
    """Three positions on the tile (0-based) in order, and one that is not on it."""
    x, y = np.array([100.25, 900.5, 300.0, -40.0]), np.array([50.0, 60.75, 800.0, 90.0])
    ra, dec = images.wcs[images.detection].all_pix2world(x, y, 0)
    return {"x": x, "y": y, "ra": ra, "dec": dec}


def sextractor(path: Path, place: dict[str, np.ndarray]) -> None:
    lines = [
        f"{n:10d} {x + 1:12.4f} {y + 1:12.4f} 21.5" for n, (x, y) in enumerate(zip(place["x"], place["y"], strict=True))
    ]
    path.write_text(SEXTRACTOR + "\n".join(lines) + "\n")


def ldac(path: Path, place: dict[str, np.ndarray]) -> None:
    header = fits.BinTableHDU.from_columns(
        [fits.Column("Field Header Card", "80A", array=["SIMPLE  = T"])], name="LDAC_IMHEAD"
    )
    objects = fits.BinTableHDU(
        Table({"X_IMAGE": place["x"] + 1, "Y_IMAGE": place["y"] + 1, "VIGNET": np.zeros((4, 5, 5))}),
        name="LDAC_OBJECTS",
    )
    fits.HDUList([fits.PrimaryHDU(), header, objects]).writeto(path)


def votable(path: Path, place: dict[str, np.ndarray]) -> None:
    table = Table({"RAJ2000": place["ra"] / 15 * units.hourangle, "DEJ2000": place["dec"] * units.deg})
    table["RAJ2000"].unit = "rad"
    table["RAJ2000"][:] = np.radians(place["ra"])
    table.write(path, format="votable")


WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray]], object]] = {
    "sextractor.cat": sextractor,
    "ldac.cat": ldac,
    "table.fits": lambda path, place: Table({"RA": place["ra"], "DEC": place["dec"]}).write(path),
    "gaap.fits": lambda path, place: Table({"Xpos": place["x"] + 1, "Ypos": place["y"] + 1}).write(path),
    "table.vot": votable,
    "sky.csv": lambda path, place: Table({"Ra": place["ra"], "Dec": place["dec"]}).write(path, format="ascii.csv"),
    "pixels.csv": lambda path, place: Table({"x": place["x"], "y": place["y"], "id": ["a", "b", "c", "d"]}).write(
        path, format="ascii.csv"
    ),
    "both.csv": lambda path, place: Table(
        {"X_IMAGE": np.zeros(4), "Y_IMAGE": np.zeros(4), "ALPHA_J2000": place["ra"], "DELTA_J2000": place["dec"]}
    ).write(path, format="ascii.csv"),
    "table.parquet": lambda path, place: parquet.write_table(
        pa.table({"ra": place["ra"], "dec": place["dec"], "embedding": [[1.0, 2.0]] * 4}), path
    ),
    "f32.parquet": lambda path, place: parquet.write_table(
        pa.table({"x": place["x"].astype(np.float32), "y": place["y"].astype(np.float32)}), path
    ),
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_gives_the_same_places(
    name: str, images: TileImages, place: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """SExtractor and GaAP count pixels from 1; x and y count from 0; degrees win over pixels."""
    shuffled = {key: values[[2, 3, 0, 1]] for key, values in place.items()}
    WRITERS[name](tmp_path / name, shuffled)
    sources = from_file(tmp_path / name, images)
    np.testing.assert_allclose(sources.x, place["x"][:3], atol=1e-3)
    np.testing.assert_allclose(sources.y, place["y"][:3], atol=1e-3)
    np.testing.assert_allclose(sources.ra, place["ra"][:3], atol=1e-7)
    assert sources.dropped == 1
    assert sources.detection_band == "r"


def test_what_can_be_measured_is(images: TileImages, place: dict[str, np.ndarray], tmp_path: Path) -> None:
    WRITERS["sky.csv"](tmp_path / "sky.csv", place)
    table = from_file(tmp_path / "sky.csv", images).table()
    assert np.isfinite(table["flux_r"]).all()
    np.testing.assert_allclose(table["snr"], table["flux_r"] / table["fluxerr_r"])
    assert np.isnan(table["flux_radius"]).all()
    assert table["flags"].dtype == np.int32


def test_positions_that_are_no_numbers_are_dropped_and_counted(images: TileImages, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("x,y\n10,20\nnan,30\n40,\n1e300,5\n50,60\n")
    sources = from_file(path, images)
    np.testing.assert_array_equal(sources.x, [10, 50])
    assert sources.dropped == 3


def test_the_far_side_of_the_sky_is_not_on_the_tile(images: TileImages, tmp_path: Path) -> None:
    """A tangent plane also projects the antipode: a full-sky catalogue must not be folded into the tile."""
    ra, dec = images.wcs[images.detection].all_pix2world([500.0], [500.0], 0)
    path = tmp_path / "sky.csv"
    path.write_text(f"ra,dec\n{ra[0] + 180},{-dec[0]}\n{ra[0]},{dec[0]}\n{ra[0] - 360},{dec[0]}\n")
    sources = from_file(path, images)
    assert len(sources) == 2
    assert sources.dropped == 1


def test_a_catalogue_for_each_tile(images: TileImages, place: dict[str, np.ndarray], tmp_path: Path) -> None:
    WRITERS["sky.csv"](tmp_path / "113.280.csv", place)
    assert len(from_file(tmp_path / "{tile}.csv", images)) == 3


def test_no_position_on_the_tile_is_no_error(images: TileImages, tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("ra,dec\n1,2\n")
    sources = from_file(tmp_path / "far.csv", images)
    assert len(sources) == 0
    assert sources.dropped == 1
    assert sources.table()["flux_r"].shape == (0,)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("none.csv", None, "sources.missing"),
        ("empty.csv", b"", "sources.unreadable"),
        ("binary.csv", bytes(range(256)) * 10, "sources.unreadable"),
        ("broken.parquet", b"PAR1 and then nothing", "sources.unreadable"),
        ("broken.fits", b"SIMPLE  =                    T" + b" " * 50, "sources.unreadable"),
        ("broken.vot", b"<VOTABLE><not closed", "sources.unreadable"),
        ("unknown.dat", b"1 2 3\n", "sources.unreadable"),
        ("nocolumns.csv", b"mag,size\n1,2\n", "sources.no_positions"),
        ("halfcolumns.csv", b"ra,mag\n1,2\n", "sources.no_positions"),
        ("text.csv", b"ra,dec\n12h00m,+5d\n", "sources.no_positions"),
    ],
)
def test_bad_catalogues_are_refused_by_code(
    name: str, content: bytes | None, code: str, images: TileImages, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ScannerError) as caught:
        from_file(tmp_path / name, images)
    assert caught.value.code == code, caught.value.message
    assert name in caught.value.message
    assert caught.value.hint


def test_a_table_without_rows(images: TileImages, tmp_path: Path) -> None:
    parquet.write_table(
        pa.table({"ra": pa.array([], pa.float64()), "dec": pa.array([], pa.float64())}), tmp_path / "a.pq"
    )
    (tmp_path / "b.csv").write_text("ra,dec\n")
    for name in ("a.pq", "b.csv"):
        assert len(from_file(tmp_path / name, images)) == 0


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as refused:
        position_files.read_positions(tmp_path / ("x" * 300 + ".csv"))
    assert refused.value.code == "sources.missing"

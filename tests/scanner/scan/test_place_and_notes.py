"""Whose rows a scan writes: images of another tile are refused, and what was read by a convention is in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

import catalogs
from scanner.encoder.encoder import Encoder
from scanner.scan.options import LOW, ScanOptions
from scanner.scan.report import TileReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from tests.support import small_tiles

UNIONS = survey.load("unions")
NAME = "200.290"
SIZE = 200


def scan(folder: Path, encoder: Encoder, **options: Any) -> TileReport:
    """The report of tile 200.290 under ``folder``, scanned into ``folder / "out"``."""
    chosen = ScanOptions(**{"readers": 0, **options})
    run = make_run(UNIONS, encoder, chosen)
    listed = [tile_list.find(UNIONS, NAME, folder)]
    return scan_tiles(listed, UNIONS, encoder, catalogs.create(folder / "out", run), run, chosen).tiles[0]


def rows(folder: Path) -> Any:
    return pq.read_table(folder / "out" / "tiles" / f"{NAME}.parquet", columns=["ra", "dec", "is_primary"])


@pytest.fixture
def misnamed(tmp_path: Path) -> Path:
    """Images of 201.293 under the names of 200.290."""
    other = small_tiles.write(tmp_path / "other", "201.293", size=SIZE, bands="gr", objects=12)
    folder = tmp_path / "misnamed"
    folder.mkdir()
    for band in "gr":
        small_tiles.band_file(other, "201.293", band).rename(small_tiles.band_file(folder, NAME, band))
    return folder


def write_positions(path: Path, folder: Path, band: str = "r", turn: float = 0.0) -> None:
    with fits.open(small_tiles.band_file(folder, NAME, band)) as hdus:
        ra, dec = float(hdus[0].header["CRVAL1"]), float(hdus[0].header["CRVAL2"])
    steps = np.array([-10.0, 0.0, 10.0]) * 0.2 / 3600
    np.savetxt(path, np.c_[ra + turn + steps, dec + steps], delimiter=",", header="ra,dec", comments="", fmt="%.8f")


@pytest.mark.parametrize("options", [{}, {"sources": "grid"}, {"readers": 1}, {"memory": LOW}])
def test_images_of_another_tile_give_no_row(misnamed: Path, encoder: Encoder, options: dict[str, Any]) -> None:
    report = scan(misnamed, encoder, **options)
    assert (report.status, report.code) == ("failed", "tile.elsewhere")
    assert "lie at 182.0860 +56.5000, 4.60 degrees from its centre, where tile 201.293 is" in report.message
    assert not (misnamed / "out" / "tiles" / f"{NAME}.parquet").exists()


def test_images_of_another_tile_are_refused_with_a_list_of_positions_too(misnamed: Path, encoder: Encoder) -> None:
    write_positions(misnamed / "all.csv", misnamed)
    assert scan(misnamed, encoder, sources=str(misnamed / "all.csv")).code == "tile.elsewhere"


@pytest.mark.parametrize("turn", [-360.0, 0.0, 360.0])
def test_positions_of_the_user_place_an_image_of_their_own(tmp_path: Path, encoder: Encoder, turn: float) -> None:
    """An image that is on no tile's place: with positions on it, its rows count, and a note says so."""
    small_tiles.write(tmp_path, NAME, size=SIZE, bands="r", objects=12)
    with fits.open(small_tiles.band_file(tmp_path, NAME, "r"), mode="update") as hdus:
        hdus[0].header["CRVAL1"] = 210.0
    assert scan(tmp_path, encoder).code == "tile.elsewhere"
    write_positions(tmp_path / "own.csv", tmp_path, turn=turn)
    report = scan(tmp_path, encoder, sources=str(tmp_path / "own.csv"))
    assert (report.status, report.objects) == ("done", 3)
    assert "20.23 degrees from its centre" in report.notes[0]
    table = rows(tmp_path)
    assert table["is_primary"].to_pylist() == [True] * 3
    np.testing.assert_allclose(table["ra"].to_numpy(), 210.0, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"readers": 1}, {"memory": LOW}])
def test_a_convention_is_in_the_report_once(tmp_path: Path, encoder: Encoder, options: dict[str, Any]) -> None:
    small_tiles.write(tmp_path, NAME, size=SIZE, bands="gr", objects=12)
    with fits.open(small_tiles.band_file(tmp_path, NAME, "r"), mode="update") as hdus:
        hdus[0].header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4})
    report = scan(tmp_path, encoder, **options)
    assert report.status == "done"
    assert report.notes == (
        "CFIS.200.290.r.fits: CTYPE has no suffix -SIP, so that the SIP coefficients are not applied.",
    )

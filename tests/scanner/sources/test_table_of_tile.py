"""A table of pixels serves the tile that it was measured in; what is dropped of a table is counted by reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.strips import read_strips
from scanner.images.tile_images import TileImages
from scanner.sources import table_of_tile
from scanner.sources.dropped import Dropped
from scanner.sources.sources import from_file
from scanner.survey import tile_list
from scanner.survey.survey import Survey


@pytest.fixture
def images(real_images: TileImages) -> TileImages:
    return real_images


def ldac(path: Path, header: fits.Header, *, pixels: bool = True) -> Path:
    """A catalogue of one object, with the header of the image that it was measured in."""
    cards = header.tostring(sep="", endcard=True, padding=True)
    names = ("X_IMAGE", "Y_IMAGE") if pixels else ("ALPHA_J2000", "DELTA_J2000")
    column = fits.Column("Field Header Card", f"{len(cards)}A", array=[cards])
    image = fits.BinTableHDU.from_columns([column], name="LDAC_IMHEAD")
    objects = fits.BinTableHDU(Table({name: [50.0] for name in names}), name="LDAC_OBJECTS")
    fits.HDUList([fits.PrimaryHDU(), image, objects]).writeto(path)
    return path


def header_of(images: TileImages) -> fits.Header:
    header = images.wcs[images.detection].to_header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, images.shape[1], images.shape[0]
    return header


def refused(path: Path, images: TileImages, word: str) -> None:
    with pytest.raises(ScannerError) as caught:
        from_file(path, images)
    assert caught.value.code == ErrorCode.SOURCES_OTHER_TILE
    assert str(path) in caught.value.message
    assert word in caught.value.message


def test_the_image_that_an_ldac_catalogue_was_measured_in_must_be_the_tile(images: TileImages, tmp_path: Path) -> None:
    assert from_file(ldac(tmp_path / "own.cat", header_of(images)), images).x.tolist() == [49]
    larger, elsewhere = header_of(images), header_of(images)
    larger["NAXIS1"] += 1
    elsewhere["CRVAL2"] += 3 * images.pixel_scale / 3600
    refused(ldac(tmp_path / "larger.cat", larger), images, str(larger["NAXIS1"]))
    refused(ldac(tmp_path / "elsewhere.cat", elsewhere), images, "image around")
    # Positions on the sky are those of any image.
    assert len(from_file(ldac(tmp_path / "sky.cat", elsewhere, pixels=False), images)) == 0


def test_a_header_that_says_nothing_refuses_nothing(images: TileImages, tmp_path: Path) -> None:
    assert len(from_file(ldac(tmp_path / "a.cat", fits.Header({"OBJECT": "x"})), images)) == 1


def test_a_damaged_header_is_that_of_no_tile(images: TileImages, tmp_path: Path) -> None:
    header = header_of(images)
    path = ldac(tmp_path / "a.cat", header)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CTYPE1  = 'RA---TAN'", b"CTYPE1  = 'RA---TAM'"))
    refused(path, images, "damaged")


def test_pixels_in_a_file_of_another_tile_are_refused(images: TileImages, tmp_path: Path) -> None:
    path = tmp_path / "UNIONS.217.292.csv"
    path.write_text("x,y\n10,20\n")
    refused(path, images, "217.292")
    path.write_text("ra,dec\n10,20\n")
    assert len(from_file(path, images)) == 0
    own = tmp_path / "UNIONS.113.280.csv"
    own.write_text("x,y\n10,20\n")
    assert len(from_file(own, images)) == 1


def test_pixels_of_one_image_are_not_those_of_a_list(tmp_path: Path) -> None:
    pixels, sky = tmp_path / "pixels.csv", tmp_path / "sky.csv"
    pixels.write_text("x,y\n10,20\n")
    sky.write_text("ra,dec\n10,20\n")
    table_of_tile.check_list(str(pixels), ["113.280", "113.280"])
    table_of_tile.check_list(str(sky), ["113.280", "114.280"])
    table_of_tile.check_list(str(tmp_path / "{tile}.csv"), ["113.280", "114.280"])
    with pytest.raises(ScannerError, match="2 tiles") as caught:
        table_of_tile.check_list(str(pixels), ["113.280", "114.280"])
    assert caught.value.code == ErrorCode.SOURCES_OTHER_TILE
    with pytest.raises(ScannerError) as caught:
        table_of_tile.check_list(str(tmp_path / "none.csv"), ["113.280"])
    assert caught.value.code == ErrorCode.SOURCES_MISSING


def test_what_is_dropped_is_counted_by_reason(images: TileImages, tmp_path: Path) -> None:
    ra, dec = images.to_sky(np.array([500.0, -300.0]), np.array([500.0, 10.0]))
    path = tmp_path / "a.csv"
    rows = [f"{ra[0]},{dec[0]}", f"{ra[1]},{dec[1]}", f"{ra[0] + 180},{-dec[0]}", f"{ra[0]},nan", f",{dec[0]}"]
    path.write_text("ra,dec\n" + "\n".join([*rows, f"{ra[0]},91", f"{ra[0] * 3600},{dec[0]}"]) + "\n")
    sources = from_file(path, images)
    assert len(sources) == 1
    assert sources.dropped_by == Dropped(not_numbers=2, off_sky=2, off_tile=2)
    assert sources.dropped == 6
    assert sources.notes == ()
    assert str(sources.dropped_by) == "2 not numbers, 2 off the sky, 2 off the tile"


def test_a_table_of_the_tile_that_lies_off_it_is_noted(images: TileImages, tmp_path: Path) -> None:
    (tmp_path / "half.csv").write_text("x,y\n1,2\n-9,2\n")
    assert from_file(tmp_path / "half.csv", images).notes == ()
    (tmp_path / "most.csv").write_text("x,y\n1,2\n-9,2\n-9,3\n")
    assert from_file(tmp_path / "most.csv", images).notes == (
        f"2 of 3 positions of {tmp_path / 'most.csv'} are off the tile",
    )
    (tmp_path / f"{images.name}.csv").write_text("ra,dec\n1,2\n")
    assert len(from_file(tmp_path / "{tile}.csv", images).notes) == 1
    # A table of the whole survey lies off any tile.
    assert from_file(tmp_path / f"{images.name}.csv", images).notes == ()


def test_strips_count_as_the_whole_tile_does(
    real_tile: Path, images: TileImages, unions: Survey, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n-9,2\n-9,3\n-9,4\n-9,5\nnan,5\n100,900\n")
    whole = from_file(path, images)
    strips = [
        from_file(path, one) for one in read_strips(unions, tile_list.find(unions, images.name, real_tile), lambda _: 0)
    ]
    assert sum((one.dropped_by for one in strips), Dropped()) == whole.dropped_by == Dropped(not_numbers=1, off_tile=4)
    assert {note for one in strips for note in one.notes} == set(whole.notes)
    assert len(whole.notes) == 1


def test_right_ascensions_of_another_turn_are_brought_into_the_first(images: TileImages, tmp_path: Path) -> None:
    ra, dec = images.to_sky(np.array([500.0]), np.array([500.0]))
    for turn in (-360, 0, 360):
        (tmp_path / "a.csv").write_text(f"ra,dec\n{ra[0] + turn:.9f},{dec[0]:.9f}\n")
        np.testing.assert_allclose(from_file(tmp_path / "a.csv", images).ra, ra, atol=1e-8)

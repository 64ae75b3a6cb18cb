"""Where images lie: bands lie together, and a tile of a grid where its name says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from catalogs.sky import unions_grid
from scanner.images.sky.placement import check_place
from scanner.images.sky.wcs import tangent_wcs
from scanner.images.strips import read_strips
from scanner.images.tile_images import OpenTile, open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from tests.support import small_tiles

NAME = "200.290"
SIZE = 200
WHOLE = (10_000, 10_000)
SCALE = unions_grid.PIXEL_SCALE


def strips(plan: Survey, name: str, folder: Path) -> None:
    list(read_strips(plan, tile_list.find(plan, name, folder), lambda scale: 32))


def whole(plan: Survey, name: str, folder: Path) -> None:
    open_tile(plan, tile_list.find(plan, name, folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_tiles.write(tmp_path, NAME, size=SIZE, bands="gri", objects=5)


def change(path: Path, **cards: object) -> None:
    """Change cards of the image of a band."""
    with fits.open(path, mode="update") as hdus:
        next(hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] == 2).header.update(cards)


@pytest.mark.parametrize("read", [whole, strips])
def test_a_band_of_another_place_is_refused_by_its_file(
    read: Callable[[Survey, str, Path], None], folder: Path, unions: Survey, tmp_path: Path
) -> None:
    other = small_tiles.write(tmp_path / "other", "201.293", size=SIZE, bands="i", objects=5)
    small_tiles.band_file(other, "201.293", "i").rename(small_tiles.band_file(folder, NAME, "i"))
    with pytest.raises(ScannerError) as refused:
        read(unions, NAME, folder)
    assert refused.value.code == "tile.bands_elsewhere"
    assert "PSS.DR4.200.290.i.fits lies elsewhere on the sky" in refused.value.message


@pytest.mark.parametrize(
    "cards",
    [
        {"CRPIX2": 100.5 + 21},
        {"CRPIX2": 0.5},
        {"CRVAL1": 174.45},
        {"CRVAL1": 174.34467956210977 + 180},
        {"CDELT1": SCALE / 3600},  # mirrored
        {"CDELT1": SCALE / 3600, "CDELT2": -SCALE / 3600},  # turned upside down
    ],
)
def test_bands_may_be_shifted_by_a_tenth_of_the_image(cards: dict[str, object], folder: Path, unions: Survey) -> None:
    i = small_tiles.band_file(folder, NAME, "i")
    change(i, CRPIX2=100.5 + 19)
    whole(unions, NAME, folder)
    change(i, **{"CRPIX2": 100.5, **cards})
    with pytest.raises(ScannerError) as refused:
        whole(unions, NAME, folder)
    assert refused.value.code == "tile.bands_elsewhere"


def test_the_region_around_a_position_holds_it_in_every_band(folder: Path, unions: Survey) -> None:
    change(small_tiles.band_file(folder, NAME, "i"), CRPIX1=100.5 + 12, CRPIX2=100.5 - 15)
    tile = tile_list.find(unions, NAME, folder)
    images = open_tile(unions, tile)
    ra, dec = images.to_sky(np.array([90.0]), np.array([110.0]))
    with closing(OpenTile(unions, tile)) as opened:
        region = opened.region_around(float(ra[0]), float(dec[0]), 10 * SCALE)
    assert region is not None
    for band in (1, 2, 3):
        x, y = images.to_pixels(band, ra, dec)
        assert region[0].start <= y[0] - 10
        assert y[0] + 10 < region[0].stop
        assert region[1].start <= x[0] - 10
        assert x[0] + 10 < region[1].stop


@pytest.mark.parametrize("name", [NAME, "000.180", "717.180", "000.360", "113.280"])
def test_a_tile_and_any_part_of_it_lies_where_its_name_says(name: str, unions: Survey) -> None:
    centre = unions_grid.centre(name)
    assert check_place(unions, name, tangent_wcs(centre, (5000.0, 5000.0), SCALE), WHOLE) == ()
    for corner in ((0.5, 0.5), (-9499.5, 0.5), (-4000.0, -9000.0)):
        part = tangent_wcs(centre, (5000.5 + corner[0], 5000.5 + corner[1]), SCALE)
        assert check_place(unions, name, part, (500, 500)) == ()


@pytest.mark.parametrize(
    ("sky", "pixel", "other"),
    [
        (unions_grid.centre("201.293"), (5000.0, 5000.0), "201.293"),
        (unions_grid.centre("201.290"), (5000.0, 5000.0), "201.290"),
        ((174.34467956210977, 0.0), (5000.0, 5000.0), None),
        ((210.0, 55.0), (5000.0, 5000.0), None),
        (unions_grid.centre(NAME), (5000.0, 0.0), None),
        (unions_grid.centre(NAME), (5000.0, 5600.0), None),
    ],
)
def test_a_tile_that_lies_elsewhere_is_refused_by_both_places(
    sky: tuple[float, float], pixel: tuple[float, float], other: str | None, unions: Survey
) -> None:
    with pytest.raises(ScannerError) as refused:
        check_place(unions, NAME, tangent_wcs(sky, pixel, SCALE), WHOLE)
    assert refused.value.code == "tile.elsewhere"
    assert f"The images of tile {NAME} lie at" in refused.value.message
    assert ("where tile" in refused.value.message) == (other is not None)
    assert other is None or other in refused.value.message
    assert check_place(replace(unions, grid=None), NAME, tangent_wcs(sky, pixel, SCALE), WHOLE) == ()


def test_positions_on_the_sky_overrule_the_name_but_not_for_the_images_of_another_tile(unions: Survey) -> None:
    (note,) = check_place(unions, NAME, tangent_wcs((210.0, 55.0), (150.5, 150.5), SCALE), (300, 300), by_sky=True)
    assert "lie at 210.0000 +55.0000, 20.23 degrees from its centre" in note
    with pytest.raises(ScannerError, match=r"where tile 201.293 is"):
        check_place(
            unions, NAME, tangent_wcs(unions_grid.centre("201.293"), (150.5, 150.5), SCALE), (300, 300), by_sky=True
        )


def test_a_cutout_of_a_tile_that_lies_elsewhere_is_refused(folder: Path, unions: Survey) -> None:
    for band in "gri":
        change(small_tiles.band_file(folder, NAME, band), CRVAL1=210.0)
    ra, dec = unions_grid.centre(NAME)
    with pytest.raises(ScannerError) as refused:
        OpenTile(survey.load("unions"), tile_list.find(survey.load("unions"), NAME, folder)).region_around(
            ra, dec, 10.0
        )
    assert refused.value.code == "tile.elsewhere"

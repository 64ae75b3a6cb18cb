"""Single windows read by region must be what the scan saw, whatever the file's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ScannerError
from scanner.images.tile_images import open_tile
from scanner.sources.sources import Sources, detect
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from scanner.windows.by_position import Window, WindowReader
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from tests.support import small_tiles

FRAME = WindowFrame(tuple("ugriz"), 64, 0.18577)
DEMO = Path(__file__).parents[3] / "scanner" / "demo"


def scanned(plan: Survey, name: str, root: Path, count: int, frame: WindowFrame = FRAME) -> tuple[Sources, np.ndarray]:
    """The brightest objects of a tile and their windows, as a scan takes them."""
    images = open_tile(plan, tile_list.find(plan, name, root))
    objects = detect(images)
    objects = objects.take(np.argsort(-objects.columns["snr"])[:count])
    return objects, Windows(images, objects, frame).gather(0, count)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "RICE"])
def test_a_stamp_is_the_window_that_the_scan_saw(tmp_path: Path, unions: Survey, compressed: bool) -> None:
    root = DEMO if compressed else small_tiles.write(tmp_path, "217.292")
    objects, windows = scanned(unions, "217.292", root, 6)
    reader = WindowReader(unions, FRAME, root)
    for ra, dec, window in zip(objects.ra, objects.dec, windows, strict=True):
        np.testing.assert_array_equal(reader.of("217.292", ra, dec), window)
        np.testing.assert_array_equal(reader.at(ra, dec), window)


def test_a_resampled_stamp_is_the_window_that_the_scan_saw(real_tile: Path, unions: Survey) -> None:
    """A model of 0.1 arcsec: the window's pixels are taken about the source, not about a corner of the region."""
    fine = replace(FRAME, pixel_scale=0.1)
    objects, windows = scanned(unions, "113.280", real_tile, 5, fine)
    reader = WindowReader(unions, fine, real_tile)
    for ra, dec, window in zip(objects.ra, objects.dec, windows, strict=True):
        np.testing.assert_allclose(reader.of("113.280", ra, dec), window, rtol=1e-3, atol=0.5)


def test_many_windows_are_those_of_one_each_with_its_north_and_errors_in_their_places(
    tmp_path: Path, unions: Survey
) -> None:
    root = small_tiles.write(tmp_path, "217.292")
    objects, windows = scanned(unions, "217.292", root, 3)
    reader = WindowReader(unions, FRAME, root)
    ra, dec = objects.ra.tolist(), objects.dec.tolist()
    names = ["217.292", "218.292", "217.292", "217.292", "217.292"]
    read = reader.windows(names, [ra[0], ra[0], 10.0, *ra[1:]], [dec[0], dec[0], 10.0, *dec[1:]])
    assert [one.code for one in read if isinstance(one, ScannerError)] == [
        "tile.missing_file",
        "query.outside_coverage",
    ]
    good = [one for one in read if isinstance(one, Window)]
    np.testing.assert_array_equal([one.flux for one in good], windows)
    for one in good:
        assert one.compass is not None
        np.testing.assert_allclose([one.compass.north, one.compass.east], [(0, 1), (-1, 0)], atol=0.01)


def test_positions_off_the_tiles_at_hand_are_errors_that_name_the_tile(tmp_path: Path, unions: Survey) -> None:
    reader = WindowReader(unions, FRAME, small_tiles.write(tmp_path, "217.292"))
    for question in (lambda: reader.of("217.292", 10.0, 10.0), lambda: reader.at(10.0, 10.0)):
        with pytest.raises(ScannerError) as raised:
            question()
        assert raised.value.code == "query.outside_coverage"
    assert "019.200" in raised.value.hint or "020.200" in raised.value.hint


def test_a_survey_without_a_grid_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as raised:
        WindowReader(survey.load("hsc"), FRAME, tmp_path).at(10.0, 10.0)
    assert raised.value.code == "query.no_grid"

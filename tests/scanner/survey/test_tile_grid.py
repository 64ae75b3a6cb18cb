"""The UNIONS grid over the whole sky: every position has one tile, and that tile's image holds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalogs.errors import ScannerError
from catalogs.sky import unions_grid

RA = st.floats(0, 360, exclude_max=True)
DEC = st.floats(-90, 90)


@st.composite
def names(draw: st.DrawFn) -> str:
    """Tiles of the grid proper: centres below RA 360."""
    y = draw(st.integers(0, 360))
    around = 720 * np.cos(np.radians(y / 2 - 90))
    return f"{draw(st.integers(0, max(0, int(np.ceil(around - 1e-6)) - 1))):03d}.{y:03d}"


def test_the_centre_of_a_tile_is_that_of_the_published_convention() -> None:
    ra, dec = unions_grid.centre("217.292")
    assert dec == 56.0
    assert ra == pytest.approx(217 / 2 / np.cos(np.radians(56.0)))


@given(names())
def test_the_centre_of_a_tile_lies_in_that_tile(name: str) -> None:
    ra, dec = unions_grid.centre(name)
    assert unions_grid.tile_at(ra, dec) == name
    assert unions_grid.contains(name, ra, dec)
    assert unions_grid.is_primary(name, ra, dec)


@given(RA, DEC)
@example(0.0, 0.0)
@example(359.99999999, 0.1)
@example(359.9, 60.0)
@example(12.0, 90.0)
@example(12.0, -90.0)
@example(180.0, 89.8)
@example(270.0, -89.75)
@example(0.3, 23.5)
def test_every_position_belongs_to_one_tile_of_the_grid(ra: float, dec: float) -> None:
    name = unions_grid.tile_at(ra, dec)
    others = [other for other in unions_grid.tiles_covering(ra, dec) if other != name]
    assert unions_grid.is_primary(name, ra, dec)
    assert not any(unions_grid.is_primary(other, ra, dec) for other in others)


@given(RA, st.floats(-82, 82))
def test_the_image_of_the_tile_holds_the_position(ra: float, dec: float) -> None:
    """So an object in an overlap is never lost: the tile that counts it has seen it."""
    assert unions_grid.contains(unions_grid.tile_at(ra, dec), ra, dec)
    assert unions_grid.tiles_covering(ra, dec)[0] == unions_grid.tile_at(ra, dec)


def test_the_cosine_is_that_of_the_tile_centre() -> None:
    """A quarter of a degree off the centre line, the object's own cosine would point to a neighbour."""
    ra, dec = 250.0, 60.24
    own = round(2 * ra * np.cos(np.radians(dec)))
    x, y = map(int, unions_grid.tile_at(ra, dec).split("."))
    assert (x, y) == (round(2 * ra * np.cos(np.radians(60.0))), 300)
    assert x != own


def test_overlaps_are_counted_once() -> None:
    """Over a patch of sky that crosses RA 0, the tiles that hold a position agree on the one that counts it."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-2, 2, 500) % 360, rng.uniform(22, 25, 500)
    around = {name for r, d in zip(ra, dec, strict=True) for name in unions_grid.tiles_covering(r, d)}
    claims = sum(unions_grid.is_primary(name, ra, dec).astype(int) for name in around)
    seen = sum(unions_grid.contains(name, ra, dec).astype(int) for name in around)
    np.testing.assert_array_equal(claims, 1)
    assert seen.max() > 1


def test_the_survey_s_tiles_past_ra_360_are_tiles() -> None:
    """CFIS.661.227.r.fits exists: rows do not close at RA 360, and run one or two tiles into their own beginning."""
    ra, dec = unions_grid.centre("661.227")
    assert ra == pytest.approx(0.39, abs=0.01)
    assert "661.227" in unions_grid.tiles_covering(ra, dec)
    assert not unions_grid.is_primary("661.227", ra, dec)


def test_720_is_0() -> None:
    assert unions_grid.centre("720.180") == unions_grid.centre("000.180") == (0.0, 0.0)
    assert unions_grid.tile_at(359.99, 0.0) == "000.180"


@pytest.mark.parametrize("name", ["217.361", "719.292", "005.000", "010.001", "217", "a.b", "-1.200", "217.292.r", ""])
def test_a_tile_off_the_grid_is_refused_by_name(name: str) -> None:
    with pytest.raises(ScannerError) as caught:
        unions_grid.centre(name)
    assert caught.value.code == "tile.off_grid"
    assert "xxx.yyy" in caught.value.hint


def test_positions_are_vectors() -> None:
    ra, dec = unions_grid.centre("110.280")
    flags = unions_grid.is_primary("110.280", np.array([ra, ra + 1, np.nan]), np.array([dec, dec, dec]))
    np.testing.assert_array_equal(flags, [True, False, False])
    assert unions_grid.is_primary("brick", np.zeros(3), np.zeros(3), grid=None).all()


@pytest.mark.parametrize(("ra", "dec"), [(10.0, 90.1), (10.0, np.nan), (np.inf, 0.0)])
def test_no_tile_off_the_sky(ra: float, dec: float) -> None:
    with pytest.raises(ScannerError) as caught:
        unions_grid.tile_at(ra, dec)
    assert caught.value.code == "position.off_sky"


def test_right_ascension_wraps() -> None:
    assert unions_grid.tile_at(-10.0, 30.0) == unions_grid.tile_at(350.0, 30.0) == unions_grid.tile_at(710.0, 30.0)


def test_half_a_side_of_a_tile_is_the_survey_s() -> None:
    assert np.degrees(unions_grid.HALF_SIZE) * 2 * 3600 == pytest.approx(10_000 * 0.18577)

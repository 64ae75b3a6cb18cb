"""Cones find what a look at every object finds, everywhere on the sky, and read only the tiles they must."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs.errors import ScannerError
from catalogs.sky import geometry
from catalogs.store import tile_reader, tile_store


def brute_force(ra, dec, centre, radius):
    away = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(*centre, unit="deg")).arcsec
    return set(np.flatnonzero(away <= radius))


@pytest.fixture(scope="module")
def odd_places():
    """Objects around RA 0, around both poles, and a wide scatter: 4 tiles."""
    rng = np.random.default_rng(11)
    return {
        "100.180": ((rng.uniform(-0.3, 0.3, 400)) % 360, rng.uniform(-0.3, 0.3, 400)),
        "100.360": (rng.uniform(0, 360, 400), 90 - rng.uniform(0, 0.4, 400)),
        "100.000": (rng.uniform(0, 360, 400), -90 + rng.uniform(0, 0.4, 400)),
        "300.270": (rng.uniform(100, 140, 400), rng.uniform(30, 60, 400)),
    }


@pytest.fixture
def odd_catalogue(catalogue, odd_places, make_rows, write_tile):
    for number, (tile, (ra, dec)) in enumerate(odd_places.items()):
        write_tile(catalogue, tile, make_rows(number, ra, dec))
    return catalogue


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [
        (0.0, 0.0, 300),
        (360.0, 0.1, 300),
        (359.99, -0.1, 600),
        (0.01, 0.2, 600),
        (123.0, 90.0, 500),
        (5.0, 89.9, 800),
        (185.0, 89.95, 400),
        (200.0, -89.9, 900),
        (0.0, -90.0, 300),
        (120.0, 45.0, 20_000),
        (250.0, 10.0, 60),
        (0.0, 0.0, 180 * 3600),
    ],
)
def test_a_cone_finds_what_brute_force_finds(odd_catalogue, odd_places, ra, dec, radius):
    found = odd_catalogue.cone(ra, dec, radius, columns=["object_id", "ra", "dec"])
    expected = set()
    for number, (all_ra, all_dec) in enumerate(odd_places.values()):
        expected |= {number * 1_000_000 + row for row in brute_force(all_ra, all_dec, (ra, dec), radius)}
    assert set(found["object_id"]) == expected
    centre = SkyCoord(ra, dec, unit="deg")
    away = SkyCoord(found["ra"], found["dec"], unit=u.deg).separation(centre).arcsec
    assert np.allclose(found["separation"], away, atol=1e-6)
    assert np.all(np.diff(found["separation"]) >= 0)
    assert found["separation"].unit == "arcsec"


def test_only_tiles_that_a_cone_touches_are_read(odd_catalogue, monkeypatch):
    read = []
    opened = tile_store.TileFile
    monkeypatch.setattr(tile_store, "TileFile", lambda path, schema: read.append(path.stem) or opened(path, schema))
    odd_catalogue.cone(0.0, 0.0, 60)
    odd_catalogue.cone(123.0, 90.0, 60)
    assert read == ["100.180", "100.360"]


def test_row_groups_outside_the_declinations_are_skipped(catalogue, run, make_rows, monkeypatch):
    monkeypatch.setattr("catalogs.store.tile_writer.ROW_GROUP", 100)
    dec = np.linspace(10, 10.5, 1000)
    with catalogue.writer("1.200", run) as writer:
        writer.write(make_rows(1, np.full(1000, 20.0), dec))
    near = tile_reader.Selection(near=geometry.Circle(20.0, 10.26, 0.02))
    with catalogue.open_tile("1.200") as file:
        assert file.row_groups(near) == [4, 5]
    assert len(catalogue.cone(20.0, 10.26, 36)) == len(brute_force(np.full(1000, 20.0), dec, (20.0, 10.26), 36))


def test_a_cone_takes_a_filter_and_columns(odd_catalogue):
    whole = odd_catalogue.cone(0.0, 0.0, 1000)
    bright = odd_catalogue.cone(0.0, 0.0, 1000, columns=["mag_r", "embedding"], where="mag_r < 15")
    assert bright.colnames == ["separation", "mag_r", "embedding"]
    assert len(bright) == np.sum(whole["mag_r"] < 15)
    assert bright["embedding"].shape == (len(bright), 16)


@pytest.mark.parametrize("where", [(0, 91, 10), (0, -91, 10), (0, 0, -1), (np.nan, 0, 10), (np.inf, 0, 10)])
def test_a_cone_off_the_sky_is_refused(catalogue, where):
    with pytest.raises(ScannerError) as refused:
        catalogue.cone(*where)
    assert refused.value.code == "sky.out_of_range"


def test_a_cone_is_the_same_from_any_turn(odd_catalogue):
    here = odd_catalogue.cone(0.25, 0.0, 1000, columns=["object_id"])
    assert len(here) > 10
    for turn in (-360, 360):
        assert odd_catalogue.cone(0.25 + turn, 0.0, 1000, columns=["object_id"])["object_id"].tolist() == (
            here["object_id"].tolist()
        )


def test_footers_are_remembered_and_a_changed_tile_is_noticed(catalogue, run, make_rows, write_tile, monkeypatch):
    monkeypatch.setattr("catalogs.store.footers._WORTH_SAVING", 1)
    write_tile(catalogue, "1.200", make_rows(1, [10.0], [10.0]))
    assert len(catalogue.cone(10.0, 10.0, 10)) == 1
    assert (catalogue.path / "index" / "footers.json").exists()
    with monkeypatch.context() as unread:
        unread.setattr("catalogs.store.footers.read", lambda *given: pytest.fail("read again"))
        assert len(catalogue.cone(10.0, 10.0, 10)) == 1
    write_tile(catalogue, "1.200", make_rows(1, [50.0, 50.0], [10.0, 10.1]))
    assert len(catalogue.cone(10.0, 10.0, 10)) == 0
    assert len(catalogue.cone(50.0, 10.0, 10)) == 1
    (catalogue.path / "index" / "footers.json").write_text("nonsense")
    assert len(catalogue.cone(50.0, 10.0, 10)) == 1


positions = st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)), min_size=1, max_size=30)


@given(positions)
@settings(deadline=None)
def test_a_bounding_circle_holds_all_its_positions(places):
    ra, dec = np.array(places).T
    circle = geometry.bounding_circle(ra, dec)
    assert circle is not None
    assert circle.contains(ra, dec).all()


@given(positions, st.floats(0, 5))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_close_pairs_are_those_of_brute_force(places, radius):
    ra, dec = np.array(places).T
    expected = [
        (i, j)
        for i in range(len(ra))
        for j in range(i + 1, len(ra))
        if geometry.separation(ra[i], dec[i], ra[j], dec[j]) <= radius
    ]
    assert geometry.close_pairs(ra, dec, radius) == expected
    with pytest.MonkeyPatch.context() as patch:  # as in a dense field, by a tree
        patch.setattr(geometry, "_SWEPT", 0)
        assert geometry.close_pairs(ra, dec, radius) == expected
        assert geometry.close_pairs(np.full(3, np.nan), np.zeros(3), radius) == []

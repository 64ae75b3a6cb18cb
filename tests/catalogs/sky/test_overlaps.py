"""Overlapping tiles count every place once, whichever of them are there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalogs
from catalogs.ranking import rank
from catalogs.search.matching import match
from catalogs.sky import unions_grid
from catalogs.sky.overlaps import OverlapOwners

FIELD = [f"{x:03d}.{y:03d}" for y in (291, 292, 293) for x in (215, 216, 217, 218, 219)]


def places(name: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions all over a tile's image and a little beyond."""
    ra, dec = unions_grid.centre(name)
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-0.3, 0.3, (2, count))
    dec = np.clip(dec + north, -90, 90)
    return (ra + east / max(np.cos(np.radians(unions_grid.centre(name)[1])), 1e-3)) % 360, dec


def claims(there: list[str], ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the tiles that are there count each position, and how many hold it."""
    owners = OverlapOwners(tuple(there))
    counted, held = np.zeros(len(ra), int), np.zeros(len(ra), int)
    for name in there:
        holds = unions_grid.contains(name, ra, dec)
        counted[holds] += owners.primary(
            name, ra[holds], dec[holds], unions_grid.is_primary(name, ra[holds], dec[holds])
        )
        held += holds
    return counted, held


@given(st.sets(st.sampled_from(FIELD), min_size=1), st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_every_place_that_a_tile_there_holds_is_counted_once(there: set[str], seed: int) -> None:
    counted, held = claims(sorted(there), *places("217.292", 400, seed))
    assert np.array_equal(counted, (held > 0).astype(int))


@pytest.mark.parametrize("around", ["000.292", "402.292", "719.180", "000.180", "661.227", "050.340"])
def test_once_at_ra_0_past_360_and_far_north_too(around: str) -> None:
    there = [around, *unions_grid.neighbours(around)]
    ra, dec = places(around, 2000)
    for missing in ("", *there[:4]):
        counted, held = claims([name for name in there if name != missing], ra, dec)
        sure = held > 0
        assert counted[sure].max() == counted[sure].min() == 1, missing


@given(st.floats(0, 360, exclude_max=True), st.floats(-88, 88))
def test_tiles_that_hold_one_place_are_neighbours(ra: float, dec: float) -> None:
    names = unions_grid.tiles_covering(ra, dec)
    for name in names:
        assert set(names) - {name} <= set(unions_grid.neighbours(name))


def test_a_tile_alone_counts_all_of_its_rows_and_hands_over_those_of_a_neighbour_that_arrives(
    tmp_path, run, make_rows, write_tile
) -> None:
    on_grid = dataclasses.replace(run, grid="unions")
    catalogue = catalogs.create(tmp_path / "embeddings", on_grid)

    def write(name: str) -> int:
        ra, dec = places(name, 3000, seed=int(name[:3]))
        inside = unions_grid.contains(name, ra, dec)
        rows = make_rows(int(name.replace(".", "")), ra[inside], dec[inside])
        rows["is_primary"] = unions_grid.is_primary(name, ra[inside], dec[inside])
        write_tile(catalogue, name, rows, on_grid)
        return int(inside.sum())

    count = write("217.292")
    alone = catalogue.table(["object_id"], where="is_primary")
    assert len(alone) == count
    before = catalogue.tile_path("217.292").read_bytes()
    write("218.292")
    both = catalogs.open(catalogue.path).table(["object_id", "tile", "ra", "dec"], where="is_primary")
    handed = len(alone) - np.sum(both["tile"] == "217.292")
    assert 0 < handed < 0.1 * count
    assert not unions_grid.is_primary("218.292", both["ra"], both["dec"])[both["tile"] == "217.292"].any()
    assert catalogue.tile_path("217.292").read_bytes() == before


def test_filters_cones_and_rankings_agree_on_what_counts(tmp_path, run, make_rows, write_tile) -> None:
    """Also for a row group in which the file itself says of no row that it counts."""
    on_grid = dataclasses.replace(run, grid="unions")
    catalogue = catalogs.create(tmp_path / "embeddings", on_grid)
    ra0, dec0 = unions_grid.centre("217.292")
    ra, dec = np.array([ra0, ra0 + 1e-3]), np.array([dec0 - 0.2545, dec0 - 0.2546])  # in the rim that row 291 owns
    assert unions_grid.contains("217.292", ra, dec).all()
    rows = make_rows(217292, ra, dec, is_primary=unions_grid.is_primary("217.292", ra, dec))
    assert not rows["is_primary"].any()
    write_tile(catalogue, "217.292", rows, on_grid)
    assert len(catalogue.table(where="is_primary")) == 2
    assert catalogue.table()["is_primary"].all()
    assert catalogue.cone(ra0, dec0, 2000)["is_primary"].all()
    assert catalogue.neighbours(object_id=217292000000, k=1)["is_primary"].all() in (True, np.True_)
    ranked = rank.rank(catalogue, match(catalogue.snapshot(), ra[:1], dec[:1]), k=5, method="nearest")
    assert len(ranked) == 2
    assert ranked["is_primary"].all()
    owner = unions_grid.tile_at(float(ra[0]), float(dec[0]))
    write_tile(catalogue, owner, make_rows(int(owner.replace(".", "")), ra[:0], dec[:0]), on_grid)
    assert len(catalogue.table(where="is_primary")) == 0  # the owner is there and did not find them


def test_tiles_off_the_grid_count_what_their_files_say() -> None:
    own = np.array([True, False])
    assert np.array_equal(OverlapOwners(("brick", "217.292")).primary("brick", np.zeros(2), np.zeros(2), own), own)
    nowhere = OverlapOwners(("217.292",)).primary("217.292", np.array([np.nan]), np.array([np.nan]), np.array([False]))
    assert not nowhere.any()

"""Positions become examples: the objects that ``match_one`` would name, each once, with their vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalogs.catalogue import Catalogue
from catalogs.search.matching import match, match_ids, match_one
from catalogs.sky import crossmatch, geometry
from catalogs.store import rows
from tests.support import planted
from tests.support.catalogue_rows import DIM, Rows


@pytest.fixture
def crowded(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    """Two tiles across RA 0 that hold the same 60 objects, primary in one of them; some have a close neighbour."""
    rng = np.random.default_rng(5)
    ra, dec = (rng.uniform(-0.02, 0.02, 60)) % 360, 30 + rng.uniform(0, 0.02, 60)
    ra[50:], dec[50:] = ra[:10], dec[:10] + 1.5 / 3600
    first = rng.random(60) < 0.5
    for number, primary in enumerate((first, ~first)):
        shift = number * 0.1 / 3600
        write_tile(catalogue, f"00{number}.240", make_rows(240 + number, ra, dec + shift, is_primary=primary))
    return catalogue


def test_each_position_gets_the_object_that_a_query_would_get(crowded: Catalogue) -> None:
    rng = np.random.default_rng(1)
    table = crowded.table(["ra", "dec"])
    ra = (np.asarray(table["ra"]) + rng.normal(0, 0.7 / 3600, len(table))) % 360
    dec = np.asarray(table["dec"]) + rng.normal(0, 0.7 / 3600, len(table))
    snapshot = crowded.snapshot()
    one_by_one = [match_one(snapshot, ra=a, dec=d) for a, d in zip(ra.tolist(), dec.tolist(), strict=True)]
    matches = match(crowded.snapshot(), ra.tolist(), dec.tolist())
    assert sorted(matches.object_id.tolist()) == sorted({one.object_id for one in one_by_one})
    vector = {one.object_id: one.vector / np.linalg.norm(one.vector) for one in one_by_one}
    for identity, unit in zip(matches.object_id.tolist(), matches.vectors, strict=True):
        np.testing.assert_allclose(unit, vector[identity], atol=1e-6)


def test_two_positions_of_one_object_are_one_example_with_the_first_name(crowded: Catalogue) -> None:
    row = crowded.table(["ra", "dec"])[20]
    matches = match(
        crowded.snapshot(),
        [float(row["ra"])] * 2,
        [float(row["dec"]), float(row["dec"]) + 0.3 / 3600],
        names=["a", "b"],
    )
    assert matches.name.tolist() == ["a"]


def test_nothing_asked_is_nothing_found(crowded: Catalogue) -> None:
    assert len(match(crowded.snapshot(), [], [])) == 0
    assert match(crowded.snapshot(), [], []).vectors.shape == (0, DIM)


def test_an_object_without_a_vector_is_no_example(
    catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    write_tile(catalogue, "001.240", make_rows(1, [10.0, 10.1], [30.0, 30.0], np.array([[np.nan] * DIM, [1.0] * DIM])))
    matches = match(catalogue.snapshot(), [10.0, 10.1], [30.0, 30.0])
    assert matches.object_id.tolist() == [1_000_001]
    assert [(one.name, one.code) for one in matches.unmatched] == [("1", "query.no_embedding")]


def test_ids_that_are_not_there_are_unmatched(crowded: Catalogue) -> None:
    table = crowded.table(["object_id", "ra"])
    matches = match_ids(crowded.snapshot(), {int(table["object_id"][3]): "x", 999_000_000_000: "gone"})
    assert (matches.name.tolist(), matches.ra.tolist()) == (["x"], [float(table["ra"][3])])
    assert [(one.name, one.code) for one in matches.unmatched] == [("gone", "query.unknown_object")]


def test_more_ids_of_one_tile_than_a_filter_has_room_for(
    catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    ra, dec = np.meshgrid(np.linspace(10, 10.4, 40), np.linspace(30, 30.4, 40))
    write_tile(catalogue, "001.240", make_rows(100_000, ra.ravel(), dec.ravel()))
    assert len(match(catalogue.snapshot(), ra.ravel().tolist(), dec.ravel().tolist())) == 1600


def test_joined_and_chosen_examples_keep_their_own_vectors(
    catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    planted.plant(catalogue, make_rows, write_tile, tiles=1)
    some = planted.matched(catalogue, planted.is_lens, 4)
    three_each = some.with_vectors(np.repeat(some.vectors, 3, axis=0), np.repeat(np.arange(4), 3))
    others = planted.matched(catalogue, lambda ids: ~planted.is_lens(ids), 2)
    both = three_each[np.array([True, False, True, True])].join(others).join(some[np.array([0])])
    assert both.object_id.tolist() == [*some.object_id[[0, 2, 3]].tolist(), *others.object_id.tolist()]
    assert both.owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]
    for place, identity in enumerate(some.object_id[[0, 2, 3]]):
        expected = some.vectors[some.object_id == identity]
        np.testing.assert_allclose(both.vectors[both.owner == place], np.repeat(expected, 3, axis=0), atol=1e-6)
    assert both.without(others).object_id.tolist() == some.object_id[[0, 2, 3]].tolist()


def test_crossmatch_is_that_of_all_distances_at_ra_0_and_at_the_pole() -> None:
    rng = np.random.default_rng(2)
    for ra, dec in ((0.0, 0.0), (123.0, 89.99995)):
        one = (ra + rng.normal(0, 0.001, (2, 80)).T @ np.eye(2)) % 360
        ra1, dec1 = one[:, 0], np.minimum(dec + rng.normal(0, 0.001, 80), 90)
        ra2, dec2 = (ra + rng.normal(0, 0.001, 70)) % 360, np.minimum(dec + rng.normal(0, 0.001, 70), 90)
        matches = crossmatch.nearest(ra1, dec1, ra2, dec2, 3 / 3600)
        away = np.array([geometry.separation(a, d, ra2, dec2) for a, d in zip(ra1, dec1, strict=True)])
        near = away.min(axis=1) <= 3 / 3600
        assert matches.matched.tolist() == near.tolist()
        np.testing.assert_allclose(matches.separation[near], away.min(axis=1)[near], rtol=1e-6)
    nearest = crossmatch.nearest([np.nan, 1.0], [0.0, 1.0], [1.0, np.nan], [1.0, 1.0], 1.0)
    assert nearest.index.tolist() == [-1, 0]
    assert crossmatch.nearest([], [], [1.0], [1.0], 1.0).index.tolist() == []


def test_a_tile_replaced_after_the_match_gives_no_vector_of_another_object(
    crowded: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row numbers change when a tile is scanned again; the object near a position is found by its id."""
    snapshot = crowded.snapshot()
    path = crowded.tile_path("000.240")
    every = pq.read_table(path)
    ra, dec = (every.column(name).to_pylist()[20:30] for name in ("ra", "dec"))
    expected = match(crowded.snapshot(), ra, dec)
    assert "000.240" in expected.tile.tolist()
    tile_groups, calls = rows.tile_groups, []

    def replaced(*arguments: object) -> object:
        # The file is replaced when the positions in both tiles were read, and no embedding.
        calls.append(arguments)
        if len(calls) == 3:
            pq.write_table(every.slice(10).replace_schema_metadata(every.schema.metadata), path)
        return tile_groups(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "tile_groups", replaced)
    matches = match(snapshot, ra, dec)
    assert len(calls) == 4
    np.testing.assert_array_equal(matches.object_id, expected.object_id)
    np.testing.assert_array_equal(matches.vectors, expected.vectors)

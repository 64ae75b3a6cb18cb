"""Filters and regions go into the search: masked exactly, or through the index by asking for more."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.index.build import IndexOptions, build_index
from catalogs.search import candidates
from catalogs.search.candidates import Candidates
from catalogs.store.rows import selection


@pytest.fixture
def indexed(survey, monkeypatch):
    """Six tiles in three shards, always searched through the index unless a filter says otherwise."""
    build_index(survey, IndexOptions(shard_rows=700))
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    monkeypatch.setattr(candidates, "FEW_ROWS", 0)
    return survey


def truth(survey, vector, k, **restricted):
    whole = survey.table(["object_id", "embedding"], where=restricted.get("where"))
    if near := restricted.get("near"):
        inside = set(survey.cone(*near, columns=["object_id"])["object_id"])
        whole = whole[[one in inside for one in whole["object_id"]]]
    cosine = whole["embedding"] @ vector / np.linalg.norm(whole["embedding"], axis=1)
    return list(whole["object_id"][np.argsort(-cosine)[:k]]), len(whole)


@pytest.mark.parametrize("where", ["mag_r < 20", "mag_r < 28 and flags & 1 == 0", 'tile == "102.240"', "isnan(mag_r)"])
@pytest.mark.parametrize("few", [0, 10_000], ids=["by index", "exactly"])
def test_a_filter_is_applied_before_the_best_are_taken(indexed, monkeypatch, where, few):
    monkeypatch.setattr(candidates, "FEW_ROWS", few)
    vector = np.random.default_rng(3).normal(size=16)
    answer = indexed.neighbours(vector=vector, k=15, where=where)
    expected, passing = truth(indexed, vector, 15, where=where)
    assert list(answer["object_id"]) == expected
    assert answer.meta["rows_exact"] + answer.meta["rows_indexed"] == passing
    if few:
        assert answer.meta["rows_indexed"] == 0


def test_a_wide_filter_goes_through_the_index_a_narrow_one_does_not(indexed):
    vector = np.random.default_rng(3).normal(size=16)
    wide = indexed.neighbours(vector=vector, where="mag_r < 28").meta
    assert wide["rows_indexed"] > 0
    assert wide["rows_exact"] == 0
    narrow = indexed.neighbours(vector=vector, where="mag_r < 2").meta
    assert narrow["rows_indexed"] == 0
    assert narrow["rows_exact"] > 0


def test_a_region_over_ra_zero_and_a_filter_together(indexed):
    vector = np.random.default_rng(4).normal(size=16)
    restricted = {"near": (0.0, 30.25, 2500.0), "where": "snr > 5"}
    answer = indexed.neighbours(vector=vector, k=10, **restricted)
    assert list(answer["object_id"]) == truth(indexed, vector, 10, **restricted)[0]


def test_a_region_needs_no_tile_file(indexed, monkeypatch):
    """Positions are in the index: of the tiles only the rows of the answer are read."""
    vector = np.random.default_rng(4).normal(size=(1, 16)).astype(np.float32)
    region = selection(indexed, None, (0.0, 30.25, 2500.0))
    search = Candidates(indexed.snapshot(), vector / np.linalg.norm(vector), region)
    monkeypatch.setattr(candidates.rows, "tile_groups", None)
    assert len(search.best(10)[0]) == 10


def test_a_filter_that_drops_all_that_is_near_falls_back_to_comparing(indexed, make_rows, write_tile, monkeypatch):
    """What the index offers fails the filter, so those rows that pass are compared: the answer is complete."""
    rng = np.random.default_rng(8)
    near, far = rng.normal(size=(2000, 16)) * 0.01 + 1, rng.normal(size=(2000, 16))
    mag = np.r_[np.full(2000, 25.0), np.full(2000, 15.0)]
    ra, dec = rng.uniform(10, 11, 4000), rng.uniform(30, 31, 4000)
    write_tile(indexed, "300.240", make_rows(300, ra, dec, np.r_[near, far], mag_r=mag))
    build_index(indexed, IndexOptions(shard_rows=700))
    for path in (indexed.path / "index").glob("shard-*.json"):
        path.write_text(path.read_text().replace('"candidates": 500', '"candidates": 50'))
    answer = indexed.neighbours(vector=np.ones(16), k=10, where='mag_r < 20 and tile == "300.240"')
    assert list(answer["object_id"]) == truth(indexed, np.ones(16), 10, where='mag_r < 20 and tile == "300.240"')[0]


def test_rows_that_cannot_be_had_in_any_shard_give_an_empty_answer(indexed):
    answer = indexed.neighbours(vector=np.ones(16), where="mag_r < -5")
    assert len(answer) == 0
    assert answer.meta == {"rows_exact": 0, "rows_indexed": 0}


def test_thousands_of_neighbours_are_found_exactly(indexed, monkeypatch):
    monkeypatch.setattr(candidates, "MOST", 200)
    answer = indexed.neighbours(vector=np.ones(16), k=100)
    assert answer.meta == {"rows_exact": 1800, "rows_indexed": 0}

"""Recall is measured, told with its interval, and can be asked for."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import catalogs
from catalogs import estimate
from catalogs.errors import ScannerError
from catalogs.estimate import Estimate
from catalogs.index import tuning
from catalogs.index.build import IndexOptions, build_index
from catalogs.index.settings import IndexSettings
from catalogs.search import candidates, index_recall


@pytest.fixture
def wide(tmp_path, run, make_rows, write_tile):
    """9,000 objects of 64 dimensions in three tiles: enough for an index to miss some."""
    rng = np.random.default_rng(6)
    by = dataclasses.replace(run, contract={"embedding_dim": 64})
    catalogue = catalogs.create(tmp_path / "wide", by)
    for number in range(3):
        embedding = rng.normal(size=(3000, 64)) * (np.arange(64) + 1.0) ** -0.4
        ra, dec = rng.uniform(0, 360, 3000), rng.uniform(-80, 80, 3000)
        write_tile(catalogue, f"{number}.1", make_rows(number, ra, dec, embedding), by)
    return catalogue


def test_a_wanted_recall_is_reached_recorded_and_used(wide, monkeypatch):
    monkeypatch.setattr(tuning, "QUERIES", 60)
    low, high = (build_index(wide, IndexOptions(target=target, trees=6)).recipe for target in (0.3, 0.95))
    assert low is not None
    assert high is not None
    assert low.effort < high.effort
    sidecar = json.loads((wide.path / "index" / "shard-00000.json").read_text())
    assert sidecar["recipe"] == dataclasses.asdict(high)
    assert build_index(wide).recipe == high
    found = index_recall.verify(wide, questions=60)
    assert found.recall_at_10.value >= 0.9
    assert found.recipe == high


def test_trees_are_tried_too(wide, monkeypatch):
    monkeypatch.setattr(tuning, "QUERIES", 30)
    from catalogs.index import annoy_engine

    monkeypatch.setattr(annoy_engine, "TREES", (2, 12))
    report = build_index(wide, IndexOptions(target=0.8))
    assert report.recipe is not None
    assert report.recipe.trees in (2, 12)
    assert not list((wide.path / "index").glob(f"{tuning.FOLDER}*"))


def test_trees_that_make_no_difference_are_not_built():
    quick = [(0.50, IndexSettings("annoy", 64, 16, 1, 2000, 500)), (0.51, IndexSettings("annoy", 64, 6, 1, 2000, 500))]
    slow = [(0.60, IndexSettings("annoy", 64, 4, 1, 3500, 500))]
    assert tuning.choose_cheapest(quick + slow).trees == 6


def test_a_recall_that_cannot_be_had_is_an_error_and_harms_nothing(wide, monkeypatch):
    monkeypatch.setattr(tuning, "QUERIES", 20)
    build_index(wide)
    with pytest.raises(ScannerError) as refused:
        build_index(wide, IndexOptions(target=0.999, dims=1, trees=2))
    assert refused.value.code == "index.recall"
    assert "--index-dims" in refused.value.hint
    found = wide.neighbours(vector=np.ones(64), k=5)
    assert len(found) == 5


def test_verify_tells_recall_with_its_interval_and_both_latencies(wide, monkeypatch):
    build_index(wide, IndexOptions(shard_rows=4000))
    found = index_recall.verify(wide, questions=40)
    assert (found.rows, found.questions, found.default) == (9000, 40, "exact")
    for recall in (found.recall_at_10, found.recall_at_100):
        assert 0.5 < recall.low <= recall.value <= recall.high <= 1
    assert min(found.index_ms, found.exact_ms) > 0
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    assert index_recall.verify(wide, questions=5).default == "index"


def test_verify_sees_an_index_that_misses(wide):
    build_index(wide)
    for path in (wide.path / "index").glob("shard-*.json"):
        path.write_text(path.read_text().replace('"effort": 5000', '"effort": 400'))
    assert index_recall.verify(wide, questions=40).recall_at_10.value < 0.9


def test_without_an_index_there_is_nothing_to_verify(wide):
    with pytest.raises(ScannerError) as refused:
        index_recall.verify(wide)
    assert refused.value.code == "index.none"


def test_the_interval_is_that_of_the_mean():
    found = estimate.estimate_mean(np.r_[np.ones(90), np.zeros(10)])
    assert found.value == 0.9
    assert 0.82 < found.low < 0.87
    assert 0.93 < found.high < 0.97
    assert estimate.estimate_mean(np.ones(50)) == Estimate(1.0, 1.0, 1.0)

"""Engines: the same four functions, the traps of each, and what is kept from run to run."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import catalogs
from catalogs import atomic
from catalogs.errors import ScannerError
from catalogs.index import annoy_engine, half_vectors, searcher
from catalogs.index.build import IndexOptions, build_index
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.search import candidates, neighbours
from catalogs.store import vectors

ENGINES = [
    "annoy",
    pytest.param("faiss", marks=pytest.mark.skipif(find_spec("faiss") is None, reason="faiss is not installed")),
]
DIM = 48


@pytest.fixture
def stored(tmp_path):
    """3,000 vectors in 30 clusters, most of their variance in front, as records in a file."""
    rng = np.random.default_rng(2)
    scale = (np.arange(DIM) + 1.0) ** -0.7
    centres = rng.normal(size=(30, DIM)) * scale
    found = centres[rng.integers(30, size=3000)] + 0.3 * rng.normal(size=(3000, DIM)) * scale
    embedding = vectors.round_mantissa(vectors.unit(found.astype(np.float32)))
    (tmp_path / "rows.f16").write_bytes(half_vectors.pack(embedding).tobytes())
    return embedding, HalfVectors(tmp_path / "rows.f16", DIM)


def recipe(name: str, **other: int) -> IndexSettings:
    engine = find_engine(name)
    return IndexSettings(**{"engine": name, "dims": 16, "trees": engine.TREES[0], "seed": 1, "effort": engine.EFFORT,
                     "candidates": 300, **other})  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_finds_the_nearest_by_leading_numbers(stored, tmp_path, name):
    embedding, rows = stored
    engine = find_engine(name)
    engine.build(tmp_path / "file", rows, recipe(name), on_disk=False)
    engine.check(tmp_path / "file", len(rows), recipe(name))
    loaded = engine.load(tmp_path / "file", recipe(name))
    shares = []
    for query in embedding[:50]:
        found = engine.nearest(loaded, query[:16], 300, engine.EFFORT)
        assert len(set(found)) == len(found) <= 300
        ranked = found[np.argsort(-rows.cosines(found, query))][:10]
        shares.append(len(set(ranked) & set(np.argsort(-(embedding @ query))[:10])) / 10)
    assert np.mean(shares) >= 0.95


def test_faiss_leaves_other_libraries_their_threads(stored, tmp_path):
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        engine = find_engine("faiss")
        engine.build(tmp_path / "file", stored[1], recipe("faiss"), on_disk=False)
        engine.nearest(engine.load(tmp_path / "file", recipe("faiss")), stored[0][0][:16], 10, engine.EFFORT)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("name", ENGINES)
def test_the_same_rows_give_the_same_file_on_disk_or_in_memory(stored, tmp_path, name):
    engine = find_engine(name)
    for file, on_disk in (("a", False), ("b", True), ("c", False)):
        engine.build(tmp_path / file, stored[1], recipe(name), on_disk=on_disk)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("name", ENGINES)
def test_the_file_stays_locked_while_it_is_built(stored, tmp_path, name, on_disk):
    """Else a scan that starts meanwhile would remove it, as the file of a process that was killed."""
    with atomic.replacing(tmp_path / "file") as temporary:
        find_engine(name).build(temporary, stored[1], recipe(name), on_disk=on_disk)
        assert atomic.remove_stale(tmp_path) == 0
        assert temporary.stat().st_size > 0


@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_cannot_be_it_is_told_before_it_is_opened(stored, tmp_path, name):
    engine = find_engine(name)
    engine.build(tmp_path / "file", stored[1], recipe(name), on_disk=False)
    with pytest.raises(ValueError, match="it"):
        engine.check(tmp_path / "file", 500_000, recipe(name))
    with pytest.raises(ValueError, match="it"):
        engine.check(tmp_path / "file", 3000, recipe(name, dims=2000))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_few_rows_or_none_are_no_special_case(tmp_path, name, count):
    embedding = vectors.unit(np.random.default_rng(1).normal(size=(count, DIM)).astype(np.float32))
    (tmp_path / "rows").write_bytes(half_vectors.pack(embedding).tobytes())
    engine = find_engine(name)
    engine.build(tmp_path / "file", HalfVectors(tmp_path / "rows", DIM), recipe(name), on_disk=False)
    if count:
        found = engine.nearest(engine.load(tmp_path / "file", recipe(name)), embedding[0][:16], 100, 1000)
        assert sorted(found) == list(range(count))


def test_annoy_compiled_for_another_processor_is_an_error_not_a_crash(monkeypatch, stored, tmp_path):
    annoy_engine._check_processor.cache_clear()
    monkeypatch.setattr(annoy_engine, "_TRIAL", f"import os; os.kill(os.getpid(), {signal.SIGILL.value})")
    with pytest.raises(ScannerError) as refused:
        annoy_engine.load(tmp_path / "file", recipe("annoy"))
    assert refused.value.code == "index.processor"
    assert "SIGILL" in refused.value.message


def test_where_the_engine_does_not_run_search_is_exact_and_says_so(survey, monkeypatch, caplog):
    build_index(survey)
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    expected = list(survey.neighbours(vector=np.arange(16.0), k=8)["object_id"])
    annoy_engine._check_processor.cache_clear()

    searcher.close_all()
    monkeypatch.setattr(annoy_engine, "_TRIAL", "import os; os.abort()")
    found = survey.neighbours(vector=np.arange(16.0), k=8)
    assert list(found["object_id"]) == expected
    assert found.meta == {"rows_exact": 1800, "rows_indexed": 0}
    assert "Searching exactly" in caplog.text


def test_without_faiss_it_says_what_to_install(survey, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ScannerError) as refused:
        build_index(survey, IndexOptions(engine="faiss"))
    assert refused.value.code == "index.no_engine"
    assert "[faiss]" in refused.value.hint


def test_an_unknown_engine_and_too_many_dimensions_are_refused(survey):
    for options, code in (
        (IndexOptions(engine="scann"), "index.bad_engine"),
        (IndexOptions(dims=17), "index.bad_dims"),
    ):
        with pytest.raises(ScannerError) as refused:
            build_index(survey, options)
        assert refused.value.code == code


@pytest.mark.skipif(find_spec("faiss") is None, reason="faiss is not installed")
def test_engines_can_be_changed_and_changed_back(survey, monkeypatch):
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    expected = list(survey.neighbours(vector=np.arange(16.0), k=8)["object_id"])
    for name in ("annoy", "faiss", "faiss", "annoy"):
        report = build_index(survey, IndexOptions(engine=name))
        assert report.recipe is not None
        assert report.recipe.engine == name
        found = survey.neighbours(vector=np.arange(16.0), k=8)
        assert list(found["object_id"]) == expected
        assert found.meta["rows_indexed"] == 1800
    assert len(list((survey.path / "index").glob("*.ann"))) == 1


def test_what_was_chosen_once_holds_for_later_runs(survey, make_rows, write_tile):
    build_index(survey, IndexOptions(trees=9, dims=8, shard_rows=700))
    write_tile(survey, "300.240", make_rows(300, [0.3], [30.3]))
    report = build_index(survey, IndexOptions(shard_rows=700))
    assert len(report.built) == 1
    assert report.recipe == IndexSettings("annoy", 8, 9, 1, 5000, 500)


def test_the_first_dimensions_are_taken_if_they_hold_half_of_the_variance(tmp_path, run, make_rows, write_tile):
    rng = np.random.default_rng(3)
    for name, decay, expected in (("ordered", 0.5, 64), ("even", 0.0, 128)):
        wide = dataclasses.replace(run, contract={"embedding_dim": 192})
        catalogue = catalogs.create(tmp_path / name, wide)
        embedding = rng.normal(size=(400, 192)) * (np.arange(192) + 1.0) ** -decay
        write_tile(catalogue, "1.1", make_rows(1, np.linspace(0, 1, 400), np.linspace(0, 1, 400), embedding), wide)
        report = build_index(catalogue)
        assert report.recipe is not None
        assert report.recipe.dims == expected


def test_leading_dimensions_find_and_all_of_them_rank(tmp_path, run, make_rows, write_tile, monkeypatch):
    """With 8 of 64 dimensions the candidates are rough; the similarities and their order are exact all the same."""
    rng = np.random.default_rng(6)
    wide = dataclasses.replace(run, contract={"embedding_dim": 64})
    catalogue = catalogs.create(tmp_path / "wide", wide)
    embedding = rng.normal(size=(6000, 64)) * (np.arange(64) + 1.0) ** -0.8
    for number in range(2):
        ra, dec = rng.uniform(0, 360, 3000), rng.uniform(-80, 80, 3000)
        write_tile(catalogue, f"{number}.1", make_rows(number, ra, dec, embedding[number::2]), wide)
    exact = neighbours.neighbours_of_many(catalogue.snapshot(), embedding[:30], 10)
    build_index(catalogue, IndexOptions(dims=8))
    sidecar = json.loads((catalogue.path / "index" / "shard-00000.json").read_text())
    assert (sidecar["dim"], sidecar["recipe"]["dims"]) == (64, 8)
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    found = neighbours.neighbours_of_many(catalogue.snapshot(), embedding[:30], 10)
    assert found[0].meta["rows_indexed"] == 6000
    shares = []
    for truth, answer in zip(exact, found, strict=True):
        known = dict(zip(truth["object_id"], truth["similarity"], strict=True))
        for identity, similarity in zip(answer["object_id"], answer["similarity"], strict=True):
            assert abs(known.get(identity, similarity) - similarity) < 1e-6
        shares.append(len(set(known) & set(answer["object_id"])) / 10)
    assert np.mean(shares) > 0.9

"""The catalogue of a server: the same answers as everywhere, from memory and from the map of the index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs.bounded_cache import BoundedCache
from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.index.build import IndexOptions, build_index
from catalogs.ranking import rank
from catalogs.ranking.rank import Ranking
from catalogs.search import full_pass, neighbours, ordering, resident
from catalogs.search.hits import Hits
from catalogs.search.resident import ResidentStore
from catalogs.store import rows
from catalogs.store.tile_reader import Selection
from tests.support import planted as lenses
from tests.support.catalogue_rows import DIM, SCORED_RUN, Rows, write


@pytest.fixture
def scored(tmp_path_factory: pytest.TempPathFactory, make_rows: Callable[..., Rows]) -> Catalogue:
    """Indexed tiles with lens scores and some rows without a vector, and one tile that the index does not cover."""
    filled = catalogs.create(tmp_path_factory.mktemp("scored") / "embeddings", SCORED_RUN)
    rng = np.random.default_rng(5)

    def tile(catalogue: Catalogue, name: str, made: Rows) -> None:
        made["embedding"][7] = np.nan
        write(catalogue, name, {**made, "score_lens": rng.normal(-5, 2, len(made["ra"])).astype("f4")}, SCORED_RUN)

    lenses.plant(filled, make_rows, tile)
    build_index(filled, IndexOptions(trees=2))
    embedding = np.full((50, DIM), 0.1) + rng.normal(size=(50, DIM))
    tile(filled, "030.240", make_rows(30240, 40 + rng.uniform(0, 0.5, 50), np.full(50, 30.0), embedding))
    return filled


def equal(one: object, other: object) -> None:
    """Two tables hold the same rows in the same order; numbers of a product agree to rounding."""
    assert one.colnames == other.colnames  # type: ignore[attr-defined]
    for name in one.colnames:  # type: ignore[attr-defined]
        mine, theirs = np.asarray(one[name]), np.asarray(other[name])  # type: ignore[index]
        if mine.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert mine.tolist() == theirs.tolist(), name


@pytest.mark.parametrize("method", ["auto", "probe", "nearest", "score"])
def test_a_ranking_from_the_map_is_that_of_the_tiles(
    scored: Catalogue, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResidentStore.open(scored.path)
    like = None if method == "score" else lenses.matched(scored, lenses.is_lens, 8)
    wanted = [Ranking(method, k=60, next="best"), Ranking(method, k=20, next="uncertain")]
    expected = [rank.rank(scored, like, ranking=one) for one in wanted]
    read = pq.ParquetFile.read_row_group

    def only_beside(file: pq.ParquetFile, group: int, columns: list[str]) -> object:
        assert columns == ["embedding"]
        table = read(file, group, columns=columns)
        assert table.num_rows == 50
        return table

    # The first time, columns come from the files. After that nothing but the tile beside the index is read.
    for _ in range(2):
        snapshot = store.snapshot()
        sample = rank.draw_ordinary(snapshot)
        lists = rank.rank_lists(store, like, None, None, wanted, snapshot=snapshot, sample=sample)
        for one, other in zip(lists, expected, strict=True):
            equal(one, other)
        monkeypatch.setattr(pq.ParquetFile, "read_row_group", only_beside)


def test_rows_and_orders_are_those_of_the_tiles(scored: Catalogue) -> None:
    store = ResidentStore.open(scored.path)
    vector = np.eye(DIM)[0]
    for _ in range(2):
        one, other = (neighbours.neighbours(c.snapshot(), vector, 30, where="snr > 5") for c in (store, scored))
        equal(one, other)
        for column in (None, "snr"):
            equal(*(ordering.ordered(c.snapshot(), column, 40, near=(10.5, 30.2, 1500)) for c in (store, scored)))
        equal(*(rows.table(c.snapshot(), None, "is_primary") for c in (store, scored)))
    # From this size on, a server asks the index.
    assert one.meta["rows_indexed"] == 0
    store.exact_numbers = 0
    assert neighbours.neighbours(store.snapshot(), vector, 5).meta["rows_indexed"] > 0


def test_a_tile_that_is_replaced_is_read_anew(scored: Catalogue, make_rows: Callable[..., Rows]) -> None:
    store = ResidentStore.open(scored.path)
    before = store.snapshot()
    assert store.snapshot() is before
    assert len(rows.table(before, ["object_id"])) == 850
    fresh = make_rows(20240, np.array([10.1, 10.2]), np.array([30.1, 30.1]), np.eye(DIM)[:2])
    write(scored, "020.240", {**fresh, "score_lens": np.zeros(2, "f4")}, SCORED_RUN)
    assert store.snapshot() is not before
    assert len(rows.table(store.snapshot(), ["object_id"])) == 652
    best = neighbours.neighbours(store.snapshot(), np.eye(DIM)[1], 1, near=(10.2, 30.1, 5))
    assert (best["object_id"][0], round(float(best["similarity"][0]), 4)) == (20240000001, 1.0)
    vectors = [v for _, v, _ in rows.tile_vectors(store.snapshot(), store.snapshot().footers[0], (), Selection())]
    np.testing.assert_allclose(vectors[0], np.eye(DIM)[:2], atol=1e-3)


def test_memory_is_bounded(scored: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "KEPT_BYTES", 40_000)
    store = ResidentStore.open(scored.path)
    for _ in range(2):
        equal(*(ordering.ordered(c.snapshot(), "snr", 300) for c in (store, scored)))
        # One value may be larger than the bound, and is then alone.
        assert store.columns.held <= 20_000
        assert store.kept_records.held <= max(20_000, 200 * 400)


def test_records_are_the_rows_of_the_listed_file(scored: Catalogue, make_rows: Callable[..., Rows]) -> None:
    store = ResidentStore.open(scored.path)
    before = store.snapshot()
    footer = before.footers[0]
    expected = rows.table(scored.snapshot(), ["ra", "tile"])[: footer.rows]
    held = store.records(before, footer, ["ra", "tile"])
    assert held is not None
    assert held.tolist() == [(row["ra"], row["tile"]) for row in expected]
    assert store.records(before, footer, ["ra", "embedding"]) is None
    assert scored.records(before, footer, ["ra"]) is None
    # Another file takes the place of the tile's: of the one that was listed, only what is in memory is there.
    fresh = make_rows(
        int(footer.tile.replace(".", "")), np.array([10.1, 10.2]), np.array([30.1, 30.1]), np.eye(DIM)[:2]
    )
    write(scored, footer.tile, {**fresh, "score_lens": np.zeros(2, "f4")}, SCORED_RUN)
    row = np.array([3, 1])
    hits = Hits(row.astype("f4"), row, row.astype(float), row.astype(float), np.zeros(2, np.int64), row)
    assert full_pass.rows_of(before, hits, ["ra", "tile"]).column("ra").to_pylist() == expected["ra"][row].tolist()
    assert store.records(before, footer, ["dec"]) is None
    with pytest.raises(ScannerError, match="was replaced while it was read"):
        full_pass.rows_of(before, hits, ["dec"])
    again = store.records(store.snapshot(), store.snapshot().footers[0], ["ra"])
    assert again is not None
    assert again["ra"].tolist() == [10.1, 10.2]


def test_rows_come_from_memory_and_from_files_together(scored: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResidentStore.open(scored.path)
    kept = ResidentStore.records
    some = store.snapshot().footers[1].tile
    monkeypatch.setattr(
        ResidentStore, "records", lambda self, at, one, names: None if one.tile == some else kept(self, at, one, names)
    )
    names = ["object_id", "tile", "snr"]
    equal(*(neighbours.neighbours(c.snapshot(), np.eye(DIM)[0], 80, columns=names) for c in (store, scored)))


def test_a_bounded_cache_drops_what_was_not_used_for_longest() -> None:
    cache: BoundedCache[str] = BoundedCache(6, len)
    for key in "abc":
        cache.put(key, key * 2)
    assert cache.find("a") == "aa"
    cache.put("d", "dd")
    assert [cache.find(key) for key in "abcd"] == ["aa", None, "cc", "dd"]
    assert cache.put("a", "other") == "aa"
    assert cache.get("e", lambda: "eee") == "eee"
    assert cache.held <= 6

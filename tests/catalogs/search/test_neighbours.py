"""Neighbours are the most similar objects, each counted once, with the index and without it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import catalogs
from catalogs.errors import ScannerError
from catalogs.index.build import IndexOptions, build_index
from catalogs.search import candidates, full_pass, neighbours
from catalogs.search.matching import match_one


def brute_force(survey, vector, k, besides=()):
    table = survey.table(["object_id", "embedding"])
    embedding = np.asarray(table["embedding"], np.float64)
    cosine = embedding @ vector / np.linalg.norm(embedding, axis=1) / np.linalg.norm(vector)
    order = [row for row in np.argsort(-cosine) if table["object_id"][row] not in besides][:k]
    return list(table["object_id"][order]), cosine[order]


@pytest.fixture(params=["exact", "indexed", "half indexed"])
def searchable(request, survey, monkeypatch, make_rows, write_tile):
    """The six tiles, searched exactly, through the index, and with an index that misses two tiles and one changed."""
    if request.param != "exact":
        monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
        monkeypatch.setattr(candidates, "FEW_ROWS", 0)
        build_index(survey, IndexOptions(shard_rows=700))
    if request.param == "half indexed":
        rng = np.random.default_rng(1)
        for number, tile in ((105, "105.240"), (106, "106.240"), (107, "107.240")):
            write_tile(survey, tile, make_rows(number, rng.uniform(2, 3, 200), rng.uniform(30, 31, 200)))
    return survey


def test_neighbours_are_those_of_brute_force(searchable):
    vector = np.random.default_rng(2).normal(size=16)
    answer = searchable.neighbours(vector=vector, k=12)
    ids, cosine = brute_force(searchable, vector, 12)
    assert list(answer["object_id"]) == ids
    assert np.allclose(answer["similarity"], cosine, atol=1e-6)
    assert list(answer["rank"]) == list(range(1, 13))
    assert answer.meta["rows_exact"] + answer.meta["rows_indexed"] == len(searchable.table(["ra"]))


def test_an_object_is_not_its_own_neighbour(searchable):
    whole = searchable.table(["object_id", "ra", "dec", "embedding"])
    one = whole[321]
    by_id = searchable.neighbours(object_id=int(one["object_id"]), k=5)
    by_place = searchable.neighbours(ra=one["ra"] + 0.5 / 3600, dec=one["dec"], k=5)
    ids, _ = brute_force(searchable, one["embedding"], 5, besides=[one["object_id"]])
    assert list(by_id["object_id"]) == list(by_place["object_id"]) == ids


def test_k_larger_than_the_catalogue_gives_all_of_it(searchable):
    count = len(searchable.table(["ra"]))
    answer = searchable.neighbours(vector=np.ones(16), k=count + 1000)
    assert len(answer) == count
    assert np.all(np.diff(answer["similarity"]) <= 0)


def test_neighbours_carry_the_columns_asked_for(searchable):
    plain = searchable.neighbours(vector=np.ones(16), k=3)
    assert plain.colnames[:3] == ["rank", "similarity", "object_id"]
    assert "embedding" not in plain.colnames
    assert plain["ra"].unit == "deg"
    answer = searchable.neighbours(vector=np.ones(16), k=3, columns=["mag_r", "embedding"])
    assert answer.colnames == ["rank", "similarity", "mag_r", "embedding"]
    assert list(answer["mag_r"]) == list(plain["mag_r"])
    with pytest.raises(ScannerError) as refused:
        searchable.neighbours(vector=np.ones(16), columns=["magnitude"])
    assert refused.value.code == "column.unknown"


def test_regions_and_filters_restrict_the_answer(searchable):
    vector = np.random.default_rng(3).normal(size=16)
    answer = searchable.neighbours(vector=vector, k=20, near=(0.0, 30.2, 1500), where="mag_r < 20")
    inside = searchable.cone(0.0, 30.2, 1500, where="mag_r < 20", columns=["object_id", "embedding"])
    cosine = inside["embedding"] @ vector / np.linalg.norm(vector)
    assert list(answer["object_id"]) == list(inside["object_id"][np.argsort(-cosine)[:20]])
    assert answer.meta["rows_exact"] + answer.meta["rows_indexed"] == len(inside)
    assert len(searchable.neighbours(vector=vector, near=(90.0, -30.0, 60))) == 0


def test_many_questions_are_answered_as_one_by_one(searchable):
    vectors = np.random.default_rng(4).normal(size=(5, 16))
    together = neighbours.neighbours_of_many(searchable.snapshot(), vectors, 7)
    for vector, table in zip(vectors, together, strict=True):
        assert list(table["object_id"]) == list(searchable.neighbours(vector=vector, k=7)["object_id"])


@pytest.fixture
def overlapping(catalogue, make_rows, write_tile, monkeypatch, request):
    """Two tiles that share 50 objects, with embeddings that differ a little; each is primary in one of them."""
    rng = np.random.default_rng(9)
    ra, dec = 10 + rng.uniform(0, 0.5, 200), 20 + rng.uniform(0, 0.5, 200)
    embedding = rng.normal(size=(200, 16))
    first = np.arange(200) < 125
    for number, rows in ((1, slice(0, 125)), (2, slice(75, 200))):
        shift = rng.uniform(-0.2, 0.2, 200)[rows] / 3600
        noisy = embedding[rows] + 0.02 * rng.normal(size=embedding[rows].shape)
        primary = first[rows] if number == 1 else ~first[rows]
        write_tile(catalogue, f"{number}.1", make_rows(number, ra[rows] + shift, dec[rows], noisy, is_primary=primary))
    return catalogue


@pytest.mark.parametrize("indexed", [False, True])
def test_copies_in_overlapping_tiles_count_once(overlapping, monkeypatch, indexed):
    if indexed:
        monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
        build_index(overlapping)
    answer = overlapping.neighbours(vector=np.ones(16), k=1000)
    assert len(answer) == 200
    whole = overlapping.table(["object_id", "ra", "dec", "is_primary"])
    copy = whole[(whole["object_id"] // 1_000_000 == 2)][10]
    others = overlapping.neighbours(object_id=int(copy["object_id"]), k=1000)
    assert len(others) == 199
    away = np.hypot((others["ra"] - copy["ra"]) * np.cos(np.radians(20)), others["dec"] - copy["dec"]) * 3600
    assert away.min() > 1


def test_close_objects_of_one_tile_are_two_objects(catalogue, make_rows, write_tile):
    write_tile(catalogue, "1.1", make_rows(1, [10.0, 10.0], [20.0, 20.0 + 0.5 / 3600]))
    assert len(catalogue.neighbours(vector=np.ones(16))) == 2


def test_pieces_of_the_query_are_no_neighbours_of_it(catalogue, make_rows, write_tile):
    """A lens is found as deflector and arcs: they look alike because they are one window, which helps nobody."""
    dec = 20.0 + np.array([0, 1.5, 2.9, 3.1, 60]) / 3600
    write_tile(catalogue, "1.1", make_rows(1, np.full(5, 10.0), dec))
    deflector, arc, counter_image, neighbour, other = catalogue.table()["object_id"].tolist()
    assert set(catalogue.neighbours(object_id=deflector)["object_id"]) == {neighbour, other}
    assert {arc, counter_image} <= set(catalogue.neighbours(object_id=other)["object_id"])


def test_a_position_means_the_primary_copy(overlapping):
    whole = overlapping.table(["object_id", "ra", "dec", "is_primary"])
    secondary = whole[~whole["is_primary"]][3]
    copy = match_one(overlapping.snapshot(), ra=secondary["ra"], dec=secondary["dec"])
    assert copy.object_id in whole["object_id"][whole["is_primary"]]
    assert abs(copy.ra - secondary["ra"]) * 3600 < 1


@pytest.mark.parametrize("indexed", [False, True])
def test_broken_embeddings_are_never_found(catalogue, make_rows, write_tile, monkeypatch, indexed):
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    rows = make_rows(1, np.linspace(10, 10.5, 60), np.linspace(20, 20.5, 60))
    rows["embedding"][3] = np.nan
    rows["embedding"][7, 5] = np.nan
    rows["embedding"][9] = 0
    rows["embedding"][11, 2] = np.inf
    write_tile(catalogue, "1.1", rows)
    if indexed:
        assert build_index(catalogue).skipped == 4
    answer = catalogue.neighbours(vector=np.ones(16), k=100)
    assert sorted(answer["object_id"] % 1_000_000) == sorted(set(range(60)) - {3, 7, 9, 11})
    assert np.isfinite(answer["similarity"]).all()
    assert answer.meta["rows_indexed"] == (56 if indexed else 0)
    with pytest.raises(ScannerError) as refused:
        catalogue.neighbours(object_id=1_000_003)
    assert refused.value.code == "query.no_embedding"


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"object_id": 77}, "query.unknown_object"),
        ({"ra": 200.0, "dec": -50.0}, "query.outside_coverage"),
        ({"ra": 40.0, "dec": 95.0}, "sky.out_of_range"),
        ({"vector": np.ones(8)}, "query.bad_vector"),
        ({"vector": np.full(16, np.nan)}, "query.bad_vector"),
        ({"vector": np.zeros(16)}, "query.bad_vector"),
        ({"vector": np.ones(16), "k": 0}, "query.bad_k"),
        ({"vector": np.ones(16), "where": "colour > 1"}, "where.column"),
    ],
)
def test_questions_without_an_answer_say_why(survey, question, code):
    with pytest.raises(ScannerError) as refused:
        survey.neighbours(**question)
    assert refused.value.code == code
    assert refused.value.hint


def test_an_empty_spot_inside_a_tile_is_told_from_one_outside(catalogue, make_rows, write_tile):
    write_tile(catalogue, "1.1", make_rows(1, [10.0, 10.4], [20.0, 20.4]))
    with pytest.raises(ScannerError) as refused:
        catalogue.neighbours(ra=10.2, dec=20.2)
    assert refused.value.code == "query.no_object"


def test_a_question_takes_one_kind_of_example(survey):
    for wrong in ({}, {"ra": 1.0}, {"object_id": 1, "vector": np.ones(16)}):
        with pytest.raises(TypeError, match="neighbours"):
            survey.neighbours(**wrong)


@pytest.mark.parametrize("indexed", [False, True], ids=["exact", "indexed"])
def test_a_tile_replaced_between_search_and_answer_is_searched_again(
    survey, make_rows, write_tile, monkeypatch, indexed
):
    """Rows are found by number: of a file that was replaced meanwhile they would be other objects."""
    if indexed:
        monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
        build_index(survey)
    question, tile = np.random.default_rng(3).normal(size=16), "103.240"
    before = survey.neighbours(vector=question, k=900, columns=["object_id", "tile"])
    assert tile in before["tile"]
    rows_of, searches, times = full_pass.rows_of, [], 1

    def replaced_first(snapshot, hits, columns):
        searches.append(len(hits))
        if len(searches) <= times:
            count = 40 + len(searches)
            replacement = make_rows(900, 0.5 + 0.01 * np.arange(count), np.full(count, 30.2))
            write_tile(snapshot.catalogue, tile, replacement)
        return rows_of(snapshot, hits, columns)

    monkeypatch.setattr(full_pass, "rows_of", replaced_first)
    answer = survey.neighbours(vector=question, k=900, columns=["object_id", "tile", "embedding"])
    assert len(searches) == 2
    ids, cosine = brute_force(survey, question, 900)
    assert list(answer["object_id"]) == ids
    assert np.allclose(answer["similarity"], cosine, atol=1e-6)
    assert np.allclose(answer["embedding"] @ question / np.linalg.norm(question), cosine, atol=2e-3)
    searches, times = [], 99
    with pytest.raises(ScannerError) as refused:
        survey.neighbours(vector=question, k=900)
    assert refused.value.code == "catalogue.changing"


@pytest.mark.parametrize("mean", [0.0, 4.0], ids=["centred", "anisotropic"])
def test_the_index_recalls_what_exact_search_finds(tmp_path, run, make_rows, write_tile, monkeypatch, mean):
    """Clusters in local subspaces; 'anisotropic' adds a mean of 0.97, as encoders without centring have."""
    rng = np.random.default_rng(6)
    wide = dataclasses.replace(run, contract={"embedding_dim": 64})
    catalogue = catalogs.create(tmp_path / "wide", wide)
    centres, axes, shift = rng.normal(size=(50, 64)), rng.normal(size=(50, 12, 64)), rng.normal(size=64)

    def draw(count):
        label = rng.integers(0, 50, count)
        local = np.einsum("nk,nkd->nd", rng.normal(size=(count, 12)), axes[label])
        vectors = centres[label] + 0.15 * local + 0.1 * rng.normal(size=(count, 64))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors + mean * shift / np.linalg.norm(shift)

    for number in range(3):
        ra, dec = rng.uniform(0, 360, 3000), rng.uniform(-80, 80, 3000)
        write_tile(catalogue, f"{number}.1", make_rows(number, ra, dec, draw(3000)), wide)
    queries = draw(40)
    exact = neighbours.neighbours_of_many(catalogue.snapshot(), queries, 10, columns=["object_id"])
    build_index(catalogue)
    for path in (catalogue.path / "index").glob("shard-*.json"):  # so that Annoy has to choose among 9,000
        path.write_text(path.read_text().replace('"effort": 5000', '"effort": 3000'))
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    answer = neighbours.neighbours_of_many(catalogue.snapshot(), queries, 10, columns=["object_id"])
    assert answer[0].meta == {"rows_exact": 0, "rows_indexed": 9000}
    shared = [len(set(a["object_id"]) & set(b["object_id"])) / 10 for a, b in zip(exact, answer, strict=True)]
    assert np.mean(shared) >= 0.95


def test_small_catalogues_are_searched_exactly_though_indexed(survey):
    build_index(survey)
    answer = catalogs.open(survey.path).neighbours(vector=np.ones(16), k=3)
    assert answer.meta == {"rows_exact": 1800, "rows_indexed": 0}

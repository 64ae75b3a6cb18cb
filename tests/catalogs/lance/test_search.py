"""A Lance dataset answers as the folder does: the same rows, in the order of the same cosines."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import proposals, tuning
from catalogs.ranking import outliers, rank
from catalogs.search.candidates import Candidates
from catalogs.search.matching import match, match_ids
from catalogs.store import rows
from catalogs.store.tile_store import need_folder
from tests.catalogs.lance.conftest import QUESTIONS

K = 8
BACK = 0.9
"""Share of the answer that the index has to find: these datasets are tuned for it."""


@pytest.fixture(scope="module")
def questions(catalogue: Catalogue) -> list[int]:
    return catalogue.table(["object_id"], where="is_primary")["object_id"][::300].tolist()


def share(expected, answer) -> float:
    return len(set(expected["object_id"]) & set(answer["object_id"])) / len(expected)


def test_neighbours_are_those_of_the_folder(catalogue, dataset, questions) -> None:
    shares = []
    for one in questions:
        expected = catalogue.neighbours(object_id=one, k=K, where="is_primary")
        answer = dataset.neighbours(object_id=one, k=K)
        assert answer.meta == {"rows_exact": 0, "rows_indexed": dataset.record.rows}
        shares.append(share(expected, answer))
        both = np.isin(answer["object_id"], expected["object_id"])
        known = dict(zip(expected["object_id"], expected["similarity"], strict=True))
        assert answer["similarity"][both] == pytest.approx([known[i] for i in answer["object_id"][both]], abs=1e-6)
        assert (np.diff(answer["similarity"]) <= 0).all()
    assert np.mean(shares) >= BACK


@pytest.mark.parametrize("text", [None, "mag_r < 16"])
@pytest.mark.parametrize("few", [0, proposals.FEW_ROWS], ids=["index", "all"])
def test_what_is_proposed_lies_where_its_tile_and_row_say(dataset, text, few, monkeypatch) -> None:
    monkeypatch.setattr(proposals, "FEW_ROWS", few)
    direction = np.full(dataset.info.dim, dataset.info.dim**-0.5, np.float32)
    proposed = dataset.propose(direction[None], rows.selection(dataset, text, None), 20)
    (table,) = proposed.tables
    # Of what an index finds, the columns of the nearest are read, and of the others none.
    by_index = text is None or few == 0
    assert (table.num_rows == 20) == by_index
    assert (proposed.exactly == 0) == by_index
    assert set(table.column_names) == {"object_id", "tile", "ra", "dec", "embedding", "_row"} | (
        {"mag_r"} if text else set()
    )
    for row in table.to_pylist()[:20]:
        with dataset.open_tile(row["tile"]) as tile:
            there = tile.take(["object_id", "ra", "embedding"], np.array([row["_row"]])).to_pylist()[0]
        assert there == {name: row[name] for name in there}


def test_the_nearest_vectors_come_first_and_those_without_a_direction_last() -> None:
    vectors = np.array([[0, 1], [np.nan, 1], [3, 0], [0, 0], [1, 1], [-1, 0], [2, 0]], np.float32)
    direction, numbers = np.array([1, 0], np.float32), np.array([9, 8, 7, 6, 5, 4, 3])
    assert proposals._best(vectors, direction, numbers, 4).tolist() == [6, 2, 4, 0]
    assert sorted(proposals._best(vectors, direction, numbers, 7).tolist()[5:]) == [1, 3]


FILTERED = ["mag_r < 16", "mag_r < 29 or mag_r > 40", "(flags | 1) == 1", '"u" in bands_present and flags & 4 == 0']


@pytest.mark.parametrize("few", [0, proposals.FEW_ROWS], ids=["index", "all"])
@pytest.mark.parametrize("text", FILTERED)
def test_neighbours_of_a_filter_are_those_of_the_folder(catalogue, dataset, questions, text, few, monkeypatch) -> None:
    monkeypatch.setattr(proposals, "FEW_ROWS", few)
    shares = []
    for one in questions:
        expected = catalogue.neighbours(object_id=one, k=K, where=f"({text}) and is_primary")
        answer = dataset.neighbours(object_id=one, k=K, where=text)
        assert len(answer) == len(expected)
        assert (answer.meta["rows_indexed"] > 0) == (few == 0)
        shares.append(share(expected, answer))
    assert np.mean(shares) >= (BACK if few == 0 else 1)


@pytest.mark.parametrize("few", [0, proposals.FEW_ROWS], ids=["index", "all"])
def test_neighbours_in_a_region_are_those_of_the_folder(catalogue, dataset, questions, few, monkeypatch) -> None:
    monkeypatch.setattr(proposals, "FEW_ROWS", few)
    region = (210.2, 54.2, 700.0)
    shares = []
    for one in questions:
        expected = catalogue.neighbours(object_id=one, k=K, near=region, where="is_primary and mag_r < 28")
        answer = dataset.neighbours(object_id=one, k=K, near=region, where="mag_r < 28")
        assert len(answer) == len(expected) == K
        shares.append(share(expected, answer))
    assert np.mean(shares) >= (BACK if few == 0 else 1)


def test_no_row_passes_a_filter_that_none_passes(dataset, questions) -> None:
    assert len(dataset.neighbours(object_id=questions[0], k=K, where="mag_r > 1000 and flags == 100")) == 0


def test_rows_are_those_of_the_folder(catalogue, dataset) -> None:
    expected, answer = catalogue.table(where="is_primary and mag_r < 20"), dataset.table(where="mag_r < 20")
    for table in (expected, answer):
        table.sort("object_id")
    assert expected.colnames == answer.colnames
    assert all(
        np.array_equal(expected[name], answer[name], equal_nan=expected[name].dtype.kind == "f")
        for name in expected.colnames
    )
    assert answer["ra"].unit == "deg"
    cones = [one.cone(210.2, 54.2, 300, where="is_primary") for one in (catalogue, dataset)]
    assert list(cones[0]["object_id"]) == list(cones[1]["object_id"])


def test_positions_and_ids_lead_to_the_same_objects(catalogue, dataset, questions) -> None:
    table = rows.of_ids(catalogue.snapshot(), questions)
    ra, dec = [*table["ra"], 10.0, 210.2], [*table["dec"], 54.0, 54.39999]
    expected, answer = (match(one.snapshot(), ra, dec) for one in (catalogue, dataset))
    assert list(answer.object_id) == list(expected.object_id)
    assert [one.code for one in answer.unmatched] == [one.code for one in expected.unmatched]
    named = match_ids(dataset.snapshot(), {questions[1]: "one", 5: "none"})
    assert list(named.object_id) == questions[1:2]
    assert named.unmatched[0].code == ErrorCode.QUERY_UNKNOWN_OBJECT


def test_ranks_and_outliers_are_those_of_the_folder(catalogue, dataset, questions) -> None:
    """The rows lie in another order, so sums of them differ in their last bits."""
    like = [match_ids(one.snapshot(), dict.fromkeys(questions, "q")) for one in (catalogue, dataset)]
    ranked = [rank.rank(*given, method="nearest", k=40) for given in zip((catalogue, dataset), like, strict=True)]
    far = [outliers.outliers(one, k=20) for one in (catalogue, dataset)]
    for column, (expected, answer) in (("score", ranked), ("distance", far)):
        assert list(expected["object_id"]) == list(answer["object_id"])
        assert answer[column] == pytest.approx(expected[column], rel=1e-3)


def test_a_comparison_with_all_rows_can_be_asked_for(catalogue, dataset, questions) -> None:
    direction = catalogue.table(["embedding"], where=f"object_id == {questions[0]}")["embedding"].astype(np.float32)
    search = Candidates(dataset.snapshot(), direction, way="exact")
    best = search.best(10)[0]
    assert search.exactly == dataset.record.rows
    assert best.object_id[0] == questions[0]


def test_recall_is_measured_and_reaches_its_target(dataset) -> None:
    search = dataset.record.search
    measured = tuning.RecallTest(dataset).measure(search)
    assert search.recall >= search.target == 0.9
    assert measured.recall_at_10.value >= 0.9
    assert measured.questions == QUESTIONS
    assert measured.rows == dataset.record.rows


def test_fewer_lists_find_less(dataset, monkeypatch) -> None:
    # A list of these datasets has some fifty rows, and all lists are asked where the first have too few.
    monkeypatch.setattr(tuning, "count_of", lambda k: 2 * k)
    lists = dataset.record.search.lists
    test = tuning.RecallTest(dataset)
    one, most = (test.recall(proposals.SearchSettings(lists, probes, 1, 0.9, 0))[0] for probes in (1, lists))
    assert one.value < most.value


def test_maps_and_indexes_are_refused_by_name(dataset) -> None:
    with pytest.raises(ScannerError) as caught:
        need_folder(dataset)
    assert caught.value.code == ErrorCode.LANCE_NOT_SUPPORTED
    assert str(dataset.path) in caught.value.message

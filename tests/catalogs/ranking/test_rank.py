"""Ranking by examples: what is like them comes first, without copies, with the known ones flagged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.table import Table

from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.ranking import ExampleMethod, methods, rank
from catalogs.search import full_pass
from catalogs.search.examples import Examples
from catalogs.search.matching import match
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from tests.support import planted as lenses
from tests.support.catalogue_rows import DIM, Rows


@pytest.fixture
def planted(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    """Four tiles of 200 objects, every twentieth a "lens"."""
    lenses.plant(catalogue, make_rows, write_tile)
    return catalogue


def lenses_of(catalogue: Catalogue) -> np.ndarray:
    ids = np.asarray(catalogue.table(["object_id"])["object_id"])
    return ids[lenses.is_lens(ids)]


def examples(catalogue: Catalogue, count: int) -> Examples:
    return lenses.matched(catalogue, lenses.is_lens, count)


@pytest.mark.parametrize("method", ["auto", "centroid", "nearest", "probe"])
def test_what_is_like_the_examples_comes_first(planted: Catalogue, method: str) -> None:
    like = examples(planted, 5)
    table = rank.rank(planted, like, method=method, k=40)
    lens_ids = set(lenses_of(planted).tolist())
    assert len(lens_ids & set(table["object_id"].tolist())) >= 37
    assert table["rank"].tolist() == list(range(1, 41))
    assert np.all(np.diff(table["score"]) <= 0)
    assert set(table["object_id"][table["known"]].tolist()) == set(like.object_id.tolist())
    assert np.all((table["probability"] > 0) & (table["probability"] < 1))
    assert np.all(np.diff(table["probability"]) <= 0)


def test_counterexamples_are_pushed_down(planted: Catalogue) -> None:
    table = planted.table(["object_id", "ra", "dec"])
    ordinary = table[~np.isin(table["object_id"], lenses_of(planted))][:60]
    unlike = match(planted.snapshot(), ordinary["ra"].tolist(), ordinary["dec"].tolist())
    answer = rank.rank(planted, examples(planted, 5), unlike, method="probe", k=800)
    place = dict(zip(answer["object_id"].tolist(), answer["rank"].tolist(), strict=True))
    assert np.median([place[one] for one in unlike.object_id.tolist()]) > 300
    assert np.all((answer["probability"] > 0) & (answer["probability"] < 1))


def test_the_nearest_example_and_its_similarity_are_those_of_the_vectors(planted: Catalogue) -> None:
    like = examples(planted, 4)
    table = rank.rank(planted, like, method="centroid", k=30)
    stored = planted.table(["object_id", "embedding"])
    vector = {int(row["object_id"]): row["embedding"] / np.linalg.norm(row["embedding"]) for row in stored}
    for row in table:
        cosines = [float(vector[int(row["object_id"])] @ vector[one]) for one in like.object_id.tolist()]
        assert row["similarity"] == pytest.approx(max(cosines), abs=1e-5)
        assert row["nearest_id"] == like.object_id[int(np.argmax(cosines))]


def test_positions_without_an_object_are_reported_and_do_no_harm(planted: Catalogue) -> None:
    one = planted.table(["ra", "dec"])[0]
    ra, dec = float(one["ra"]), float(one["dec"])
    matches = match(planted.snapshot(), [ra - 360, ra, 200.0, np.nan, 40.0], [dec, dec + 0.002, -20.0, 30.0, 95.0])
    assert len(matches) == 1
    assert [one.name for one in matches.unmatched] == ["2", "3", "4", "5"]
    codes = [one.code for one in matches.unmatched]
    assert codes == ["query.no_object", "query.outside_coverage", "sky.out_of_range", "sky.out_of_range"]


def test_no_example_at_all_is_an_error_by_name(planted: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(planted, match(planted.snapshot(), [200.0], [-20.0]))
    assert caught.value.code == "rank.no_example"


@pytest.mark.parametrize(("arguments", "code"), [({"method": "svm"}, "rank.bad_method"), ({"k": 0}, "query.bad_k")])
def test_a_bad_question_is_refused(planted: Catalogue, arguments: dict[str, object], code: str) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(planted, examples(planted, 2), **arguments)
    assert caught.value.code == code


def test_copies_and_secondary_objects_and_vectors_of_nan_stay_out(
    planted: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    lens = planted.table(["object_id", "ra", "dec", "embedding"])[0]
    ra, dec = float(lens["ra"]) + np.array([0.5, 20, 40]) / 3600, np.full(3, float(lens["dec"]))
    embedding = np.stack([lens["embedding"], lens["embedding"], np.full(DIM, np.nan)]).astype(float)
    rows = make_rows(90240, ra, dec, embedding, is_primary=np.array([True, False, True]))
    write_tile(planted, "090.240", rows)
    table = rank.rank(planted, examples(planted, 3), method="nearest", k=2000)
    assert len(table) == 800
    assert not {90240000001, 90240000002} & set(table["object_id"].tolist())


def test_a_filter_restricts_and_a_large_k_gives_what_there_is(planted: Catalogue) -> None:
    table = rank.rank(planted, examples(planted, 3), where="tile == '021.240' or snr > 25", k=10_000)
    assert np.all((table["tile"] == "021.240") | (table["snr"] > 25))
    assert len(table) == len(planted.table(["ra"], where="tile == '021.240' or snr > 25"))


def test_an_answer_repeats(planted: Catalogue) -> None:
    like = examples(planted, 3)
    first, second = (rank.rank(planted, like, method="probe", k=50) for _ in range(2))
    assert first["object_id"].tolist() == second["object_id"].tolist()
    assert first["score"].tolist() == second["score"].tolist()


def test_the_probe_stands_at_its_minimum() -> None:
    """At the minimum the gradient vanishes: penalty * weights equals the pull of the residuals."""
    rng = np.random.default_rng(0)
    like, unlike = rng.normal(0.5, 1, (20, 4)).astype(np.float32), rng.normal(0, 1, (300, 4)).astype(np.float32)
    probe = methods.fit_probe(like, unlike)
    pull = (1 - methods.to_probability(probe(like))) @ like / 40 - methods.to_probability(probe(unlike)) @ unlike / 600
    assert probe.weights * methods.PENALTY == pytest.approx(pull, abs=1e-4)


def test_one_example_is_enough_but_not_for_a_probability(planted: Catalogue) -> None:
    table = rank.rank(planted, examples(planted, 1), k=20)
    assert np.isin(table["object_id"], lenses_of(planted)).sum() >= 18
    assert "probability" not in table.colnames


def test_probabilities_hang_on_the_prevalence_and_order_does_not(planted: Catalogue) -> None:
    rare, common = (rank.rank(planted, examples(planted, 8), k=50, prevalence=share) for share in (1e-4, 0.1))
    assert rare["object_id"].tolist() == common["object_id"].tolist()
    assert np.all(rare["probability"] < common["probability"])
    assert "0.0001" in rare["probability"].description


def test_known_lenses_are_flagged_by_name_and_may_be_hidden(planted: Catalogue) -> None:
    lens = planted.table(["object_id", "ra", "dec"], where=f"object_id == {lenses_of(planted)[20]}")
    known = Table(
        {"name": ["SL2S", "elsewhere"], "ra": [lens["ra"][0], 200.0], "dec": [lens["dec"][0] + 1 / 3600, 0.0]}
    )
    like = examples(planted, 5)
    table = rank.rank(planted, like, k=40, known=known)
    named = table[table["known_as"] != ""]
    assert (named["object_id"].tolist(), named["known_as"].tolist()) == ([lens["object_id"][0]], ["SL2S"])
    assert table["known"].sum() == 6
    hidden = rank.rank(planted, like, k=34, known=known, hide_known=True)
    assert hidden["object_id"].tolist() == table["object_id"][~table["known"]].tolist()


def test_ordinary_objects_are_drawn_from_what_is_ranked(planted: Catalogue) -> None:
    """A filter that leaves one tile of many still finds objects to compare with, and those of that tile."""
    table = rank.rank(planted, examples(planted, 3), method="probe", where="tile == '023.240'", k=5)
    assert set(table["tile"]) == {"023.240"}
    with pytest.raises(ScannerError) as caught:
        rank.rank(planted, examples(planted, 3), method="probe", where="snr > 1e9", k=5)
    assert caught.value.code == "rank.no_ordinary"


def test_uncertain_lists_what_the_probability_is_least_sure_of(planted: Catalogue) -> None:
    like = examples(planted, 10)
    whole = rank.rank(planted, like, method="probe", k=800, prevalence=0.05)
    unsure = rank.rank(planted, like, method="probe", k=15, prevalence=0.05, next="uncertain")
    others = whole[~whole["known"]]
    odds = np.abs(np.log(others["probability"] / (1 - others["probability"])))
    assert set(unsure["object_id"].tolist()) == set(others["object_id"][np.argsort(odds)[:15]].tolist())
    score = dict(zip(whole["object_id"].tolist(), whole["score"].tolist(), strict=True))
    assert unsure["score"].tolist() == pytest.approx([score[one] for one in unsure["object_id"].tolist()], abs=1e-5)


def test_uncertain_takes_a_probability(planted: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(planted, examples(planted, 4), next="uncertain")
    assert caught.value.code == "rank.no_probability"


def test_explore_lists_good_candidates_that_differ(planted: Catalogue) -> None:
    like = examples(planted, 3)
    best, explored = (rank.rank(planted, like, k=10, next=how) for how in ("best", "explore"))
    pool = rank.rank(planted, like, k=200, next="best")
    assert set(explored["object_id"].tolist()) <= set(pool["object_id"].tolist())
    stored = planted.table(["object_id", "embedding"])
    vector = dict(zip(stored["object_id"].tolist(), np.asarray(stored["embedding"]), strict=True))

    def closest(table: Table) -> float:
        some = np.stack([vector[one] for one in table["object_id"].tolist()])
        return float((some @ some.T)[np.triu_indices(len(some), 1)].max())

    assert closest(explored) < closest(best)
    assert len(rank.rank(planted, like, k=790, next="explore")) == 790


def test_spread_takes_the_farthest_first() -> None:
    pool = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    assert rank.choose_diverse(pool, np.eye(4, dtype=np.float32)[[1]], 3).tolist() == [0, 3, 1]
    assert rank.choose_diverse(pool, pool[:1], 9).tolist()[:2] == [2, 3]


def test_an_object_on_both_lists_counts_on_neither(planted: Catalogue) -> None:
    like = examples(planted, 3)
    table = rank.rank(planted, like, like[np.array([2])], k=800)
    assert table["known"].sum() == 2


@pytest.mark.parametrize("method", ["centroid", "nearest", "probe"])
def test_vectors_of_another_length_score_as_unit_vectors(method: ExampleMethod) -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 6)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    scorer = methods.fit_scorer(method, unit[:3], unit[3:6], unit[6:])
    np.testing.assert_allclose(scorer(points, np.linalg.norm(points, axis=1)), scorer(unit), atol=1e-5)


def test_tiles_replaced_while_reading_are_read_again(
    planted: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    like, calls, selection = examples(planted, 3), [], rows.primary(planted, None)
    scores = methods.fit_centroid(like.vectors, -like.vectors)

    def answer(snapshot: Snapshot) -> int:
        hits = full_pass.best(snapshot, selection, lambda block: block.scored(scores), 900)
        calls.append(len(hits))
        if len(calls) <= replaced:
            count = 30 + len(calls)
            write_tile(planted, "022.240", make_rows(22240, 11 + 0.01 * np.arange(count), np.full(count, 30.2)))
        table = full_pass.rows_of(snapshot, hits, ["object_id"])
        assert table.column("object_id").to_pylist() == hits.object_id.tolist()
        return len(calls)

    replaced = 1
    assert full_pass.steady(planted.snapshot(), selection, answer) == 2
    calls, replaced = [], 99
    with pytest.raises(ScannerError) as caught:
        full_pass.steady(planted.snapshot(), selection, answer)
    assert caught.value.code == "catalogue.changing"
    assert len(calls) == full_pass.ATTEMPTS
    assert len(rank.rank(planted, like, k=2000)) == 633


def test_a_tile_that_went_away_is_left_out(planted: Catalogue) -> None:
    like = examples(planted, 3)
    attempts: list[int] = []

    def answer(snapshot: Snapshot) -> int:
        attempts.append(len(snapshot.footers))
        selection, scores = rows.primary(planted, None), methods.fit_centroid(like.vectors, -like.vectors)
        hits = full_pass.best(snapshot, selection, lambda block: block.scored(scores), 1200)
        planted.tile_path("023.240").unlink(missing_ok=True)
        return len(full_pass.rows_of(snapshot, hits, ["ra"]))

    assert full_pass.steady(planted.snapshot(), rows.primary(planted, None), answer) == 600
    assert attempts == [4, 3]


def test_a_damaged_tile_is_named_and_left_out(planted: Catalogue, caplog: pytest.LogCaptureFixture) -> None:
    like = examples(planted, 3)
    path = planted.tile_path("023.240")
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    table = rank.rank(planted, like, k=2000)
    assert len(table) == 600
    assert "023.240" in caplog.text

"""Ranking by examples: what is like them comes first, without copies, with the known ones flagged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from catalogs import rank, scorers
from catalogs.errors import ScannerError
from catalogs.examples import Examples, match
from catalogs.store import Catalogue

from .conftest import DIM, Rows

AXIS = np.eye(DIM)[0]


@pytest.fixture
def planted(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    """Four tiles of 200 objects; every twentieth object points along one axis, with a little noise: "lenses"."""
    rng = np.random.default_rng(3)
    for number in range(4):
        embedding = rng.normal(size=(200, DIM))
        embedding[::20] = 6 * AXIS + rng.normal(size=(10, DIM))
        ra, dec = 10 + 0.5 * number + rng.uniform(0, 0.5, 200), 30 + rng.uniform(0, 0.5, 200)
        write_tile(catalogue, f"02{number}.240", make_rows(20240 + 1000 * number, ra, dec, embedding))
    return catalogue


def lenses_of(catalogue: Catalogue) -> np.ndarray:
    return np.array([one for one in catalogue.table(["object_id"])["object_id"] if one % 1_000_000 % 20 == 0])


def examples(catalogue: Catalogue, count: int) -> Examples:
    table = catalogue.table(["object_id", "ra", "dec"])
    some = table[np.isin(table["object_id"], lenses_of(catalogue)[:count])]
    return match(catalogue, some["ra"].tolist(), some["dec"].tolist())


@pytest.mark.parametrize("method", ["auto", "centroid", "nearest", "probe"])
def test_what_is_like_the_examples_comes_first(planted: Catalogue, method: str) -> None:
    like = examples(planted, 5)
    found = rank.rank(planted, like, method=method, k=40)
    wanted = set(lenses_of(planted).tolist())
    assert len(wanted & set(found["object_id"].tolist())) >= 37
    assert found["rank"].tolist() == list(range(1, 41))
    assert np.all(np.diff(found["score"]) <= 0)
    assert set(found["object_id"][found["known"]].tolist()) == set(like.object_id.tolist())
    assert np.all((found["probability"] > 0) & (found["probability"] < 1))
    assert np.all(np.diff(found["probability"]) <= 0)


def test_counterexamples_are_pushed_down(planted: Catalogue) -> None:
    table = planted.table(["object_id", "ra", "dec"])
    ordinary = table[~np.isin(table["object_id"], lenses_of(planted))][:60]
    unlike = match(planted, ordinary["ra"].tolist(), ordinary["dec"].tolist())
    found = rank.rank(planted, examples(planted, 5), unlike, method="probe", k=800)
    place = dict(zip(found["object_id"].tolist(), found["rank"].tolist(), strict=True))
    assert np.median([place[one] for one in unlike.object_id.tolist()]) > 300
    assert np.all((found["probability"] > 0) & (found["probability"] < 1))


def test_the_nearest_example_and_its_similarity_are_those_of_the_vectors(planted: Catalogue) -> None:
    like = examples(planted, 4)
    found = rank.rank(planted, like, method="centroid", k=30)
    stored = planted.table(["object_id", "embedding"])
    vector = {int(row["object_id"]): row["embedding"] / np.linalg.norm(row["embedding"]) for row in stored}
    for row in found:
        cosines = [float(vector[int(row["object_id"])] @ vector[one]) for one in like.object_id.tolist()]
        assert row["similarity"] == pytest.approx(max(cosines), abs=1e-5)
        assert row["nearest_id"] == like.object_id[int(np.argmax(cosines))]


def test_positions_without_an_object_are_reported_and_do_no_harm(planted: Catalogue) -> None:
    one = planted.table(["ra", "dec"])[0]
    ra, dec = float(one["ra"]), float(one["dec"])
    found = match(planted, [ra, ra, 200.0, np.nan, 400.0], [dec, dec + 0.002, -20.0, 30.0, 30.0])
    assert len(found) == 1
    assert [one.name for one in found.unmatched] == ["2", "3", "4", "5"]
    codes = [one.code for one in found.unmatched]
    assert codes == ["query.no_object", "query.outside_coverage", "sky.out_of_range", "sky.out_of_range"]


def test_no_example_at_all_is_an_error_by_name(planted: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(planted, match(planted, [200.0], [-20.0]))
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
    found = rank.rank(planted, examples(planted, 3), method="nearest", k=2000)
    assert len(found) == 800
    assert not {90240000001, 90240000002} & set(found["object_id"].tolist())


def test_a_filter_restricts_and_a_large_k_gives_what_there_is(planted: Catalogue) -> None:
    found = rank.rank(planted, examples(planted, 3), where="tile == '021.240' or snr > 25", k=10_000)
    assert np.all((found["tile"] == "021.240") | (found["snr"] > 25))
    assert len(found) == len(planted.table(["ra"], where="tile == '021.240' or snr > 25"))


def test_an_answer_repeats(planted: Catalogue) -> None:
    like = examples(planted, 3)
    first, second = (rank.rank(planted, like, method="probe", k=50) for _ in range(2))
    assert first["object_id"].tolist() == second["object_id"].tolist()
    assert first["score"].tolist() == second["score"].tolist()


def test_the_probe_stands_at_its_minimum() -> None:
    """At the minimum the gradient vanishes: penalty * weights equals the pull of the residuals."""
    rng = np.random.default_rng(0)
    like, unlike = rng.normal(0.5, 1, (20, 4)).astype(np.float32), rng.normal(0, 1, (300, 4)).astype(np.float32)
    found = scorers.probe(like, unlike, penalty=0.1)
    pull = (1 - scorers.probability(found(like))) @ like / 40 - scorers.probability(found(unlike)) @ unlike / 600
    assert found.weights * 0.1 == pytest.approx(pull, abs=1e-4)

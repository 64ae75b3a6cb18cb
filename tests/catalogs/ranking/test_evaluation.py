"""Measures of rankings are those of their definitions, and counting in one pass is ranking in full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.ranking import measures, rank
from catalogs.ranking.evaluation import Evaluation, EvaluationSettings, evaluate
from tests.support import planted
from tests.support.catalogue_rows import Rows


@pytest.fixture
def lenses(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    planted.plant(catalogue, make_rows, write_tile)
    return catalogue


def test_measures_are_those_of_the_list_written_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        right = rng.random(60) < 0.2
        right[rng.integers(60)] = True
        above = np.cumsum(~right)[right]
        places = measures.places(rng.permutation(above))
        assert places.tolist() == (np.flatnonzero(right) + 1).tolist()
        precision = [right[: place + 1].mean() for place in np.flatnonzero(right)]
        assert measures.average_precision(places) == pytest.approx(np.mean(precision))
        assert measures.recall(15)(places) == pytest.approx(right[:15].sum() / right.sum())
        assert measures.purity(15)(places) == pytest.approx(right[:15].mean())
        gains = [1 / np.log2(place + 2) for place in range(10)]
        ideal = sum(gains[: min(int(right.sum()), 10)])
        assert measures.ndcg(10)(places) == pytest.approx(sum(np.array(gains)[right[:10]]) / ideal)


def test_perfect_and_hopeless_rankings() -> None:
    perfect, hopeless = measures.places(np.zeros(5, int)), measures.places(np.full(5, 10**9))
    assert measures.average_precision(perfect) == measures.ndcg(10)(perfect) == measures.recall(5)(perfect) == 1
    assert measures.average_precision(hopeless) < 1e-8
    assert measures.recall(1000)(hopeless) == measures.ndcg(10)(hopeless) == 0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Recall of lists whose objects are found with probability 0.6 each: nine in ten intervals and more hold 0.6."""
    rng = np.random.default_rng(3)
    inside = []
    for seed in range(60):
        above = np.where(rng.random(30) < 0.6, 0, 1000)
        one = measures.estimate([above] * 3, [np.arange(30)] * 3, measures.recall(100), seed=seed)
        assert one.low <= one.value <= one.high
        inside.append(one.low <= 0.6 <= one.high)
    assert np.mean(inside) > 0.85


def test_more_draws_of_examples_are_no_more_lenses() -> None:
    """47 lenses, of which 24 are first whatever the examples are: the interval is the binomial one of 47 lenses.

    Row j of a draw is another lens than row j of the next, since the examples are left out.
    """
    is_found = np.arange(47) % 2 == 0
    draws = [np.random.default_rng(draw).choice(47, 10, replace=False) for draw in range(20)]
    targets = [np.setdiff1d(np.arange(47), examples) for examples in draws]
    above = [np.where(is_found[numbers], 0, 10**6) for numbers in targets]
    one = Evaluation({"score": above}, targets, 10**6, 47, 0).estimates(measures.recall(100))["score"]
    assert one.value == np.mean([is_found[numbers].mean() for numbers in targets])
    assert one.high - one.low == pytest.approx(2 * 1.96 * np.sqrt(24 / 47 * 23 / 47 / 47), rel=0.1)


def test_draws_that_seek_one_lens_each_have_an_interval() -> None:
    """A bootstrap draw without the lens of a ranking leaves that ranking out."""
    numbers = [np.array([number]) for number in range(6)]
    above = [np.array([0 if number < 3 else 1000]) for number in range(6)]
    one = measures.estimate(above, numbers, measures.recall(10))
    assert one.value == 0.5
    assert one.low < 0.2 < 0.8 < one.high


def test_counts_of_one_pass_are_the_places_in_the_list(lenses: Catalogue) -> None:
    truth = planted.matched(lenses, planted.is_lens, 40)
    trial = EvaluationSettings(examples=6, draws=3, seed=5)
    evaluation = evaluate(lenses, truth, trial)
    assert (evaluation.objects, evaluation.lenses, evaluation.not_ranked) == (760, 40, 0)
    assert set(evaluation.above) == {"centroid", "nearest", "probe", "magnitude", "chance"}
    for draw, above in enumerate(evaluation.above["nearest"]):
        examples = np.sort(np.random.default_rng([5, draw]).choice(40, 6, replace=False))
        listed = rank.rank(lenses, truth[examples], method="nearest", k=800)
        listed = listed[~np.isin(listed["object_id"], truth.object_id[examples])]
        right = planted.is_lens(listed["object_id"])
        assert measures.places(above).tolist() == (np.flatnonzero(right) + 1).tolist()
        # The counts are in the order of the numbers by which draws know their common lenses.
        targets = evaluation.targets[draw]
        assert targets.tolist() == np.setdiff1d(np.arange(40), examples).tolist()
        place = {identity: number for number, identity in enumerate(listed["object_id"].tolist())}
        first = [(~right[: place[identity]]).sum() for identity in truth.object_id[targets].tolist()]
        assert above.tolist() == first


def test_good_examples_beat_chance_and_magnitude_does_not(lenses: Catalogue) -> None:
    truth = planted.matched(lenses, planted.is_lens, 40)
    estimates = evaluate(lenses, truth, EvaluationSettings(draws=5)).estimates(measures.average_precision)
    assert estimates["centroid"].low > 0.9
    assert estimates["magnitude"].value < 0.2
    assert estimates["chance"].value < 0.2


def test_given_examples_rank_once_and_are_not_sought(lenses: Catalogue) -> None:
    truth = planted.matched(lenses, planted.is_lens, 30)
    evaluation = evaluate(lenses, truth, EvaluationSettings(methods=("centroid",)), truth[np.arange(4)])
    assert [len(one) for one in evaluation.above["centroid"]] == [26]
    assert [one.tolist() for one in evaluation.targets] == [list(range(4, 30))]
    assert "magnitude" not in evaluation.above


def test_pieces_of_a_lens_are_neither_right_nor_wrong(
    lenses: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    truth = planted.matched(lenses, planted.is_lens, 40)
    before = evaluate(lenses, truth, EvaluationSettings(draws=2))
    pieces = make_rows(1, truth.ra, truth.dec + 2 / 3600, truth.vectors.astype(float))
    write_tile(lenses, "001.240", pieces)
    after = evaluate(lenses, truth, EvaluationSettings(draws=2))
    assert after.objects == before.objects
    assert after.estimates(measures.average_precision)["nearest"].value > 0.9


def test_lenses_that_the_filter_drops_are_counted_apart(lenses: Catalogue) -> None:
    truth = planted.matched(lenses, planted.is_lens, 40)
    evaluation = evaluate(lenses, truth, EvaluationSettings(where="tile != '020.240'", draws=2))
    assert (evaluation.lenses, evaluation.not_ranked) == (30, 10)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_too_few_lenses_are_refused(lenses: Catalogue, count: int) -> None:
    with pytest.raises(ScannerError) as caught:
        evaluate(lenses, planted.matched(lenses, planted.is_lens, count), EvaluationSettings(examples=10))
    assert caught.value.code == "rank.few_lenses"


def test_nothing_left_to_find_by_given_examples_is_refused(lenses: Catalogue) -> None:
    truth = planted.matched(lenses, planted.is_lens, 5)
    with pytest.raises(ScannerError) as caught:
        evaluate(lenses, truth, EvaluationSettings(), truth)
    assert caught.value.code == "rank.few_lenses"

"""The measures of an evaluation against cases worked out by hand, and its fair comparison."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluate import metrics
from training.evaluate.measure import changed, finds_itself
from training.evaluate.report import table
from training.evaluate.windows import LabelledWindows, central, matched


def hits(text: str) -> np.ndarray:
    return np.array([letter == "L" for letter in text])


def windows(lenses: int, magnitude: list[float]) -> LabelledWindows:
    count = len(magnitude)
    flux = np.random.default_rng(0).normal(size=(count, 5, 8, 8)).astype(np.float32)
    flux[:, [0, 4]] = np.nan
    return LabelledWindows(flux, np.arange(count) < lenses, np.array(magnitude), np.arange(count).astype(str))


def test_measures_of_a_ranking_worked_out_by_hand() -> None:
    ranked = hits("L.L....L")  # lenses at ranks 1, 3 and 8
    assert metrics.average_precision(ranked) == pytest.approx((1 / 1 + 2 / 3 + 3 / 8) / 3)
    assert metrics.precision(ranked, 4) == 0.5
    assert metrics.recall(ranked, 4) == pytest.approx(2 / 3)
    gains = 1 / np.log2([2, 4, 9])
    assert metrics.ndcg(ranked, 8) == pytest.approx(gains.sum() / (1 / np.log2([2, 3, 4])).sum())


def test_leave_one_out_never_counts_the_query_itself() -> None:
    """Two lenses that are each other's nearest, two others: a perfect ranking, however similar each is to itself."""
    similarity = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.2, 0.1], [0.1, 0.2, 1, 0.5], [0, 0.1, 0.5, 1]])
    measured = metrics.leave_one_out(similarity, hits("LL.."))
    assert measured["mAP"].tolist() == [1.0, 1.0]


def test_a_constant_similarity_gives_lenses_no_advantage() -> None:
    measured = metrics.leave_one_out(np.ones((40, 40)), hits("LLLL" + "." * 36))
    assert measured["mAP"].mean() < 0.1


def test_the_area_under_the_curve_counts_ties_a_half() -> None:
    is_lens = hits("LL..")
    assert metrics.auc(np.array([3.0, 2, 1, 0]), is_lens) == 1
    assert metrics.auc(np.array([1.0, 1, 1, 1]), is_lens) == 0.5
    assert metrics.auc(np.array([2.0, 0, 1, 0]), is_lens) == pytest.approx((2 + 0.5) / 4)


def test_an_interval_holds_its_mean_and_narrows_with_more_queries() -> None:
    random = np.random.default_rng(1)
    few, many = (metrics.mean_estimate(random.uniform(size=n)) for n in (20, 2000))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_matched_negatives_are_the_nearest_in_magnitude_and_taken_once() -> None:
    labelled = windows(2, [18.0, 22.0, 18.1, 21.9, 25.0, 17.9, 22.2, 15.0])
    chosen = matched(labelled, each=2)
    assert chosen[:2].tolist() == [0, 1]
    assert set(chosen[2:4].tolist()) == {2, 5}
    assert set(chosen[4:].tolist()) == {3, 6}


def test_objects_seen_otherwise_keep_their_pixels() -> None:
    labelled = windows(1, [20.0, 21.0])
    views = changed(labelled)
    assert set(views) == {"without g", "without r", "without i", "turned 90 degrees", "mirrored"}
    assert np.isnan(views["without r"][:, 2]).all()
    np.testing.assert_array_equal(views["mirrored"][..., ::-1], labelled.flux)
    assert finds_itself(np.eye(3, dtype=np.float32)[[0, 2, 2]], np.eye(3, dtype=np.float32)).tolist() == [1, 0, 1]


def test_the_central_window_is_in_the_middle() -> None:
    flux = np.arange(36.0).reshape(1, 6, 6)
    np.testing.assert_array_equal(central(flux, 2)[0], [[14, 15], [20, 21]])


def test_the_table_has_a_row_a_measure_and_a_column_a_model() -> None:
    estimate = metrics.Estimate(0.5, 0.4, 0.6)
    text = table({"mine": {"mAP all": estimate, "P@10 all": estimate}, "other": {"mAP all": estimate}})
    assert "0.500 [0.40, 0.60]" in text
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["mAP", "P@10"]

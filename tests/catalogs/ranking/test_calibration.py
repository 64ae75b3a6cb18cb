"""Probabilities mean what they say, as far as the examples allow, and are not given where they do not allow it."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs.errors import ScannerError
from catalogs.ranking import BY_EXAMPLES, ExampleMethod, Method, calibration, methods
from catalogs.ranking.calibration import Calibration
from catalogs.ranking.fit import Fit, Sides
from catalogs.ranking.scorer import Points
from catalogs.search.examples import Examples, none, spot

DIM = 8


def drawn(rng: np.random.Generator, count: int, away: float) -> np.ndarray:
    """Unit vectors around a common mean; ``away`` along the first axis."""
    result = rng.normal(size=(count, DIM)) + 3 * np.eye(DIM)[1] + away * np.eye(DIM)[0]
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float32)


def examples_of(vectors: np.ndarray) -> Examples:
    result = none(DIM)
    for number, vector in enumerate(vectors):
        result = result.join(spot(str(number), 10 + number, 0.0, vector))
    return result


def fit(method: Method, like: Examples, ordinary: np.ndarray) -> Fit:
    everyone = Points(ordinary, np.full(len(ordinary), np.nan), np.arange(len(ordinary)))
    return Fit(method, Sides(Points.of(like), everyone[np.zeros(0, int)], everyone))


@pytest.mark.parametrize("method", BY_EXAMPLES)
@pytest.mark.parametrize("prevalence", [0.3, 0.03])
def test_what_is_said_to_be_likely_happens_as_often(method: ExampleMethod, prevalence: float) -> None:
    rng = np.random.default_rng(4)
    like, ordinary = drawn(rng, 60, 2.0), drawn(rng, 3000, 0.0)
    fitted = fit(method, examples_of(like), ordinary).calibration
    assert fitted is not None
    scorer = methods.fit_scorer(method, like, ordinary[:0], ordinary)
    right = rng.random(40_000) < prevalence
    tested = np.where(right[:, None], drawn(rng, 40_000, 2.0), drawn(rng, 40_000, 0.0))
    probability = fitted.probability(scorer(tested), prevalence)
    assert probability.sum() == pytest.approx(right.sum(), rel=0.25)
    for low, high in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.8)):
        here = (probability > low) & (probability <= high)
        if here.sum() > 200:
            assert right[here].mean() == pytest.approx(probability[here].mean(), abs=0.15)


def test_examples_that_look_like_anything_give_the_prevalence() -> None:
    rng = np.random.default_rng(6)
    ordinary = drawn(rng, 2000, 0.0)
    fitted = fit("centroid", examples_of(drawn(rng, 40, 0.0)), ordinary).calibration
    assert fitted is not None
    probability = fitted.probability(methods.fit_centroid(ordinary[:40], ordinary)(ordinary), 0.01)
    assert np.quantile(probability, [0.05, 0.95]) == pytest.approx([0.01, 0.01], abs=0.012)


def test_a_slope_that_points_the_wrong_way_counts_as_none() -> None:
    rng = np.random.default_rng(0)
    fitted = calibration.fit_curve(rng.normal(-1, 1, 50), rng.normal(1, 1, 500))
    assert fitted == Calibration(0.0, 0.0)
    assert fitted.probability(np.array([-5.0, 5.0]), 0.25).tolist() == [0.25, 0.25]


def test_fewer_than_five_examples_have_no_probability_however_often_they_are_turned() -> None:
    rng = np.random.default_rng(1)
    ordinary, four = drawn(rng, 500, 0.0), examples_of(drawn(rng, 4, 2.0))
    turned = four.with_vectors(np.repeat(four.vectors, 8, axis=0), np.repeat(np.arange(4), 8))
    assert fit("probe", turned, ordinary).calibration is None


def test_an_example_is_never_scored_by_itself_turned_another_way() -> None:
    """Eight equal vectors of each example: were folds drawn over vectors, each would be its own nearest at cosine 1."""
    rng = np.random.default_rng(2)
    ordinary, some = drawn(rng, 500, 0.0), examples_of(drawn(rng, 10, 2.0))
    turned = some.with_vectors(np.repeat(some.vectors, 8, axis=0), np.repeat(np.arange(10), 8))
    once, eight = (fit("nearest", one, ordinary).calibration for one in (some, turned))
    assert once is not None
    assert eight is not None
    assert eight.slope == pytest.approx(once.slope, rel=0.05)


def test_parted_scores_give_a_finite_curve() -> None:
    fitted = calibration.fit_curve(np.full(10, 5.0), np.zeros(100))
    assert np.isfinite([fitted.slope, fitted.offset]).all()
    assert fitted.slope > 0


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, float("nan")])
def test_a_prevalence_is_a_share(prevalence: float) -> None:
    with pytest.raises(ScannerError) as caught:
        calibration.check_prevalence(prevalence)
    assert caught.value.code == "rank.bad_prevalence"

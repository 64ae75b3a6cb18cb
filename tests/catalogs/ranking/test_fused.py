"""Ranking by the lens score of a catalogue, and by that and examples together, where each of them knows half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.ranking import measures, rank
from catalogs.ranking.evaluation import EvaluationSettings, evaluate
from catalogs.ranking.feedback import Feedback
from catalogs.ranking.fit import Fit, Sides, Weighing
from catalogs.ranking.scorer import Points
from catalogs.search.examples import Examples, spot
from catalogs.search.matching import match, match_ids
from tests.support import catalogue_rows, planted
from tests.support.catalogue_rows import DIM, SCORED_RUN

AXIS = np.eye(DIM)[0]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Five tiles of 400 objects, every twentieth a lens; neither the vectors nor the scores tell all of them.

    Every 21st is a ring: vectors tell rings from all others, and the lens score dislikes them.
    """
    rng = np.random.default_rng(3)
    filled = catalogs.create(tmp_path_factory.mktemp("scored") / "embeddings", SCORED_RUN)
    for number in range(5):
        ids = np.arange(400)
        lens, ring = ids % planted.EVERY == 0, ids % 21 == 1
        vectors = rng.normal(size=(400, DIM)) + 3 * np.eye(DIM)[3] + np.outer(2.5 * lens, AXIS)
        vectors += np.outer(4.0 * ring, np.eye(DIM)[1])
        score = rng.normal(-5, 1, 400) + 2.5 * lens - 3 * ring
        ra, dec = 10 + 0.5 * number + rng.uniform(0, 0.5, 400), 30 + rng.uniform(0, 0.5, 400)
        rows = catalogue_rows.make(20240 + number, ra, dec, vectors, score_lens=score.astype(np.float32))
        catalogue_rows.write(filled, f"02{number}.240", rows, SCORED_RUN)
    return filled


def lenses(catalogue: Catalogue, count: int) -> Examples:
    return planted.matched(catalogue, planted.is_lens, count)


def precision(catalogue: Catalogue, method: str, examples: int) -> float:
    """Mean average precision over 6 draws of examples."""
    settings = EvaluationSettings((method,), examples, draws=6)  # type: ignore[arg-type]
    estimates = evaluate(catalogue, lenses(catalogue, 100), settings).estimates(measures.average_precision)
    return estimates[method].value


def test_the_lens_score_ranks_without_an_example(scored: Catalogue) -> None:
    table = rank.rank(scored, method="score", k=50, prevalence=0.01)
    stored = scored.table(["score_lens"])["score_lens"]
    assert table["score"].tolist() == np.sort(stored)[::-1][:50].tolist()
    assert table["score"].tolist() == table["score_lens"].tolist()
    # At the prevalence that the model states, a score is the log-odds of being a lens; at another the odds are shifted.
    assert table["probability"] == pytest.approx(1 / (1 + np.exp(-table["score"])), rel=1e-6)
    rare = rank.rank(scored, method="score", k=50, prevalence=0.001)
    odds = np.exp(table["score"]) * (0.001 / 0.999) / (0.01 / 0.99)
    assert rare["probability"] == pytest.approx(odds / (1 + odds), rel=1e-5)
    assert not {"similarity", "nearest_example", "nearest_id"} & set(table.colnames)
    assert not table["known"].any()


def test_without_a_prevalence_it_is_the_one_that_the_model_states(scored: Catalogue) -> None:
    table = rank.rank(scored, k=5)
    assert "0.01 of" in table["probability"].description
    assert (
        table["probability"].tolist() == rank.rank(scored, method="score", k=5, prevalence=0.01)["probability"].tolist()
    )


@pytest.mark.parametrize("examples", [1, 10, 50])
def test_fused_is_better_than_either_half(scored: Catalogue, examples: int) -> None:
    fused, score, example = (precision(scored, name, examples) for name in ("fused", "score", "probe"))
    assert fused > max(score, example) + (0.01 if examples == 1 else 0.1)


def test_examples_that_the_lens_score_dislikes_take_its_weight(scored: Catalogue) -> None:
    """A search for rings is not drowned by lenses, from a few examples on."""

    def rings(object_id: Any) -> np.ndarray:
        return np.asarray(object_id) % 1_000_000 % 21 == 1

    like = planted.matched(scored, rings, 5)
    table = rank.rank(scored, like, method="fused", k=50)
    assert rings(table["object_id"]).mean() > 0.8
    fit = rank.rank(scored, like, method="centroid", k=50)
    assert rings(table["object_id"]).sum() >= rings(fit["object_id"]).sum() - 3


def test_marks_teach_the_weight_of_the_lens_score(scored: Catalogue) -> None:
    """Rejected objects of a high score lower its weight, and kept ones of a high score raise it."""
    table = scored.table(["object_id", "score_lens"], where="score_lens > -3.5")
    is_lens = planted.is_lens(table["object_id"])
    none, ordinary = table[:0], Points.of(objects(scored, scored.table(["object_id"])[1::20]))

    def weight(kept: Any, rejected: Any) -> float:
        sides = Sides(
            Points.of(lenses(scored, 6).join(objects(scored, kept))),
            Points.of(objects(scored, rejected)),
            ordinary,
        )
        return Fit("fused", sides).scorer.weight

    assert weight(none, table[~is_lens][:20]) < weight(none, none) < weight(table[is_lens][:12], none)


def objects(catalogue: Catalogue, table: Any) -> Examples:
    return match_ids(catalogue.snapshot(), {int(one): str(one) for one in table["object_id"]})


def test_kept_marks_alone_are_examples_and_a_search_by_score_becomes_a_fused_one(
    scored: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = rank.rank(scored, k=20, next="best")
    kept, rejected = (objects(scored, first[planted.is_lens(first["object_id"]) == truth]) for truth in (True, False))
    second = rank.rank(scored, feedback=Feedback(kept, rejected), k=20, next="best")
    assert f"Scored by fused: {len(kept)} examples, {len(rejected)} counterexamples" in caplog.text
    assert not set(first["object_id"]) & set(second["object_id"])


def test_the_weights_are_those_of_the_regression_that_is_described() -> None:
    """One orientation each, two dimensions: the minimum is found anew by another algorithm."""
    rng = np.random.default_rng(1)

    def points(count: int, at: float, score: float) -> Points:
        vectors = np.stack([rng.normal(at, 1, count), np.full(count, 3.0)], axis=1).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Points(vectors, rng.normal(score, 2, count), np.arange(count))

    sides = Sides(points(7, 1.5, 2), points(3, 0.5, 1), points(200, 0, 0))
    fit = Fit("fused", sides, weighing=Weighing((1.0, 0.5), strength=2.0, share=0.05))
    middle, width = fit.held_out[2].mean(), fit.held_out[2].std()
    lens = sides.ordinary.score
    x = np.concatenate([(held - middle) / width for held in fit.held_out])
    y = np.concatenate([(side.score - lens.mean()) / lens.std() for side in sides])
    share = np.repeat([1.0, 1.0, 7 * 19 / 200], [7, 3, 200])
    sign = np.repeat([-1.0, 1.0, 1.0], [7, 3, 200])

    def loss(w: np.ndarray) -> float:
        prior = ((w[0] - 1) ** 2 + (w[1] - 0.5) ** 2) * 2.0 / 2
        return float(share @ np.logaddexp(0, sign * (w[0] * x + w[1] * y + w[2])) + prior)

    best = minimize(loss, [1, 1, 0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4000}).x
    scorer = fit.scorer
    assert (scorer.factor * width, scorer.weight * lens.std()) == pytest.approx(best[:2], abs=2e-3)
    # A typical object scores 0, and what is like one of the sample is scored by the sum.
    assert scorer.join(middle, np.array([lens.mean()]))[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("examples", [2, 10])
def test_one_ordinary_object_still_gives_scores(examples: int) -> None:
    """Nothing is held out of it; the score grows with the lens score and with the likeness to the examples."""
    rng = np.random.default_rng(2)

    def points(axis: int, count: int, score: float) -> Points:
        vectors = (np.eye(DIM)[axis] + 0.05 * rng.normal(size=(count, DIM))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Points(vectors, rng.normal(score, 1, count), np.arange(count))

    like, ordinary = points(0, examples, 2), points(1, 1, 0)
    fit = Fit("fused", Sides(like, like[np.zeros(0, int)], ordinary))
    assert np.isfinite(fit.scorer(like)).all()
    assert fit.scorer(ordinary) == pytest.approx([0], abs=1e-5)
    alike, other = (Points(one.vectors[[0, 0]], np.array([0.0, 1.0]), np.arange(2)) for one in (like, ordinary))
    assert (fit.scorer(alike) > fit.scorer(other)).all()
    assert all(low < high for low, high in map(fit.scorer, (alike, other)))
    assert fit.calibration is None


def test_a_catalogue_with_one_ordinary_object_is_ranked_by_fused(tmp_path: Path) -> None:
    filled = catalogs.create(tmp_path / "embeddings", SCORED_RUN)
    rows = catalogue_rows.make(1, [10.0, 10.1, 10.2, 10.3], [30.0] * 4, score_lens=np.arange(4, dtype=np.float32))
    catalogue_rows.write(filled, "001.240", rows, SCORED_RUN)
    table = rank.rank(filled, match(filled.snapshot(), [10.0, 10.1, 10.2], [30.0] * 3), method="fused")
    assert len(table) == 4
    assert np.isfinite(table["score"]).all()


def test_probabilities_of_fused_mean_what_they_say(scored: Catalogue) -> None:
    table = rank.rank(scored, lenses(scored, 40), method="fused", k=3000, prevalence=60 / 1960)
    others = table[~table["known"]]
    right = planted.is_lens(others["object_id"])
    assert others["probability"].sum() == pytest.approx(right.sum(), rel=0.35)
    assert right[others["probability"] > 0.5].mean() > 0.6


def test_objects_without_a_score_are_not_listed_and_spots_still_teach(tmp_path: Path) -> None:
    filled = catalogs.create(tmp_path / "embeddings", SCORED_RUN)
    rng = np.random.default_rng(0)
    score = np.where(np.arange(60) < 20, np.nan, rng.normal(-5, 1, 60)).astype(np.float32)
    rows = catalogue_rows.make(1, 10 + 0.01 * np.arange(60), np.full(60, 30.0), score_lens=score)
    catalogue_rows.write(filled, "001.240", rows, SCORED_RUN)
    assert len(rank.rank(filled, method="score", k=100)) == 40
    like = spot("elsewhere", 50.0, 0.0, rows["embedding"][30])
    table = rank.rank(filled, like, method="fused", k=100)
    assert len(table) == 40
    assert 1_000_030 in table["object_id"][:5]
    with pytest.raises(ScannerError) as caught:
        rank.rank(filled, like, method="fused", where="isnan(score_lens)")
    assert caught.value.code == "rank.no_score"


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"method": "score"}, "rank.no_score"), ({"method": "fused"}, "rank.no_score"), ({}, "rank.no_example")],
)
def test_a_catalogue_without_scores_says_so(catalogue: Catalogue, settings: dict[str, Any], code: str) -> None:
    catalogue_rows.write(catalogue, "001.240", catalogue_rows.make(1, [10.0, 10.1], [30.0, 30.0]))
    with pytest.raises(ScannerError) as caught:
        rank.rank(catalogue, **settings)
    assert caught.value.code == code


@pytest.mark.parametrize("method", ["centroid", "nearest", "probe", "fused"])
def test_a_method_that_needs_examples_says_so(scored: Catalogue, method: str) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(scored, method=method)
    assert caught.value.code == "rank.no_example"
    assert "--method score" in caught.value.hint


def test_given_examples_of_no_object_are_not_replaced_by_the_score(scored: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        rank.rank(scored, match(scored.snapshot(), [200.0], [-20.0]))
    assert caught.value.code == "rank.no_example"

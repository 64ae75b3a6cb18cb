"""What can be learned from vectors with few labels: a logistic probe, and ranking from ten known lenses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from training.evaluate.metrics import Bools, Floats, recall

KNOWN, DRAWS = 10, 50
STRENGTH = 0.1  # inverse weight of the L2 penalty, on standardised dimensions; fixed, never tuned to a model


def probe(vectors: NDArray[np.floating], is_lens: Bools, folds: int = 5, repeats: int = 3) -> Floats:
    """Scores [N] of a logistic regression that never saw the object: mean over ``repeats`` shuffled splits."""
    splits = (StratifiedKFold(folds, shuffle=True, random_state=seed) for seed in range(repeats))
    scores = [
        cross_val_predict(_regression(), vectors, is_lens, cv=split, method="decision_function") for split in splits
    ]
    return np.asarray(np.mean(scores, axis=0), np.float64)


def few_shot(
    vectors: NDArray[np.floating], is_lens: Bools, known: int = KNOWN, draws: int = DRAWS
) -> dict[str, Floats]:
    """Recall@50 of the other lenses among all negatives, for ``draws`` random sets of ``known`` lenses: [draws] each.

    ``similar`` ranks by cosine to the mean of the known lenses' unit vectors; ``learned`` by a regression of known
    lenses against everything else, the lenses still to be found among it: what a user with ten lenses can do.
    """
    random, lenses = np.random.default_rng(0), np.flatnonzero(is_lens)
    recalls: dict[str, list[float]] = {"similar": [], "learned": []}
    for _ in range(draws):
        seen = np.isin(np.arange(len(is_lens)), random.choice(lenses, known, replace=False))
        scores = {"similar": vectors @ vectors[seen].mean(axis=0), "learned": _learned(vectors, seen)}
        for how, score in scores.items():
            order = np.argsort(-score[~seen][::-1], kind="stable")
            recalls[how].append(recall(is_lens[~seen][::-1][order]))
    return {how: np.array(values) for how, values in recalls.items()}


def _learned(vectors: NDArray[np.floating], seen: Bools) -> Floats:
    return np.asarray(_regression().fit(vectors, seen).decision_function(vectors), np.float64)


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))

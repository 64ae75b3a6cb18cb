"""Linear probes of embeddings, which are scored on objects that they were not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from training.evaluate.statistics.metrics import Bools, Floats

STRENGTH = 0.1  # inverse weight of the L2 penalty on standardised dimensions, the same for all models
FOLDS, REPEATS = 5, 3
PENALTIES = np.logspace(-1, 4, 6)  # of the ridge regression; chosen within the training folds

Vectors = NDArray[np.floating]
Groups = NDArray[np.integer]


def scores(vectors: Vectors, label: NDArray[np.generic]) -> Floats:
    """Compute out-of-fold decision values of a logistic probe: [N], or [N, C] for C > 2 labels in sorted order.

    They are the mean over ``REPEATS`` shuffled stratified splits into ``FOLDS``.
    """
    splits = [StratifiedKFold(FOLDS, shuffle=True, random_state=seed) for seed in range(REPEATS)]
    predictions = [
        cross_val_predict(classifier(), vectors, label, cv=split, method="decision_function") for split in splits
    ]
    return np.asarray(np.mean(predictions, axis=0), np.float64)


def grouped_scores(vectors: Vectors, label: Bools, groups: Groups) -> Floats:
    """Compute the same by folds of whole groups: no probe is fitted to objects of a tile that it scores."""
    # Each fold needs a group, so few tiles make fewer folds.
    cv = list(GroupKFold(min(FOLDS, len(np.unique(groups)))).split(vectors, label, groups))
    predictions = cross_val_predict(classifier(), vectors, label, cv=cv, method="decision_function")
    return np.asarray(predictions, np.float64)


def predicted(vectors: Vectors, values: Floats, groups: Groups) -> Floats:
    """Compute out-of-fold predictions [N] of a ridge regression by folds of whole groups."""
    cv = list(GroupKFold(min(FOLDS, len(np.unique(groups)))).split(vectors, values, groups))
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    return np.asarray(cross_val_predict(model, vectors, values, cv=cv), np.float64)


def learned(vectors: Vectors, is_example: Bools) -> Floats:
    """Score all objects [N] by a probe of the known lenses against everything else, which includes unknown lenses."""
    return np.asarray(classifier().fit(vectors, is_example).decision_function(vectors), np.float64)


def answers(score: Floats, labels: Sequence[str]) -> NDArray[np.str_]:
    """Choose the label of the highest score in each row of ``scores``; ``labels`` are sorted."""
    # Two labels have one score [N], which is positive for the second.
    best = score.argmax(axis=1) if score.ndim == 2 else (score > 0).astype(np.intp)
    return np.asarray(labels)[best]


def classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))

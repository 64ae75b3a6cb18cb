"""Tasks on labelled pictures: is it a galaxy, and what did Galaxy Zoo's experts answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import PairedEstimate, average, estimate_paired_mean
from training.evaluate.embeddings import Embeddings
from training.evaluate.models import Vectors
from training.evaluate.results import TaskResult
from training.evaluate.sets import Sets
from training.evaluate.statistics import probes
from training.evaluate.statistics.estimates import estimate_auc
from training.evaluate.statistics.metrics import Floats

LONGEST = 44  # letters of a question


def galaxy(sets: Sets, seen: Embeddings) -> TaskResult:
    """Galaxies against stars, blends and artefacts, by a cross-validated probe."""
    pictures = sets.pictures(seen.side)
    is_galaxy = pictures.label == "galaxy"
    score = probes.scores(seen.of(pictures), is_galaxy)
    return TaskResult({"galaxy or not: AUC": estimate_auc(score, is_galaxy)})


def galaxy_zoo(sets: Sets, seen: Embeddings) -> TaskResult:
    """Every question with enough answers: AUC (mean over its answers) and accuracy less that of the usual answer.

    Vectors are centred within each survey, without labels: pictures of two surveys differ more than their galaxies.
    """
    zoo = sets.zoo(seen.side)
    vectors, found, better = centred(seen.of(zoo), zoo.survey), TaskResult(), []
    for question, rows in zoo.asked().items():
        answer = zoo.answer[rows]
        score = probes.scores(vectors[rows], answer)
        labels = sorted(set(answer))
        found.estimates[f"AUC of {len(rows)}: {shortened(question)}"] = estimate_answers_auc(score, answer)
        right = probes.answers(score, labels) == answer
        usual = answer == max(labels, key=lambda label, given=answer: (given == label).sum())  # type: ignore[misc]
        better.append(estimate_paired_mean(right.astype(np.float64) - usual))
    first = {
        "mean AUC": average_measures(list(found.estimates.values())),
        "accuracy less the usual answer's": average_measures(better),
    }
    return TaskResult(first | found.estimates)


def shortened(question: str) -> str:
    """A question that fits into a table."""
    return question if len(question) <= LONGEST else question[:LONGEST].rstrip(" ,") + "…"


def centred(vectors: Vectors, group: NDArray[np.str_]) -> Vectors:
    """Vectors [N, D] less the mean of their group [N]."""
    moved = vectors.copy()
    for name in np.unique(group):
        moved[group == name] -= vectors[group == name].mean(axis=0)
    return moved


def estimate_answers_auc(score: Floats, answer: NDArray[np.str_]) -> PairedEstimate:
    """Mean over the answers of the area under the curve of each against the others."""
    labels = sorted(set(answer))
    columns = score.T if score.ndim == 2 else np.stack([-score, score])
    pairs = zip(columns, labels, strict=True)
    return average_measures([estimate_auc(column, answer == label, answer) for column, label in pairs])


def average_measures(estimates: Sequence[PairedEstimate]) -> PairedEstimate:
    """The mean of different measures: their spread says nothing."""
    mean = average(estimates)
    return PairedEstimate.of(mean.value, mean.draws)

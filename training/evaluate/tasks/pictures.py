"""Tasks on labelled pictures: galaxy or not, and the answers of Galaxy Zoo's experts."""

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


def galaxy(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Tell galaxies from stars, blends and artefacts by a cross-validated probe."""
    pictures = sets.pictures(embeddings.side)
    is_galaxy = pictures.label == "galaxy"
    score = probes.scores(embeddings.of(pictures), is_galaxy)
    return TaskResult({"galaxy or not: AUC": estimate_auc(score, is_galaxy)})


def galaxy_zoo(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Answer each question with enough answers: AUC, and accuracy less that of the most frequent answer.

    The AUC is the mean over the answers. Embeddings are centred within each survey, without labels, since pictures of
    two surveys differ more than their galaxies do.
    """
    zoo = sets.zoo(embeddings.side)
    vectors, result, better = centre_groups(embeddings.of(zoo), zoo.survey), TaskResult(), []
    # No picture belongs to two questions, so each question is drawn by a seed of its own.
    for seed, (question, rows) in enumerate(zoo.rows_by_question().items()):
        answer = zoo.answer[rows]
        score = probes.scores(vectors[rows], answer)
        labels = sorted(set(answer))
        result.estimates[f"AUC of {len(rows)}: {shorten(question)}"] = estimate_answers_auc(score, answer, seed)
        right = probes.answers(score, labels) == answer
        usual = answer == max(labels, key=lambda label, answers=answer: (answers == label).sum())  # type: ignore[misc]
        # The difference of a picture is 1, 0 or -1, and its mean is the gain in accuracy.
        better.append(estimate_paired_mean(right.astype(np.float64) - usual, seed))
    first = {
        "mean AUC": average_measures(list(result.estimates.values())),
        "accuracy less the usual answer's": average_measures(better),
    }
    return TaskResult(first | result.estimates)


def shorten(question: str) -> str:
    """Shorten a question so that it fits into a table."""
    return question if len(question) <= LONGEST else question[:LONGEST].rstrip(" ,") + "…"


def centre_groups(vectors: Vectors, group: NDArray[np.str_]) -> Vectors:
    """Subtract from vectors [N, D] the mean of their group [N]."""
    moved = vectors.copy()
    for name in np.unique(group):
        moved[group == name] -= vectors[group == name].mean(axis=0)
    return moved


def estimate_answers_auc(score: Floats, answer: NDArray[np.str_], seed: int = 0) -> PairedEstimate:
    """Estimate the area under the curve of each answer against the others, averaged over the answers."""
    labels = sorted(set(answer))
    # Two answers have one score [N], which is that of the second.
    columns = score.T if score.ndim == 2 else np.stack([-score, score])
    pairs = zip(columns, labels, strict=True)
    # Each answer is a stratum of the resamples, so the same draws serve all answers of a question.
    return average_measures([estimate_auc(column, answer == label, answer, seed) for column, label in pairs])


def average_measures(estimates: Sequence[PairedEstimate]) -> PairedEstimate:
    """Average different measures; the spread between them means nothing and is dropped."""
    mean = average(estimates)
    return PairedEstimate.of(mean.value, mean.draws)

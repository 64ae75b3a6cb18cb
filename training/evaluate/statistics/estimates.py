"""Estimates of an evaluation that are more than a mean: every object counts as often as a resample draws it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import DRAWS, PairedEstimate, draw_counts, draw_rows, estimate_paired_mean
from catalogs.ranking import measures
from catalogs.ranking.measures import Measure
from training.evaluate.statistics.metrics import Bools, Floats, places, wins


def estimate_measure(measure: Measure, rankings: Sequence[Bools]) -> PairedEstimate:
    """Estimate the mean of a ranking measure over queries, each a row of hits [n], best first."""
    return estimate_paired_mean(np.array([measure(places(hits)) for hits in rankings]))


def estimate_ranking(measure: Measure, score: Floats, is_lens: Bools) -> PairedEstimate:
    """Estimate a measure of one ranking; its lenses are drawn again, and a tie counts against them."""
    above = (score[~is_lens] >= score[is_lens][:, None]).sum(axis=1)
    draws = measure(measures.places(above[draw_rows(len(above), DRAWS, 0)]))
    return PairedEstimate.of(float(measure(measures.places(above))), draws)


def estimate_auc(
    score: Floats, is_lens: Bools, strata: NDArray[np.generic] | None = None, seed: int = 0
) -> PairedEstimate:
    """Estimate the chance that a lens scores above a negative, a tie counting a half.

    Lenses and negatives (or ``strata`` [N]) are drawn each among themselves. Estimates of other objects that are to be
    averaged with it need another ``seed``.
    """
    counts = draw_counts(is_lens if strata is None else strata, seed)
    won = wins(score, is_lens)
    # Pairs that lenses win, weighted by how often both objects were drawn: [DRAWS].
    # Strata keep the numbers of lenses and negatives, so every draw has the same number of pairs.
    draws = np.einsum("dl,dl->d", counts[:, is_lens], counts[:, ~is_lens] @ won.T)
    return PairedEstimate.of(float(won.mean()), draws / won.size, counts=won.shape)


def estimate_r2(truth: Floats, predicted: Floats) -> PairedEstimate:
    """Estimate the share of the variance of ``truth`` [N] that ``predicted`` [N] explains.

    It is 0 for a prediction of the mean, and negative for a worse one.
    """
    counts, centred = draw_counts(np.zeros(len(truth))), truth - truth.mean()

    def explained(weights: Floats) -> Floats:
        # The variance is about the mean of the draw, which differs from that of all objects.
        mean = weights @ centred / len(truth)
        return np.asarray(1 - weights @ (truth - predicted) ** 2 / (weights @ centred**2 - len(truth) * mean**2))

    return PairedEstimate.of(float(explained(np.ones(len(truth)))), explained(counts))

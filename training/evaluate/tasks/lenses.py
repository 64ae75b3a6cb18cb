"""Tasks on real lenses: retrieval, a probe, few known lenses, and invariance to changes of a cutout."""

from __future__ import annotations

from warnings import catch_warnings

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import estimate_paired_share
from catalogs.ranking.measures import recall
from scanner.windows.orientations import orient
from training.evaluate.embeddings import Embeddings
from training.evaluate.models import Flux, Vectors
from training.evaluate.results import TaskResult
from training.evaluate.sets import Sets
from training.evaluate.sets.lenses import LabelledWindows, matched
from training.evaluate.statistics import probes
from training.evaluate.statistics.estimates import estimate_auc, estimate_measure
from training.evaluate.statistics.metrics import MEASURES, Bools, Floats, leave_one_out, ranked, recall_curve
from training.loop.statistics import background_noise

KNOWN, DRAWS, DEPTHS = 10, 50, (10, 50, 200)
NOISIER = np.sqrt(3.0)  # added to the background noise in quadrature: twice the noise, 0.75 mag shallower


def retrieval(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Query with each lens: among all negatives, those of equal magnitude, and those of images never trained on."""
    windows, vectors, result = sets.lenses, embeddings.of(sets.lenses), TaskResult()
    for against, rows in subsets(windows).items():
        part, is_lens = vectors[rows], windows.is_lens[rows]
        # Cosines [n, n], since the vectors are of unit length.
        hits = leave_one_out((part @ part.T).astype(np.float64), is_lens)
        for name, measure in MEASURES.items():
            result.estimates[f"{name} {against}"] = estimate_measure(measure, hits)
        result.curves[f"each lens asks, {against}"] = recall_curve(hits)
    return result


def lens_probe(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Tell lenses from negatives by a cross-validated logistic probe."""
    windows, vectors, result = sets.lenses, embeddings.of(sets.lenses), TaskResult()
    for against, rows in subsets(windows).items():
        is_lens = windows.is_lens[rows]
        result.estimates[f"AUC {against}"] = estimate_auc(probes.scores(vectors[rows], is_lens), is_lens)
    return result


def few_shot(sets: Sets, embeddings: Embeddings, examples: int = KNOWN, draws: int = DRAWS) -> TaskResult:
    """Find the other lenses among all negatives, with ``draws`` random sets of ``examples`` lenses.

    ``similar`` ranks by cosine to the mean of the known lenses' unit vectors, ``learned`` by a regression of the known
    lenses against everything else.
    """
    windows, vectors, result = sets.lenses, embeddings.of(sets.lenses), TaskResult()
    hits: dict[str, list[Bools]] = {"similar": [], "learned": []}
    random, lenses = np.random.default_rng(0), np.flatnonzero(windows.is_lens)
    for _ in range(draws):
        # The examples are left out of the candidates: only the other lenses can be found.
        is_example = np.isin(np.arange(len(windows)), random.choice(lenses, examples, replace=False))
        for how, score in rankings(vectors, is_example).items():
            hits[how].append(ranked(score[~is_example], windows.is_lens[~is_example]))
    for how, rows in hits.items():
        for depth in DEPTHS:
            result.estimates[f"{how}: recall@{depth}"] = estimate_measure(recall(depth), rows)
        result.curves[f"10 lenses, {how}"] = recall_curve(rows)
    return result


def rankings(vectors: Vectors, is_example: Bools) -> dict[str, Floats]:
    """Score all objects [N] by similarity to the lenses that are ``is_example``, and by a probe fitted to them."""
    # The mean is not of unit length, which does not change the order.
    similar = np.asarray(vectors @ vectors[is_example].mean(axis=0), np.float64)
    return {"similar": similar, "learned": probes.learned(vectors, is_example)}


def invariance(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Measure how often a changed object is nearest to itself: without a band, turned, mirrored or noisier."""
    windows, vectors, result = sets.lenses, embeddings.of(sets.lenses), TaskResult()
    for change in changes(windows):
        other = embeddings.changed(windows, change, lambda flux, change=change: changed(flux, windows, change))  # type: ignore[misc]
        result.estimates[f"itself {change}"] = estimate_paired_share(is_own_nearest(other, vectors))
    return result


def changes(windows: LabelledWindows) -> list[str]:
    """List the changes that ``changed`` can make."""
    return [*(f"without {band}" for band in windows.present), "turned 90 degrees", "mirrored", "with twice the noise"]


def changed(flux: Flux, windows: LabelledWindows, change: str) -> Flux:
    """Change cutouts [N, B, S, S]."""
    if change.startswith("without "):
        less = flux.copy()
        less[:, windows.bands.index(change[-1])] = np.nan
        return less
    if change.startswith("turned"):
        return orient(flux, 1)
    if change == "mirrored":
        return orient(flux, 4)
    sigma = _background_noise(flux) * NOISIER
    # One seed: every model gets the same noise.
    return np.asarray(flux + np.random.default_rng(0).standard_normal(flux.shape, np.float32) * sigma, np.float32)


def _background_noise(flux: Flux) -> NDArray[np.float32]:
    """Measure the background noise of each band [B, 1, 1]; 0 where a band is missing."""
    # A band without data has no median, which needs no warning.
    with catch_warnings(action="ignore", category=RuntimeWarning):
        sigma = np.nanmedian(background_noise(flux), axis=0)
    return np.nan_to_num(sigma).astype(np.float32)[:, None, None]


def is_own_nearest(changed_vectors: NDArray[np.float32], vectors: NDArray[np.float32]) -> Bools:
    """Tell whether the nearest of ``vectors`` [N, D] is the object itself, [N]."""
    # Cosines [N, N]: changed objects in rows, unchanged ones in columns.
    nearest = (changed_vectors @ vectors.T).argmax(axis=1)
    return np.asarray(nearest == np.arange(len(vectors)))


def subsets(windows: LabelledWindows) -> dict[str, NDArray[np.intp]]:
    """Index all objects; lenses with magnitude-matched negatives; all from images that no model was trained on."""
    return {"all": np.arange(len(windows)), "matched": matched(windows), "unseen": np.flatnonzero(~windows.trained)}

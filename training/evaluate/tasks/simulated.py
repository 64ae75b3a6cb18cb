"""Tasks on simulated objects: rare lenses, stars and galaxies, photometry, and objects in few bands or other seeing."""

from __future__ import annotations

import numpy as np

from catalogs.estimate import estimate_paired_mean, estimate_paired_share
from catalogs.ranking.measures import ndcg, purity, recall
from scanner.survey.bands import BANDS
from training.evaluate.embeddings import Embeddings
from training.evaluate.models import Flux
from training.evaluate.results import TaskResult
from training.evaluate.sets import Sets
from training.evaluate.sets.simulated import FRAGMENT
from training.evaluate.statistics import probes
from training.evaluate.statistics.estimates import estimate_auc, estimate_measure, estimate_r2
from training.evaluate.statistics.metrics import Bools, ranked, recall_curve
from training.evaluate.tasks.lenses import KNOWN, is_own_nearest, rankings

PREVALENCE = 0.001
DRAWS = 40
FAINTEST = 24.0  # r of stars and galaxies
REMAINING = {**{f"without {band}": "ugriz".replace(band, "") for band in "ugriz"}, "in gri": "gri", "in r alone": "r"}
"""Remaining bands: without one of the five, those of CFHTLS fields, and one alone."""

MEASURES = {"recall@10": recall(10), "recall@50": recall(50), "purity@10": purity(10), "nDCG@10": ndcg(10)}


def rare_lenses(sets: Sets, embeddings: Embeddings, examples: int = KNOWN, draws: int = DRAWS) -> TaskResult:
    """Find lenses that are one object in a thousand by ten known ones; both are drawn ``draws`` times.

    ``similar`` and ``learned`` are as in ``lenses.few_shot``. About five lenses are hidden, so ``purity@10`` is at most
    about a half.
    """
    windows, vectors = sets.simulated, embeddings.of(sets.simulated)
    # A fragment shows a part of a lens, so it is neither a lens nor one of the others.
    lenses, others = np.flatnonzero(windows.label == "lens"), ~np.isin(windows.label, ["lens", FRAGMENT])
    hidden = max(round(PREVALENCE * int(others.sum())), 1)
    # One seed: every model gets the same draws, so that differences between models are paired.
    random = np.random.default_rng(0)
    hits: dict[str, list[Bools]] = {"similar": [], "learned": []}
    for _ in range(draws):
        # Known and hidden lenses first, then all other objects; the known ones are no candidates.
        subset = random.choice(lenses, min(examples + hidden, len(lenses)), replace=False)
        rows = np.concatenate([subset, np.flatnonzero(others)])
        is_example, is_lens = np.arange(len(rows)) < len(subset) - hidden, np.arange(len(rows)) < len(subset)
        for how, score in rankings(vectors[rows], is_example).items():
            hits[how].append(ranked(score[~is_example], is_lens[~is_example]))
    result = TaskResult()
    for how, ranks in hits.items():
        for name, measure in MEASURES.items():
            result.estimates[f"{how}: {name}"] = estimate_measure(measure, ranks)
        result.curves[f"one in a thousand (simulated), {how}"] = recall_curve(ranks)
    return result


def star_galaxy(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Tell stars from galaxies brighter than r = 24 by a probe fitted to other tiles."""
    windows, vectors = sets.simulated, embeddings.of(sets.simulated)
    rows = np.flatnonzero(np.isin(windows.label, ["star", "galaxy"]) & (windows.truth["mag_r"] < FAINTEST))
    is_star = windows.label[rows] == "star"
    # Objects of one tile share seeing and depth, which a probe could learn. So folds are whole tiles.
    score = probes.grouped_scores(vectors[rows], is_star, windows.tile[rows])
    return TaskResult({"star or galaxy: AUC": estimate_auc(score, is_star)})


def photometry(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Predict magnitude, colours and size of galaxies (R2) by a ridge regression fitted to other tiles."""
    windows, vectors = sets.simulated, embeddings.of(sets.simulated)
    rows = np.flatnonzero(windows.label == "galaxy")
    true = {name: values[rows] for name, values in windows.truth.items()}
    quantities = {
        "r": true["mag_r"],
        "g - r": true["mag_g"] - true["mag_r"],
        "r - i": true["mag_r"] - true["mag_i"],
        "log size": np.log10(np.maximum(true["size"], 0.05)),
    }
    result = TaskResult()
    for name, values in quantities.items():
        guess = probes.predicted(vectors[rows], values, windows.tile[rows])
        result.estimates[f"R2 of {name}"] = estimate_r2(values, guess)
    return result


def some_bands(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Measure how often an object in some bands is nearest to itself in all five."""
    whole, result = embeddings.of(sets.exposure_pairs), TaskResult()
    for name, left in REMAINING.items():
        other = embeddings.changed(sets.exposure_pairs, name, lambda flux, left=left: _only(flux, left))  # type: ignore[misc]
        result.estimates[f"itself {name}"] = estimate_paired_share(is_own_nearest(other, whole))
    return result


def _only(flux: Flux, bands: str) -> Flux:
    return np.where(np.isin(BANDS, list(bands))[:, None, None], flux, np.float32(np.nan))


def other_seeing(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Measure how often an object in bad seeing and more noise is nearest to itself in good conditions."""
    pair = sets.exposure_pairs
    other = embeddings.changed(pair, "in other seeing", lambda _: pair.other)
    return TaskResult(
        {"itself in other seeing and depth": estimate_paired_share(is_own_nearest(other, embeddings.of(pair)))}
    )


def three_surveys(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Find a galaxy of DES, PS1 or SDSS in another survey among other galaxies, over the 6 ordered pairs."""
    vectors, same = embeddings.of(sets.surveys), sets.surveys.galaxy
    first, place = [], []
    for query in range(same):
        for target in (other for other in range(same) if other != query):
            # Rows of the candidates: the galaxy in the other survey first, then all other galaxies.
            gallery = np.concatenate([[target], np.arange(same, len(vectors))])
            likeness = vectors[gallery] @ vectors[query]
            first.append(likeness.argmax() == 0)
            # In the rank, a tie counts against the galaxy.
            place.append(1.0 / (1 + np.sum(likeness[1:] >= likeness[0])))
    among = len(vectors) - same
    return TaskResult(
        {
            f"one galaxy first of {among + 1}": estimate_paired_share(np.array(first)),
            "one galaxy, mean 1/rank": estimate_paired_mean(np.array(place)),
        }
    )

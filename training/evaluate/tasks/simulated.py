"""Tasks on simulated objects: rare lenses, stars from galaxies, photometry, one object in few bands or other seeing."""

from __future__ import annotations

import numpy as np

from catalogs.estimate import estimate_paired_mean
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
FAINTEST = 24.0  # r of stars and galaxies that are told apart
LEFT = {**{f"without {band}": "ugriz".replace(band, "") for band in "ugriz"}, "in gri": "gri", "in r alone": "r"}
"""Bands that are left of five: one dropped, as in CFHTLS fields of three, and the fewest."""

MEASURES = {"recall@10": recall(10), "recall@50": recall(50), "purity@10": purity(10), "nDCG@10": ndcg(10)}


def rare_lenses(sets: Sets, seen: Embeddings, known: int = KNOWN, draws: int = DRAWS) -> TaskResult:
    """Ten known lenses look for others that are one object in a thousand; both drawn anew ``draws`` times.

    ``similar`` and ``learned`` as in ``lenses.few_shot``. Of about five hidden lenses ``purity@10`` can reach a half.
    """
    windows, vectors = sets.simulated, seen.of(sets.simulated)
    lenses, others = np.flatnonzero(windows.label == "lens"), ~np.isin(windows.label, ["lens", FRAGMENT])
    hidden = max(round(PREVALENCE * int(others.sum())), 1)
    random = np.random.default_rng(0)
    hits: dict[str, list[Bools]] = {"similar": [], "learned": []}
    for _ in range(draws):
        drawn = random.choice(lenses, min(known + hidden, len(lenses)), replace=False)
        rows = np.concatenate([drawn, np.flatnonzero(others)])
        shown, is_lens = np.arange(len(rows)) < len(drawn) - hidden, np.arange(len(rows)) < len(drawn)
        for how, score in rankings(vectors[rows], shown).items():
            hits[how].append(ranked(score[~shown], is_lens[~shown]))
    found = TaskResult()
    for how, ranks in hits.items():
        for name, measure in MEASURES.items():
            found.estimates[f"{how}: {name}"] = estimate_measure(measure, ranks)
        found.curves[f"one in a thousand (simulated), {how}"] = recall_curve(ranks)
    return found


def star_galaxy(sets: Sets, seen: Embeddings) -> TaskResult:
    """Stars against galaxies brighter than r = 24, by a probe that saw other tiles."""
    windows, vectors = sets.simulated, seen.of(sets.simulated)
    rows = np.flatnonzero(np.isin(windows.label, ["star", "galaxy"]) & (windows.truth["mag_r"] < FAINTEST))
    is_star = windows.label[rows] == "star"
    score = probes.grouped_scores(vectors[rows], is_star, windows.tile[rows])
    return TaskResult({"star or galaxy: AUC": estimate_auc(score, is_star)})


def photometry(sets: Sets, seen: Embeddings) -> TaskResult:
    """R2 of true magnitude, colours and size of galaxies, by a ridge regression that saw other tiles."""
    windows, vectors = sets.simulated, seen.of(sets.simulated)
    rows = np.flatnonzero(windows.label == "galaxy")
    true = {name: values[rows] for name, values in windows.truth.items()}
    quantities = {
        "r": true["mag_r"],
        "g - r": true["mag_g"] - true["mag_r"],
        "r - i": true["mag_r"] - true["mag_i"],
        "log size": np.log10(np.maximum(true["size"], 0.05)),
    }
    found = TaskResult()
    for name, values in quantities.items():
        guess = probes.predicted(vectors[rows], values, windows.tile[rows])
        found.estimates[f"R2 of {name}"] = estimate_r2(values, guess)
    return found


def some_bands(sets: Sets, seen: Embeddings) -> TaskResult:
    """How often a simulated object of which some bands are left is nearest to itself in all five."""
    whole, found = seen.of(sets.exposure_pairs), TaskResult()
    for name, left in LEFT.items():
        other = seen.changed(sets.exposure_pairs, name, lambda flux, left=left: _only(flux, left))  # type: ignore[misc]
        found.estimates[f"itself {name}"] = estimate_paired_mean(is_own_nearest(other, whole))
    return found


def _only(flux: Flux, bands: str) -> Flux:
    return np.where(np.isin(BANDS, list(bands))[:, None, None], flux, np.float32(np.nan))


def other_seeing(sets: Sets, seen: Embeddings) -> TaskResult:
    """How often a simulated object in bad seeing and deep noise is nearest to itself in good conditions."""
    pair = sets.exposure_pairs
    other = seen.changed(pair, "in other seeing", lambda _: pair.other)
    return TaskResult({"itself in other seeing and depth": estimate_paired_mean(is_own_nearest(other, seen.of(pair)))})


def three_surveys(sets: Sets, seen: Embeddings) -> TaskResult:
    """One galaxy in DES, PS1 and SDSS: another survey's image of it among other galaxies, over the 6 ordered pairs."""
    vectors, same = seen.of(sets.surveys), sets.surveys.galaxy
    first, place = [], []
    for query in range(same):
        for target in (other for other in range(same) if other != query):
            gallery = np.concatenate([[target], np.arange(same, len(vectors))])
            likeness = vectors[gallery] @ vectors[query]
            first.append(float(likeness.argmax() == 0))
            place.append(1.0 / (1 + np.sum(likeness[1:] >= likeness[0])))
    among = len(vectors) - same
    return TaskResult(
        {
            f"one galaxy first of {among + 1}": estimate_paired_mean(np.array(first)),
            "one galaxy, mean 1/rank": estimate_paired_mean(np.array(place)),
        }
    )

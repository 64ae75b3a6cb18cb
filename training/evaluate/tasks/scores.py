"""Tasks of the lens score: real lenses without an example, with ten, and look-alikes beside painted lenses.

A model without scores has no rows here, but for what examples alone find.
"""

from __future__ import annotations

import numpy as np

from catalogs.estimate import estimate_paired_mean, estimate_paired_share
from catalogs.ranking import Method
from catalogs.ranking.fit import Fit, Sides
from catalogs.ranking.measures import average_precision, purity, recall
from catalogs.ranking.scorer import Points
from training.evaluate.embeddings import Embeddings
from training.evaluate.results import TaskResult
from training.evaluate.sets import Sets
from training.evaluate.sets.lenses import matched
from training.evaluate.sets.painted import LENS
from training.evaluate.statistics.estimates import estimate_auc, estimate_ranking
from training.evaluate.statistics.metrics import Bools, auc, places, ranked, recall_curve
from training.evaluate.tasks.lenses import DRAWS, KNOWN, subsets

MEASURES = {"AP": average_precision, "P@10": purity(10), "recall@50": recall(50)}


def lens_score(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Rank real lenses and negatives by the lens score, without an example."""
    windows, score, result = sets.lenses, embeddings.score(sets.lenses), TaskResult()
    if score is None:
        return result
    for against, rows in subsets(windows).items():
        part, is_lens = score[rows], windows.is_lens[rows]
        for name, measure in MEASURES.items():
            result.estimates[f"{name} {against}"] = estimate_ranking(measure, part, is_lens)
        result.estimates[f"AUC {against}"] = estimate_auc(part, is_lens)
    result.curves["no example, lens score"] = recall_curve([ranked(score, windows.is_lens)])
    return result


def fused(sets: Sets, embeddings: Embeddings, examples: int = KNOWN, draws: int = DRAWS) -> TaskResult:
    """Find the other lenses by ``examples`` of them, with and without the lens score, as ``scanner rank`` does.

    The draws are those of ``lenses.few_shot``.
    """
    windows, vectors, score = sets.lenses, embeddings.of(sets.lenses), embeddings.score(sets.lenses)
    everyone = np.arange(len(windows))
    lens_score = np.full(len(windows), np.nan) if score is None else score
    points, is_matched = Points(vectors, lens_score, everyone), np.isin(everyone, matched(windows))
    ways: dict[str, Method] = {"examples": "probe"} | ({} if score is None else {"fused": "fused"})
    random, lenses = np.random.default_rng(0), np.flatnonzero(windows.is_lens)
    values: dict[str, list[float]] = {}
    hits: dict[str, list[Bools]] = {way: [] for way in ways}
    for _ in range(draws):
        is_example = np.isin(everyone, random.choice(lenses, examples, replace=False))
        sides = Sides(points[is_example], points[everyone[:0]], points[~is_example])
        for way, method in ways.items():
            found = np.asarray(Fit(method, sides).scorer(points), np.float64)
            hits[way].append(ranked(found[~is_example], windows.is_lens[~is_example]))
            for name, measure in MEASURES.items():
                values.setdefault(f"{way}: {name}", []).append(float(measure(places(hits[way][-1]))))
            rows = is_matched & ~is_example
            values.setdefault(f"{way}: AUC matched", []).append(auc(found[rows], windows.is_lens[rows]))
    estimates = {name: estimate_paired_mean(np.array(of_draws)) for name, of_draws in values.items()}
    return TaskResult(estimates, {f"{examples} lenses, {way}": recall_curve(rows) for way, rows in hits.items()})


def lookalikes(sets: Sets, embeddings: Embeddings) -> TaskResult:
    """Compare the lens scores of painted lenses with those of real look-alikes, and of what was painted besides.

    ``above`` is the share of look-alikes that score above the median painted lens. The galaxies of the painted set are
    the hosts of the lenses without their arcs.
    """
    windows, painted = sets.lookalikes, sets.painted
    score, of_painted, result = embeddings.score(windows), embeddings.score(painted), TaskResult()
    if score is None or of_painted is None:
        return result
    is_lens = painted.label == LENS
    above = score > np.median(of_painted[is_lens])
    result.estimates["above: all look-alikes"] = estimate_paired_share(above)
    for kind in np.unique(windows.kind):
        result.estimates[f"above: {kind}"] = estimate_paired_share(above[windows.kind == kind])
    for label in np.unique(painted.label[~is_lens]):
        rows = is_lens | (painted.label == label)
        result.estimates[f"AUC painted: {label}"] = estimate_auc(of_painted[rows], is_lens[rows])
    return result

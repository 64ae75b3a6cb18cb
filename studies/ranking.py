"""``python -m studies.ranking``: studies of the choices of ``rank`` and ``outliers``, on known lenses.

``examples``: each method by few and by many examples. ``fused``: the weights of examples and lens score, fixed and
learned, where the catalogue has a lens score. ``augment``: examples as they are, or in eight orientations.
``probability``: log-loss at the true prevalence. ``rounds``: how many lenses six rounds of marking find, by what
``--next`` lists. ``outliers``: area under the curve of cutouts with artefacts against objects that the method has not
seen. What takes pixels is left out without ``--root``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import catalogs
from bench.harness import report
from catalogs.atomic import write_json
from catalogs.catalogue import Catalogue
from catalogs.ranking import OUTLIER_METHODS, outliers, rank
from catalogs.ranking.evaluation import EvaluationSettings, evaluate
from catalogs.ranking.feedback import Feedback
from catalogs.ranking.fit import WEIGHING, Weighing
from catalogs.ranking.measures import average_precision, purity, recall
from catalogs.ranking.rank import Ranking
from catalogs.search import examples, random_sample
from catalogs.search.examples import Examples
from catalogs.search.matching import match_ids
from catalogs.search.random_sample import Sample
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store import rows
from scanner.queries.examples import augment_examples, read
from scanner.queries.query import QueryBuilder
from scanner.system.output_path import OUTPUT_FILE
from studies import artefacts

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXAMPLES = (1, 3, 8, 16, 24)
AUGMENTED, CALIBRATED, BEGUN = 10, 12, 5
"""Number of first examples of each part."""
FIXED = 1e6
"""Strength at which the expected weights are not moved."""
WEIGHINGS: Mapping[str, Weighing] = {
    "chosen": WEIGHING,
    **{f"fixed 1 : {weight:g}": Weighing((1.0, weight), FIXED) for weight in (0.25, 0.5, 1, 2)},
    **{f"expected 1 : {weight:g}": replace(WEIGHING, expected=(1.0, weight)) for weight in (0.5, 2)},
    **{f"strength {strength:g}": replace(WEIGHING, strength=strength) for strength in (2, 10, 100)},
    **{f"share {share:g}": replace(WEIGHING, share=share) for share in (0.003, 0.1, 0.5)},
}
"""What ``fused`` could do."""
ROUNDS, A_ROUND = 6, 20
WINDOWS, NEIGHBOUR, FOREST = 60, 10, 300
PLANS: Mapping[str, tuple[rank.Next, ...]] = {
    "best": ("best",) * ROUNDS,
    "uncertain": ("uncertain",) * ROUNDS,
    "explore": ("explore",) * ROUNDS,
    "explore once, then best": ("explore", *("best",) * (ROUNDS - 1)),
}
Rows = list[dict[str, Any]]


@click.command()
@click.argument("catalogue", type=FOLDER)
@click.option("--truth", required=True, type=FILE, help="Table of known lenses, with ra and dec.")
@click.option("--label", metavar="WORD", help="Only rows of --truth whose column label is this, such as lens.")
@click.option("--where", metavar="FILTER", help="Rank only these rows.")
@click.option("--root", type=FOLDER, help="Folder of the images.")
@click.option("--model", metavar="NAME|FILE", help="Encoder of the catalogue. [default: the one it names]")
@click.option("--draws", default=30, show_default=True, type=click.IntRange(1), help="Draws of examples; fewer rounds.")
@click.option("--out", type=OUTPUT_FILE, help="JSON of it all.")
def main(
    catalogue: Path,
    truth: Path,
    label: str | None,
    where: str | None,
    root: Path | None,
    model: str | None,
    draws: int,
    out: Path | None,
) -> None:
    """Measure the choices of rank and outliers on the known lenses of CATALOGUE.

    \b
    Example: python -m studies.ranking embeddings --truth truth.csv --label lens --root tiles
    """
    opened = catalogs.open(catalogue)
    builder = QueryBuilder(opened.snapshot(), root=root, model=model)
    lenses = read(truth, QueryBuilder(opened.snapshot()), label=label)
    if len(_ranked(opened, lenses, where)) <= CALIBRATED:
        raise click.UsageError(f"--truth has too few lenses on the catalogue: more than {CALIBRATED} are needed.")
    settings = EvaluationSettings(draws=draws, where=where)
    result: dict[str, Any] = {
        "examples": list(_by_examples(opened, lenses, settings)),
        "probability": _probability(opened, lenses, replace(settings, examples=CALIBRATED, draws=max(draws // 4, 1))),
        "rounds": list(_rounds(opened, lenses, replace(settings, examples=BEGUN, draws=max(draws // 5, 1)))),
    }
    if opened.info.scores is not None:
        result["fused"] = list(_by_weights(opened, lenses, replace(settings, methods=("fused",))))
    if root is not None:
        result["augment"] = list(_augment(opened, lenses, builder, replace(settings, examples=AUGMENTED)))
        result["outliers"] = _outliers(opened, where, builder)
    click.echo(report.render("ranking", result))
    if out is not None:
        write_json(out, result)


def _by_examples(catalogue: Catalogue, lenses: Examples, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    for count in (one for one in EXAMPLES if one < len(lenses)):
        yield from _evaluate(catalogue, lenses, replace(settings, examples=count), {"examples": count})


def _by_weights(catalogue: Catalogue, lenses: Examples, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    for count in (one for one in EXAMPLES if one < len(lenses)):
        for name, weighing in WEIGHINGS.items():
            varied = replace(settings, examples=count, weighing=weighing)
            yield from _evaluate(catalogue, lenses, varied, {"examples": count, "weights": name})


def _augment(
    catalogue: Catalogue, lenses: Examples, builder: QueryBuilder, settings: EvaluationSettings
) -> Iterator[dict[str, Any]]:
    for name, variant in (("as they are", lenses), ("eight ways", augment_examples(lenses, builder))):
        yield from _evaluate(catalogue, variant, settings, {"examples": name})


def _evaluate(
    catalogue: Catalogue, lenses: Examples, settings: EvaluationSettings, about: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    evaluation = evaluate(catalogue, lenses, settings)
    precision = evaluation.estimates(average_precision)
    measures = {"recall@50": recall(50), "purity@10": purity(10)}
    others = {name: evaluation.estimates(measure) for name, measure in measures.items()}
    for method in settings.methods or rank.available(catalogue):
        of_it = precision[method]
        values = {"mAP": of_it.value, "low": of_it.low, "high": of_it.high}
        yield {**about, "method": method, **values, **{name: one[method].value for name, one in others.items()}}


def _draws(lenses: Examples, settings: EvaluationSettings) -> Iterator[tuple[Examples, Examples]]:
    """Split the lenses into examples and those to be found."""
    for draw in range(settings.draws):
        # Each draw has a seed of its own, so that more draws keep the first ones.
        order = np.random.default_rng([settings.seed, draw]).permutation(len(lenses))
        yield lenses[np.sort(order[: settings.examples])], lenses[np.sort(order[settings.examples :])]


def _probability(catalogue: Catalogue, lenses: Examples, settings: EvaluationSettings) -> dict[str, Any]:
    """Average the best hundred and the next three hundred over draws, with the probabilities given for them."""
    lenses = _ranked(catalogue, lenses, settings.where)
    figures = [_one_probability(catalogue, like, targets, settings.where) for like, targets in _draws(lenses, settings)]
    return {"examples": settings.examples, "draws": settings.draws} | {
        name: float(np.mean([one[name] for one in figures])) for name in figures[0]
    }


def _ranked(catalogue: Catalogue, lenses: Examples, where: str | None) -> Examples:
    """List the objects of a ranking."""
    # A sample of so many rows is the whole catalogue.
    everything = random_sample.draw(catalogue.snapshot(), rows.primary(catalogue, where), 10**9)
    return lenses[np.isin(lenses.object_id, everything.object_id)]


def _one_probability(catalogue: Catalogue, like: Examples, targets: Examples, where: str | None) -> dict[str, float]:
    whole = len(random_sample.draw(catalogue.snapshot(), rows.primary(catalogue, where), 10**9))
    prevalence = len(targets) / whole
    table = rank.rank(catalogue, like, ranking=Ranking(k=10**9, where=where, prevalence=prevalence))
    right = np.isin(table["object_id"], targets.object_id)
    # Examples, and pieces of any lens, are neither right nor wrong.
    counted = right | ~(like.near(table["ra"], table["dec"]) | targets.near(table["ra"], table["dec"]))
    probability, right = np.asarray(table["probability"])[counted], right[counted]
    alone = right.mean()
    return {
        "log_loss": _log_loss(probability, right),
        "log_loss_of_prevalence": _log_loss(np.full(len(right), alone), right),
        "first_100": float(right[:100].sum()),
        "first_100_promised": float(probability[:100].sum()),
        "next_300": float(right[100:400].sum()),
        "next_300_promised": float(probability[100:400].sum()),
    }


def _log_loss(probability: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    # A probability of exactly 0 or 1 would give an infinite loss.
    probability = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(right, np.log(probability), np.log1p(-probability))))


def _rounds(catalogue: Catalogue, lenses: Examples, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    lenses = _ranked(catalogue, lenses, settings.where)
    for name, plan in PLANS.items():
        counts = [_search(catalogue, like, targets, plan, settings.where) for like, targets in _draws(lenses, settings)]
        yield {
            "next": name,
            "draws": settings.draws,
            "found": float(np.mean(counts)),
            "of": len(lenses) - settings.examples,
        }


def _search(
    catalogue: Catalogue, like: Examples, targets: Examples, plan: Sequence[rank.Next], where: str | None
) -> int:
    """Count the lenses among the rows that were kept."""
    none = examples.none(catalogue.info.dim)
    feedback = Feedback(none, none)
    for judge in plan:
        listed = rank.rank(catalogue, like, feedback=feedback, k=A_ROUND, where=where, next=judge)
        lens = targets.near(listed["ra"], listed["dec"])
        kept, rejected = (
            match_ids(catalogue.snapshot(), {int(one): str(one) for one in listed["object_id"][mask]})
            for mask in (lens, ~lens)
        )
        feedback = Feedback(feedback.kept.join(kept), feedback.rejected.join(rejected))
    if not len(feedback.kept):
        return 0
    return int(
        crossmatch.nearest(targets.ra, targets.dec, feedback.kept.ra, feedback.kept.dec, ONE_SYSTEM).matched.sum()
    )


def _outliers(catalogue: Catalogue, where: str | None, builder: QueryBuilder) -> Rows:
    """Make a row for each method: the area under the curve for each artefact. It is fitted to half of the objects."""
    everything = random_sample.draw(catalogue.snapshot(), rows.primary(catalogue, where), outliers.SAMPLE)
    order = np.random.default_rng(0).permutation(len(everything))
    usual, unseen = everything[order[::2]], everything[order[1::2]]
    bad = _artefact_vectors(catalogue, unseen[np.arange(min(WINDOWS, len(unseen)))], builder)
    return [
        {
            "method": name,
            "unseen": len(unseen),
            **{kind: _area(far(one), far(unseen.vectors)) for kind, one in bad.items()},
        }
        for name, far in _methods(usual).items()
    ]


def _methods(usual: Sample) -> dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]]:
    distances: dict[str, Any] = {}
    for name in OUTLIER_METHODS:
        far = outliers.fit_distance(name, usual, NEIGHBOUR)
        # The vectors are of unit length, so their lengths [N] are ones.
        distances[name] = lambda vectors, far=far: far(vectors, np.ones(len(vectors), np.float32))
    try:
        from sklearn.ensemble import IsolationForest
    except ImportError:
        return distances
    forest = IsolationForest(n_estimators=FOREST, random_state=0).fit(usual.vectors)
    # The forest scores ordinary objects higher, so the sign is changed.
    return distances | {"isolation forest": lambda vectors: -forest.score_samples(vectors)}


def _artefact_vectors(catalogue: Catalogue, some: Sample, builder: QueryBuilder) -> dict[str, NDArray[np.float32]]:
    """Embed cutouts of objects with each artefact: unit vectors."""
    at_hand = builder.windows()
    windows = [at_hand.at(float(ra), float(dec)) for ra, dec in zip(some.ra, some.dec, strict=True)]
    result = {}
    for kind, spoil in artefacts.KINDS.items():
        rng = np.random.default_rng(0)
        vectors = builder.encoder.embed(np.stack([spoil(window, rng) for window in windows]))
        result[kind] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def _area(bad: NDArray[np.floating], good: NDArray[np.floating]) -> float:
    """Compute how often an object with an artefact is farther out than one without: the area under the curve."""
    ordered = np.sort(good)
    below, upto = np.searchsorted(ordered, bad, "left"), np.searchsorted(ordered, bad, "right")
    return float((below + upto).mean() / 2 / len(good))


if __name__ == "__main__":
    main()

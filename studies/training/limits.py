"""Limits of the probes: their form, the number of labels, the pooling, the scale, the network, or the labels.

Everything is a probe of frozen vectors, judged out of fold on one stratified split into five: no network is trained on
labelled objects.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from catalogs.atomic import replacing
from catalogs.estimate import PairedEstimate
from scanner.survey.bands import BANDS
from studies.training.vectors import Encoded, baked
from training.config import POOLINGS
from training.evaluate import baselines
from training.evaluate.models import Flux, Vectors
from training.evaluate.sets import pictures
from training.evaluate.sets.lenses import LENS_TILE, central, load_lenses
from training.evaluate.statistics import probes
from training.evaluate.statistics.estimates import estimate_auc
from training.evaluate.statistics.metrics import Bools, Floats
from training.evaluate.tasks.lenses import subsets
from training.loop.checkpoint import Checkpoint, load
from training.model.embedding_options import EmbeddingOptions

FOLDS = 5
FEWER = (8, 4, 2)
"""Shares of the labels of a training part, one in this number, for the learning curve."""
Rows = NDArray[np.intp]
Make = Callable[[], Any]


def _kernel() -> Any:
    return make_pipeline(StandardScaler(), SVC(random_state=0))


def _two_layers() -> Any:
    return make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=10.0, max_iter=300, random_state=0))


def _forest() -> Any:
    return RandomForestClassifier(500, random_state=0)


FORMS: Mapping[str, Make] = {
    "support vectors, Gaussian kernel": _kernel,
    "two layers": _two_layers,
    "random forest": _forest,
}


@dataclass(frozen=True)
class Question:
    """Objects with a binary label: ``flux`` [N, 5, S, S], ``label`` bool [N], and ``close``, their middle enlarged."""

    name: str
    flux: Flux
    label: Bools
    close: Flux | None = None


def questions(checkpoint: Checkpoint, data: Path) -> tuple[Question, Question]:
    """Read lenses among galaxies of equal magnitude, and galaxies among stars, blends and artefacts."""
    side = checkpoint.config.model.window
    lenses, galaxies, large = load_lenses(data, side), pictures.galaxies(data, side), pictures.galaxies(data, 2 * side)
    some = subsets(lenses)["matched"]
    return (
        Question("lens, matched", lenses.flux[some], lenses.is_lens[some]),
        Question("galaxy or not", galaxies.flux, galaxies.label == "galaxy", central(large.flux, side)),
    )


def out_of_fold(vectors: Vectors, label: Bools, make: Make = probes.classifier, share: float = 1.0) -> Floats:
    """Score objects [N] by a probe fitted to ``share`` of those in the other folds."""
    score = np.empty(len(label))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(vectors, label):
        some = train if share == 1 else _draw(train, label, share)
        model = make().fit(vectors[some], label[some])
        # Linear probes and support vectors have a signed distance; the others have probabilities.
        decides = hasattr(model, "decision_function")
        score[test] = model.decision_function(vectors[test]) if decides else model.predict_proba(vectors[test])[:, 1]
    return score


def _draw(rows: Rows, label: Bools, share: float) -> Rows:
    some, _ = train_test_split(rows, train_size=share, stratify=label[rows], random_state=0)
    return np.asarray(some)


def limits(run: Path, data: Path, say: Callable[[str], None]) -> Iterator[tuple[str, dict[str, PairedEstimate]]]:
    """Yield ways to read a label out of frozen embeddings, most of them linear, with the AUC of each question."""
    checkpoint = load(run)
    encoded, both = Encoded(checkpoint), questions(checkpoint, data)
    features = [dict(_features(question, checkpoint, encoded)) for question in both]
    shipped = next(iter(features[0]))
    ways: list[tuple[str, str, Make, float]] = [(name, name, probes.classifier, 1.0) for name in features[1]]
    ways += [(f"{shipped}, one label in {few}", shipped, probes.classifier, 1 / few) for few in FEWER]
    ways += [(f"{shipped}, {form}", shipped, make, 1.0) for form, make in FORMS.items()]
    for way, name, make, share in ways:
        say(way)
        able = [(question, vectors[name]) for question, vectors in zip(both, features, strict=True) if name in vectors]
        yield way, {a.name: estimate_auc(out_of_fold(v, a.label, make, share), a.label) for a, v in able}


def _features(question: Question, checkpoint: Checkpoint, encoded: Encoded) -> Iterator[tuple[str, Vectors]]:
    bake, dim = baked(checkpoint, EmbeddingOptions()), checkpoint.config.model.dim
    rows = encoded.embed(question.flux)
    vectors, photographs = bake(rows), baselines.fit(baselines.IMAGENET, question.flux).embed(question.flux)
    yield "as exported", vectors
    yield "all poolings side by side", rows[:, : len(POOLINGS) * dim]
    if question.close is not None:
        yield "and the middle of the picture, enlarged twice", np.hstack([vectors, bake(encoded.embed(question.close))])
    yield "a network trained on photographs", photographs
    yield "both networks side by side", np.hstack([vectors, photographs])
    yield "pixels, PCA-64", baselines.fit(baselines.PIXEL_PCA, question.flux).embed(question.flux)


def by_type(run: Path, data: Path) -> dict[str, PairedEstimate]:
    """Estimate the AUC of the linear probe for single-galaxy lenses and for groups, against all matched negatives."""
    checkpoint = load(run)
    question = questions(checkpoint, data)[0]
    score = out_of_fold(baked(checkpoint, EmbeddingOptions())(Encoded(checkpoint).embed(question.flux)), question.label)
    with (data / "tiles_dev" / "truth.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["tile"] == LENS_TILE and row["label"] == "lens"]
    kinds = np.array([row["kind"] for row in rows] + [""] * int((~question.label).sum()))
    groups = {kind: (kinds == kind) | ~question.label for kind in sorted({row["kind"] for row in rows})}
    return {kind: estimate_auc(score[some], question.label[some]) for kind, some in groups.items()}


@dataclass(frozen=True)
class Contradicted:
    """Pictures [n, 3, S, S] (i, r, g), out of ``total``, whose label (galaxy or not) contradicts all probes."""

    total: int
    flux: Flux
    label: Bools


def contradicted(run: Path, data: Path) -> Contradicted:
    """Find the pictures that the linear probe and all of ``FORMS`` put on the other side of the boundary."""
    checkpoint = load(run)
    question = questions(checkpoint, data)[1]
    vectors = baked(checkpoint, EmbeddingOptions())(Encoded(checkpoint).embed(question.flux))
    scores = [out_of_fold(vectors, question.label, make) for make in (probes.classifier, *FORMS.values())]
    # Probabilities are never negative, and their boundary is 0.5; that of signed distances is 0.
    votes = np.stack([score > (0.5 if score.min() >= 0 else 0.0) for score in scores])
    rows = np.flatnonzero((votes != question.label).all(axis=0))
    return Contradicted(
        len(votes[0]), question.flux[rows][:, [BANDS.index(band) for band in "irg"]], question.label[rows]
    )


def draw(doubted: Contradicted, out: Path, across: int = 12) -> None:
    """Draw these pictures, with a red frame where the label is galaxy."""
    down = -(-len(doubted.flux) // across)
    figure = Figure(figsize=(across, down + 0.1))
    width, height = 1 / across, 1 / down
    for number, (flux, galaxy) in enumerate(zip(doubted.flux, doubted.label, strict=True)):
        row, column = divmod(number, across)
        axes = figure.add_axes((column * width, 1 - (row + 1) * height, 0.95 * width, 0.95 * height))
        with np.errstate(invalid="ignore"):  # pixels that are black in every band
            axes.imshow(make_lupton_rgb(*flux, stretch=100, Q=8), origin="upper")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="red" if galaxy else "white", linewidth=3)
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=100)

"""The fit of a method: its scorer, and its calibration by objects that the scorer was not fitted to.

Examples, counterexamples and ordinary objects are divided into folds, and each fold is scored by a scorer fitted to the
others. These scores serve twice: for the curve that gives probabilities, and for the weights of ``fused``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking import BY_EXAMPLES, ExampleMethod, Method, calibration, methods
from catalogs.ranking.calibration import Calibration
from catalogs.ranking.methods import VectorScorer
from catalogs.ranking.scorer import Points, Scorer

FEWEST = 5
"""Examples below which they give no probabilities."""
FOLDS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """The objects of a fit: examples, counterexamples (which may be none), and ordinary objects of the catalogue."""

    like: Points
    unlike: Points
    ordinary: Points

    def __iter__(self) -> Iterator[Points]:
        yield from (self.like, self.unlike, self.ordinary)


@dataclass(frozen=True)
class Weighing:
    """How ``fused`` weighs the score by examples and the lens score, both in units of their scatter.

    A logistic regression of the held-out objects gives the weights. Those ``expected`` count as much in it as
    ``strength`` examples do: so the lens score leads where there are few, and what the examples say where there are
    many. In the regression a ``share`` of the objects is like the examples. A small one makes the top of the list
    decide, which is what a person looks at.

    Source: Wolpert (1992), Neural Networks 5, 241: combining scores by what was held out.
    """

    expected: tuple[float, float] = (1.0, 1.0)
    strength: float = 5.0
    share: float = 0.01


WEIGHING = Weighing()
"""``studies.ranking`` measures the choice."""


class Fit:
    """A ``method`` fitted to ``sides``; each part is computed when it is first asked for.

    ``prevalence`` is the one at which lens scores are log-odds; it is needed for the method ``score`` alone.
    """

    def __init__(
        self,
        method: Method,
        sides: Sides,
        prevalence: float = 0.5,
        seed: int = 0,
        weighing: Weighing = WEIGHING,
    ) -> None:
        self.method, self.sides, self._prevalence = method, sides, prevalence
        self._seed, self._weighing = seed, weighing

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer, fitted to all objects.

        Raises:
            ScannerError: ``rank.no_score`` where no ordinary object has a lens score to compare with.
        """
        if self.method == "score":
            return Scorer(None, weight=1.0)
        by_vector = _fit(self.by_examples, self.sides)
        return self._weigh(by_vector) if self.method == "fused" else Scorer(by_vector)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration; None where there are too few examples for one."""
        if self.method == "score":
            return calibration.of_log_odds(self._prevalence)
        if self.sides.like.objects < FEWEST or len(self.sides.ordinary) < 2:
            return None
        like, _, ordinary = (
            self.scorer.join(held, side.score) for held, side in zip(self.held_out, self.sides, strict=True)
        )
        # An example that is no object of the catalogue has no lens score.
        known = np.isfinite(like)
        if len(np.unique(self.sides.like.owner[known])) < FEWEST:
            return None
        return calibration.fit_curve(like[known], ordinary[np.isfinite(ordinary)])

    @property
    def by_examples(self) -> ExampleMethod:
        """The method by examples alone that this one is or uses."""
        given = [name for name in BY_EXAMPLES if name == self.method]
        return given[0] if given else methods.choose_by_examples(self.sides.like.objects)

    @cached_property
    def held_out(self) -> tuple[Floats, Floats, Floats]:
        """Scores of all sides by the vectors, each fold by a scorer fitted to the others."""
        rng = np.random.default_rng(self._seed)
        like, unlike, ordinary = self.sides
        count = min(FOLDS, like.objects, len(ordinary))
        # All orientations of an object are in one fold.
        of_like, of_ordinary, of_unlike = (
            (rng.permutation(side.objects) % count)[np.unique(side.owner, return_inverse=True)[1]]
            for side in (like, ordinary, unlike)
        )
        folds = of_like, of_unlike, of_ordinary
        scores = np.empty(len(like)), np.empty(len(unlike)), np.empty(len(ordinary))
        for fold in range(count):
            rest = (side[numbers != fold] for side, numbers in zip(self.sides, folds, strict=True))
            scorer = _fit(self.by_examples, Sides(*rest))
            for score, side, numbers in zip(scores, self.sides, folds, strict=True):
                score[numbers == fold] = scorer(side.vectors[numbers == fold])
        return scores

    def _weigh(self, by_vector: VectorScorer) -> Scorer:
        """Weigh the score by examples and the lens score by the objects that were held out."""
        if min(self.sides.like.objects, self.sides.ordinary.objects) > 1:
            held = self.held_out
            middle, width = _scatter(held[-1])
        else:
            # Nothing can be held out of one example or one ordinary object: lens scores alone teach the weights.
            middle, width = _scatter(np.asarray(by_vector(self.sides.ordinary.vectors), np.float64))
            held = tuple(np.full(len(side), middle) for side in self.sides)  # type: ignore[assignment]
        lens_middle, lens_width = _scatter(self.sides.ordinary.score)
        if not np.isfinite(lens_middle):
            message = "None of the ordinary objects has a lens score to compare with."
            raise ScannerError(ErrorCode.RANK_NO_SCORE, message, "Loosen --where, or rank by the examples alone.")
        # Both scores [V, 2] of each side, in units of the scatter of ordinary objects.
        points = [
            np.stack([(scores - middle) / width, (side.score - lens_middle) / lens_width], axis=1)
            for scores, side in zip(held, self.sides, strict=True)
        ]
        in_scatter = _regress(self.sides, points, self._weighing)
        factor, weight = in_scatter[0] / width, in_scatter[1] / lens_width
        return Scorer(by_vector, factor, weight, -factor * middle - weight * lens_middle, in_scatter)


def _fit(method: ExampleMethod, sides: Sides) -> VectorScorer:
    return methods.fit_scorer(method, sides.like.vectors, sides.unlike.vectors, sides.ordinary.vectors)


def _scatter(scores: NDArray[np.floating]) -> tuple[float, float]:
    """Measure the mean and the standard deviation (1 where it vanishes) of the finite scores; NaN without any."""
    finite = scores[np.isfinite(scores)].astype(np.float64)
    if not len(finite):
        return np.nan, 1.0
    return float(finite.mean()), float(finite.std()) or 1.0


def _regress(sides: Sides, points: list[Floats], weighing: Weighing) -> tuple[float, float]:
    """Fit the weights of both scores ``points`` [V, 2] of each side."""
    examples = sides.like.objects
    # An example and a counterexample weigh one each, whatever their orientations. Ordinary objects stand for all that
    # the share of the examples leaves.
    weights = examples, sides.unlike.objects, examples * (1 - weighing.share) / weighing.share
    share = [np.full(len(side), weight / max(len(side), 1)) for side, weight in zip(sides, weights, strict=True)]
    target = np.repeat([True, False, False], [len(side) for side in sides])
    joined = np.concatenate(points)
    # A spot that is no object of the catalogue has no lens score, and does not vote.
    known = np.isfinite(joined).all(axis=1)
    if not (known & target).any():
        return weighing.expected
    line = methods.fit_logistic(
        joined[known],
        target[known],
        np.concatenate(share)[known] / examples,
        weighing.strength / examples,
        np.array(weighing.expected),
    )
    return float(line.weights[0]), float(line.weights[1])

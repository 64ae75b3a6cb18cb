"""Evaluating rankings: how well known objects are found by a few of them, all draws in one pass over the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Estimate
from catalogs.parallel import one_core
from catalogs.ranking import Method, measures, rank
from catalogs.ranking.fit import WEIGHING, Fit, Sides, Weighing
from catalogs.ranking.measures import Measure
from catalogs.ranking.scorer import Points
from catalogs.search import full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.full_pass import Block
from catalogs.search.tile_pass import Executor
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store import rows
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.scores import LENS_SCORE
from catalogs.store.tile_reader import Selection

MAGNITUDE, CHANCE = "magnitude", "chance"
_MAGNITUDE_COLUMN = "mag_auto"
_CURVE_POINTS = 60

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationSettings:
    """``draws`` rankings by ``examples`` lenses each, which ``seed`` draws; the other lenses are to be found.

    ``methods`` are those of ``rank``, by default all that the catalogue allows; ``where`` restricts the ranked rows.
    ``weighing`` is that of ``fused``.
    """

    methods: tuple[Method, ...] = ()
    examples: int = 10
    draws: int = 20
    where: str | None = None
    seed: int = 0
    weighing: Weighing = WEIGHING


@dataclass(frozen=True)
class Evaluation:
    """``above[method]``: for each draw, the number of other objects [n] that score as high as each lens to be found.

    ``targets`` are the numbers [n] of these lenses in each draw, by which the draws know their common lenses.
    ``objects`` counts the ranked objects other than lenses and their pieces, ``lenses`` those that can be found.
    ``not_ranked`` lenses are objects, but not primary ones that pass the filter.
    """

    above: dict[str, list[Numbers]]
    targets: list[Numbers]
    objects: int
    lenses: int
    not_ranked: int

    def estimates(self, measure: Measure, seed: int = 0) -> dict[str, Estimate]:
        """Estimate a measure of every method, with its bootstrap interval."""
        return {method: measures.estimate(above, self.targets, measure, seed) for method, above in self.above.items()}

    def sizes(self) -> Numbers:
        """Choose the list lengths of a curve, evenly in the logarithm."""
        most = self.objects + self.lenses
        return np.unique(np.round(np.geomspace(1, most, _CURVE_POINTS)).astype(np.int64))


@dataclass(frozen=True)
class _Split:
    """Examples to rank by, the numbers of these and of the lenses to be found among all lenses, and the latter."""

    like: Examples
    like_numbers: Numbers
    target_numbers: Numbers
    targets: Points


@dataclass(frozen=True)
class _Ranking:
    """One ranking: a function that scores the rows of a block, and the scores [n] of the lenses to be found."""

    name: str
    score: Callable[[Block], NDArray[np.floating]]
    targets: NDArray[np.floating]


@one_core()
def evaluate(
    catalogue: Backend,
    truth: Examples,
    settings: EvaluationSettings,
    like: Examples | None = None,
    snapshot: Snapshot | None = None,
    executor: Executor | None = None,
) -> Evaluation:
    """Rank the primary objects by some lenses of ``truth``, or once by ``like``, and see where the others come.

    Objects within 3 arcsec of a lens are pieces of it, neither right nor wrong. All others count as wrong, though some
    may be undiscovered lenses: purity is a lower bound. Two rankings serve for comparison: ``magnitude`` (how near in
    mag_auto to the median of the examples) and ``chance``. Memory does not grow with the catalogue: only counts are
    kept. ``executor`` runs the pass over all rows; the counts are the same.

    Raises:
        ScannerError: ``rank.few_lenses``, ``rank.no_ordinary``, ``rank.no_score``, ``where.*``.
    """
    selection = rows.primary(catalogue, settings.where)
    snapshot = snapshot or catalogue.snapshot()
    for method in settings.methods:
        rank.choose_method(catalogue, method, settings.examples)
    lenses = _rankable(snapshot, truth, selection)
    splits = _draw_splits(lenses, settings) if like is None else [_split_by(like, lenses)]
    # No lens, and no piece of one, may count as an ordinary object.
    sample = random_sample.draw(snapshot, selection, rank.SAMPLE, settings.seed)
    ordinary = sample[~(truth.near(sample.ra, sample.dec) | (like or lenses).near(sample.ra, sample.dec))]
    if not len(ordinary):
        raise ScannerError(ErrorCode.RANK_NO_ORDINARY, "There are no objects but the lenses.", "Loosen --where.")
    rankings = []
    everyone = Points.of(ordinary)
    for method in settings.methods or rank.available(catalogue):
        for split in splits:
            # There are no counterexamples here: ``everyone[:0]`` is empty.
            sides = Sides(Points.of(split.like), everyone[np.zeros(0, np.int64)], everyone)
            scorer = Fit(method, sides, seed=settings.seed, weighing=settings.weighing).scorer
            rankings.append(_Ranking(method, scorer.score_block, _unless_missing(scorer(split.targets))))
    # Examples from elsewhere have no magnitude in this catalogue.
    if like is None:
        magnitudes = _read_magnitudes(snapshot, lenses)
        rankings += [_rank_by_magnitude(magnitudes, split) for split in splits]
    counts, objects = _count_above(snapshot, selection, truth, like, rankings, executor)
    above: dict[str, list[Numbers]] = {}
    for ranking, count in zip(rankings, counts, strict=True):
        above.setdefault(ranking.name, []).append(count)
    # In a random order, each number of objects above a lens is equally likely.
    rng = np.random.default_rng(settings.seed)
    above[CHANCE] = [rng.integers(objects + 1, size=len(split.target_numbers)) for split in splits]
    targets = [split.target_numbers for split in splits]
    return Evaluation(above, targets, objects, len(lenses), len(truth) - len(lenses))


def _rankable(snapshot: Snapshot, truth: Examples, selection: Selection) -> Examples:
    """Restrict the truth to the objects that a ranking would list."""
    listed: set[int] = set()
    tiles = set(truth.tile.tolist())
    for footer in snapshot.touching(selection.near).footers:
        if footer.tile in tiles:
            for table in rows.tile_groups(snapshot, footer, ["object_id"], selection):
                listed.update(np.intersect1d(table.column("object_id").to_numpy(), truth.object_id).tolist())
    return truth[np.isin(truth.object_id, list(listed))]


def _split_by(like: Examples, lenses: Examples) -> _Split:
    """Rank by ``like``: all other lenses are to be found."""
    targets = np.flatnonzero(~like.near(lenses.ra, lenses.dec))
    if not len(like) or not len(targets):
        message = "There is no example, or no lens is left to be found."
        hint = "Give positions on tiles of the catalogue, and lenses that are not among the examples."
        raise ScannerError(ErrorCode.RANK_FEW_LENSES, message, hint)
    return _Split(like, np.zeros(0, np.int64), targets, Points.of(lenses)[_upright(lenses)[targets]])


def _draw_splits(lenses: Examples, settings: EvaluationSettings) -> list[_Split]:
    """Draw examples, each time leaving the other lenses to be found."""
    if len(lenses) <= settings.examples:
        message = f"Only {len(lenses)} lenses can be ranked: with {settings.examples} examples none is left to find."
        raise ScannerError(ErrorCode.RANK_FEW_LENSES, message, "Give more lenses, or fewer --examples.")
    upright = _upright(lenses)
    splits = []
    for draw in range(settings.draws):
        # A seed for each draw: more draws keep the first ones.
        rng = np.random.default_rng([settings.seed, draw])
        examples = np.sort(rng.choice(len(lenses), settings.examples, replace=False))
        targets = np.setdiff1d(np.arange(len(lenses)), examples)
        splits.append(_Split(lenses[examples], examples, targets, Points.of(lenses)[upright[targets]]))
    return splits


def _upright(lenses: Examples) -> Numbers:
    """Find the vector [P] of each lens as it is: it comes before those of its other orientations."""
    return np.searchsorted(lenses.owner, np.arange(len(lenses)))


def _rank_by_magnitude(magnitudes: NDArray[np.float64], split: _Split) -> _Ranking:
    median = np.nanmedian(magnitudes[split.like_numbers]) if len(split.like_numbers) else np.nan
    by_magnitude = _Magnitude(float(median))
    return _Ranking(MAGNITUDE, by_magnitude, by_magnitude.score(magnitudes[split.target_numbers]))


@dataclass(frozen=True)
class _Magnitude:
    """Scores by how near magnitudes are to the ``median`` of the examples."""

    median: float

    def __call__(self, block: Block) -> NDArray[np.floating]:
        return self.score(block.column(_MAGNITUDE_COLUMN))

    def score(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        return _unless_missing(-np.abs(values - self.median))


def _unless_missing(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Put an object without a score last."""
    return np.where(np.isnan(scores), -np.inf, scores)


def _read_magnitudes(snapshot: Snapshot, lenses: Examples) -> NDArray[np.float64]:
    """Read ``mag_auto`` [P] of lenses."""
    names = ("object_id", _MAGNITUDE_COLUMN)
    by_id: dict[int, float] = {}
    tiles = set(lenses.tile.tolist())
    for footer in snapshot.footers:
        if footer.tile in tiles:
            for table in rows.tile_groups(snapshot, footer, names):
                by_id |= dict(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    return np.array([by_id[int(identity)] for identity in lenses.object_id])


_Counts = tuple[list[Numbers], int]
"""For every ranking the wrong objects above each lens [n], and all wrong objects."""


@dataclass(frozen=True)
class _Counter:
    """Counts the wrong objects above each lens: those more than 3 arcsec from all objects at ``ra`` and ``dec``."""

    rankings: tuple[_Ranking, ...]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]

    def __call__(self, block: Block) -> _Counts:
        wrong = ~crossmatch.nearest(block.column("ra"), block.column("dec"), self.ra, self.dec, ONE_SYSTEM).matched
        above = []
        for ranking in self.rankings:
            # Equal scores count as above the lens, so ties do not flatter a ranking.
            scores = np.sort(_unless_missing(ranking.score(block)[wrong]))
            above.append(np.asarray(len(scores) - np.searchsorted(scores, ranking.targets, side="left"), np.int64))
        return above, int(wrong.sum())

    def join(self, parts: Sequence[_Counts]) -> _Counts:
        above = [np.zeros(len(ranking.targets), np.int64) for ranking in self.rankings]
        for counts, _ in parts:
            above = [one + other for one, other in zip(above, counts, strict=True)]
        return above, sum(objects for _, objects in parts)


def _count_above(
    snapshot: Snapshot,
    selection: Selection,
    truth: Examples,
    like: Examples | None,
    rankings: Sequence[_Ranking],
    executor: Executor | None,
) -> _Counts:
    """Count for every ranking the wrong objects above each lens [n], and all wrong objects."""
    right_ra = np.concatenate([truth.ra, like.ra]) if like is not None else truth.ra
    right_dec = np.concatenate([truth.dec, like.dec]) if like is not None else truth.dec
    count = _Counter(tuple(rankings), right_ra, right_dec)
    columns = [name for name in (_MAGNITUDE_COLUMN, LENS_SCORE) if name in snapshot.catalogue.schema.names]
    counts = count.join([])
    for more in full_pass.over(snapshot, selection, count, columns, count.join, executor):
        counts = count.join([counts, more])
    return counts

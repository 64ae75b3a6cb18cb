"""How well known objects are found by a few of them: rankings tried on a catalogue, all in one pass over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Estimate
from catalogs.ranking import measures as quality
from catalogs.ranking import rank, scorers
from catalogs.ranking.measures import Measure
from catalogs.ranking.scorers import METHODS, Method
from catalogs.search import full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.full_pass import Block
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store import rows
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import Snapshot, TileStore
from catalogs.store.vectors import Vectors

MAGNITUDE, CHANCE = "magnitude", "chance"
_MAGNITUDE_COLUMN = "mag_auto"
_CURVE_POINTS = 60


@dataclass(frozen=True)
class Trial:
    """What was tried. ``draws`` rankings by ``examples`` lenses each, the others to be found; ``seed`` draws them.

    ``methods`` are those of ``rank``; ``where`` restricts what is ranked.
    """

    methods: tuple[Method, ...] = METHODS
    examples: int = 10
    draws: int = 20
    where: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """``above[method]``: for each draw, how many other objects [n] score as high as each lens that was to be found.

    ``objects``: how many were ranked besides the lenses and their pieces. ``lenses``: how many could be found at all.
    ``not_ranked``: lenses that are objects, but not primary ones that pass the filter.
    """

    above: dict[str, list[NDArray[np.int64]]]
    objects: int
    lenses: int
    not_ranked: int

    def estimates(self, measure: Measure, seed: int = 0) -> dict[str, Estimate]:
        """A measure of every method with its bootstrap interval."""
        return {method: quality.estimate(above, measure, seed) for method, above in self.above.items()}

    def sizes(self) -> NDArray[np.int64]:
        """Lengths of the list at which a curve is worth drawing, evenly in the logarithm."""
        most = self.objects + self.lenses
        return np.unique(np.round(np.geomspace(1, most, _CURVE_POINTS)).astype(np.int64))


def evaluate(catalogue: TileStore, truth: Examples, trial: Trial, like: Examples | None = None) -> Evaluation:
    """Rank the primary objects by some lenses of ``truth`` and see where the others come; or by ``like``, once.

    Objects within 3 arcsec of a lens are pieces of it, neither right nor wrong. All others count as wrong, though some
    may be lenses that nobody knows: purity is a lower bound. Beside the methods stand ``magnitude`` (how near in
    mag_auto to the examples' median) and ``chance``. Counts only, so memory does not grow with the catalogue. Raises
    ``ScannerError`` ``rank.few_lenses``, ``rank.no_ordinary``, ``where.*``.
    """
    chosen = rows.primary(catalogue, trial.where)
    snapshot = catalogue.snapshot()
    ranked = _ranked(snapshot, truth, chosen)
    splits = _splits(ranked, trial, like)
    drawn = random_sample.draw(snapshot, chosen, rank.SAMPLE, trial.seed)
    ordinary = drawn[~(truth.near(drawn.ra, drawn.dec) | (like or ranked).near(drawn.ra, drawn.dec))].vectors
    if not len(ordinary):
        raise ScannerError(ErrorCode.RANK_NO_ORDINARY, "There are no objects but the lenses.", "Let --where pass more.")
    contests = [
        *(_by_method(method, split, ordinary) for method in trial.methods for split in splits),
        *(_by_magnitude(_magnitudes(snapshot, ranked), split) for split in splits if like is None),
    ]
    counts, objects = _counted(snapshot, chosen, truth, like, contests)
    above: dict[str, list[NDArray[np.int64]]] = {}
    for contest, count in zip(contests, counts, strict=True):
        above.setdefault(contest.name, []).append(count)
    above[CHANCE] = _chance(splits, objects, trial.seed)
    return Evaluation(above, objects, len(ranked), len(truth) - len(ranked))


@dataclass(frozen=True)
class _Split:
    """Examples to rank by, and the lenses to be found: numbers of both among the ranked ones, vectors of both."""

    like: Examples
    like_numbers: NDArray[np.int64]
    sought_numbers: NDArray[np.int64]
    sought: Vectors


@dataclass(frozen=True)
class _Contest:
    """One ranking: the scores of a block's rows, and the scores [n] of the lenses to be found."""

    name: str
    scores: Callable[[Block], NDArray[np.floating]]
    sought: NDArray[np.floating]

    def above(self, block: Block, wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of the ``wrong`` rows of a block score at least as high as each lens [n]."""
        scores = np.sort(self.scores(block)[wrong])
        return np.asarray(len(scores) - np.searchsorted(scores, self.sought, side="left"), np.int64)


def _ranked(snapshot: Snapshot, truth: Examples, chosen: Selection) -> Examples:
    """Those of the truth that a ranking would list."""
    there: set[int] = set()
    tiles = set(truth.tile.tolist())
    for footer in snapshot.touching(chosen.near).footers:
        if footer.tile in tiles:
            for table in rows.tile_groups(snapshot, footer, ["object_id"], chosen):
                there.update(np.intersect1d(table.column("object_id").to_numpy(), truth.object_id).tolist())
    return truth[np.isin(truth.object_id, list(there))]


def _splits(ranked: Examples, trial: Trial, like: Examples | None) -> list[_Split]:
    """The draws of examples, each with the lenses that are left to be found."""
    first = np.searchsorted(ranked.owner, np.arange(len(ranked)))  # the vector of the window as it is
    everyone = np.arange(len(ranked))
    if like is not None:
        sought = np.flatnonzero(~like.near(ranked.ra, ranked.dec))
        if not len(like) or not len(sought):
            hint = "Give positions on tiles of the catalogue, and lenses that are no examples."
            raise ScannerError(ErrorCode.RANK_FEW_LENSES, "There is no example, or nothing left to be found.", hint)
        return [_Split(like, np.zeros(0, np.int64), sought, ranked.vectors[first[sought]])]
    if len(ranked) <= trial.examples:
        message = f"Of the lenses {len(ranked)} can be ranked: with {trial.examples} as examples none is left to find."
        raise ScannerError(ErrorCode.RANK_FEW_LENSES, message, "Give more lenses, or fewer --examples.")
    splits = []
    for draw in range(trial.draws):
        rng = np.random.default_rng([trial.seed, draw])
        taken = np.sort(rng.choice(len(ranked), trial.examples, replace=False))
        sought = np.setdiff1d(everyone, taken)
        splits.append(_Split(ranked[taken], taken, sought, ranked.vectors[first[sought]]))
    return splits


def _by_method(method: Method, split: _Split, ordinary: Vectors) -> _Contest:
    scorer = scorers.learned(method, split.like.vectors, ordinary[:0], ordinary)
    return _Contest(method, lambda block: block.scored(scorer), scorer(split.sought))


def _by_magnitude(magnitudes: NDArray[np.float64], split: _Split) -> _Contest:
    usual = np.nanmedian(magnitudes[split.like_numbers]) if len(split.like_numbers) else np.nan

    def score(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.nan_to_num(-np.abs(values - usual), nan=-np.inf))

    return _Contest(
        MAGNITUDE, lambda block: score(block.column(_MAGNITUDE_COLUMN)), score(magnitudes[split.sought_numbers])
    )


def _magnitudes(snapshot: Snapshot, ranked: Examples) -> NDArray[np.float64]:
    """``mag_auto`` [P] of lenses."""
    found: dict[int, float] = {}
    tiles = set(ranked.tile.tolist())
    for footer in snapshot.footers:
        if footer.tile in tiles:
            for table in rows.tile_groups(snapshot, footer, ["object_id", _MAGNITUDE_COLUMN]):
                names = ("object_id", _MAGNITUDE_COLUMN)
                found |= dict(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    return np.array([found[int(one)] for one in ranked.object_id])


def _counted(
    snapshot: Snapshot,
    chosen: Selection,
    truth: Examples,
    like: Examples | None,
    contests: Sequence[_Contest],
) -> tuple[list[NDArray[np.int64]], int]:
    """For every contest how many wrong objects stand above each lens, and how many wrong objects there are."""
    right_ra = np.concatenate([truth.ra, like.ra]) if like is not None else truth.ra
    right_dec = np.concatenate([truth.dec, like.dec]) if like is not None else truth.dec

    def counted(block: Block) -> tuple[list[NDArray[np.int64]], int]:
        ra, dec = block.column("ra"), block.column("dec")
        wrong = ~crossmatch.nearest(ra, dec, right_ra, right_dec, ONE_SYSTEM).found
        return [contest.above(block, wrong) for contest in contests], int(wrong.sum())

    counts, objects = [np.zeros(len(contest.sought), np.int64) for contest in contests], 0
    for more, number in full_pass.over(snapshot, chosen, counted, [_MAGNITUDE_COLUMN]):
        counts = [one + other for one, other in zip(counts, more, strict=True)]
        objects += number
    return counts, objects


def _chance(splits: Sequence[_Split], objects: int, seed: int) -> list[NDArray[np.int64]]:
    """What a random order gives."""
    rng = np.random.default_rng(seed)
    return [rng.integers(objects + 1, size=len(split.sought_numbers)) for split in splits]

"""Ranking the objects of a catalogue by examples, by its lens score, or by both.

It is one pass over all tiles, with few row groups in memory at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.parallel import one_core
from catalogs.ranking import AUTO, BY_SCORE, METHODS, NEXT, Method, Next, calibration, methods
from catalogs.ranking.feedback import Feedback
from catalogs.ranking.fit import FEWEST, Fit, Sides
from catalogs.ranking.listing import ListBuilder
from catalogs.ranking.scorer import Points, Scorer
from catalogs.search import examples, full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.full_pass import Block
from catalogs.search.hits import Hits
from catalogs.search.random_sample import Sample
from catalogs.search.tile_pass import Executor
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.rows import primary
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors, along

if TYPE_CHECKING:
    from astropy.table import Table


log = logging.getLogger(__name__)

SAMPLE = 4000
"""Objects drawn at random that stand for the whole catalogue."""
PREVALENCE = 0.001
"""Where the model states none."""
POOL, MOST_POOLED = 20, 20_000
"""Candidates for each object that ``explore`` lists, and in all."""


@dataclass(frozen=True)
class Ranking:
    """Settings of a ranking, besides its examples.

    ``where`` restricts the ranked rows. ``prevalence`` is the share of these rows that is expected to be like the
    examples, on which probabilities are conditional (None: that at which the lens scores of the catalogue hold, or
    0.001). ``known`` is a table of known lenses (``ra``, ``dec``, ``name``)
    to flag beside the examples; ``hide_known`` leaves out flagged objects. ``next`` lists what to judge next, without
    flagged and marked objects: the ``best``; the most ``uncertain``, whose probability is nearest to one half; or, to
    ``explore``, those of the 20 k best that are least like all examples, all marks and one another (greedy k-centre).
    """

    method: Method | Literal["auto"] = "auto"
    k: int = 100
    where: str | None = None
    prevalence: float | None = None
    known: Table | None = None
    hide_known: bool = False
    next: Next | None = None
    seed: int = 0


def rank(
    catalogue: Backend,
    like: Examples | None = None,
    unlike: Examples | None = None,
    feedback: Feedback | None = None,
    ranking: Ranking | None = None,
    *,
    snapshot: Snapshot | None = None,
    executor: Executor | None = None,
    **settings: Any,
) -> Table:
    """List the primary objects that look most like the examples; ``settings`` are fields of ``Ranking``.

    The method ``score`` ranks by the lens score that the catalogue's model gives, and needs no example. ``fused`` joins
    both. ``snapshot`` is one of the catalogue that is at hand; without it the tiles are listed now. ``executor`` runs
    the pass over all rows; the list is the same, to the bit.

    Columns: ``rank``; ``score``; ``probability`` (by ``score``, else from five examples on); ``similarity`` (cosine
    with the nearest example), ``nearest_example`` (its name), ``nearest_id`` (-1: it is not an object of the
    catalogue), these three where there are examples; ``known`` (within 3 arcsec of an example or a known lens),
    ``known_as``; ``mark``; then those of the catalogue. Copies on the sky count once. Objects without a lens score are
    not listed by ``score`` and ``fused``. Kept objects of ``feedback`` join the examples, rejected ones the
    counterexamples; a mark counts more than ``like`` and ``unlike``.

    Raises:
        ScannerError: ``rank.*``, ``query.bad_k``, ``where.*``, ``catalogue.changing``.
    """
    rankings = [ranking or Ranking(**settings)]
    return rank_lists(catalogue, like, unlike, feedback, rankings, snapshot=snapshot, executor=executor)[0]


@one_core()
def rank_lists(
    catalogue: Backend,
    like: Examples | None,
    unlike: Examples | None,
    feedback: Feedback | None,
    rankings: Sequence[Ranking],
    *,
    snapshot: Snapshot | None = None,
    sample: Sample | None = None,
    executor: Executor | None = None,
) -> list[Table]:
    """Make several lists of one fit in one pass, each as ``rank`` makes it; they differ in ``k``, ``next`` and
    ``hide_known`` alone.

    ``sample`` is one that ``draw_ordinary`` drew from the same tiles with their filter and seed; without it one is
    drawn now. ``executor`` runs the pass, in place of threads of this process.

    Raises:
        ScannerError: As ``rank`` does.
    """
    for each in rankings:
        _check(each)
    ranking = rankings[0]
    if len({(each.method, each.where, each.prevalence, each.seed, id(each.known)) for each in rankings}) > 1:
        raise ValueError("the lists differ in more than their length and what is next")
    feedback = feedback or Feedback.empty(catalogue.info.dim)
    given, unlike = _combine(like if like is not None else examples.none(catalogue.info.dim), unlike, feedback)
    method = choose_method(catalogue, ranking.method, len(given), like is not None)
    prevalence = ranking.prevalence or stated_prevalence(catalogue)
    selection = primary(catalogue, ranking.where)
    snapshot = snapshot or catalogue.snapshot()
    fit = fit_method(snapshot, method, given, unlike, selection, ranking.seed, sample=sample)
    builder = ListBuilder(catalogue, given, feedback, ranking.known)

    def answer(current: Snapshot) -> list[Table]:
        lists = _select(current, selection, fit, builder, rankings, prevalence, executor)
        # By uncertainty, what the hits are ordered by is not their score.
        scores = (hits.score if each.next != "uncertain" else None for hits, each in zip(lists, rankings, strict=True))
        return [builder.table(current, *one, fit, prevalence) for one in zip(lists, scores, strict=True)]

    return full_pass.steady(snapshot, selection, answer)


def _check(ranking: Ranking) -> None:
    if ranking.method not in (AUTO, *METHODS):
        hint = f"Give one of {', '.join((AUTO, *METHODS))}."
        raise ScannerError(ErrorCode.RANK_BAD_METHOD, f"There is no method {ranking.method!r}.", hint)
    if ranking.next not in (None, *NEXT):
        hint = f"Give one of {', '.join(NEXT)}."
        raise ScannerError(ErrorCode.RANK_BAD_NEXT, f"What to judge next cannot be {ranking.next!r}.", hint)
    if ranking.k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{ranking.k} objects cannot be ranked.", "Ask for one or more.")
    if ranking.prevalence is not None:
        calibration.check_prevalence(ranking.prevalence)


def choose_method(catalogue: Backend, method: Method | Literal["auto"], examples: int, asked: bool = True) -> Method:
    """Choose the method for a number of examples, and check that catalogue and examples allow it.

    ``asked`` tells whether the user gave examples: if none of these is usable, no other method takes their place.

    Raises:
        ScannerError: ``rank.no_score``, ``rank.no_example``.
    """
    has_score = catalogue.info.scores is not None
    chosen = methods.choose_method(examples or int(asked), has_score) if method == AUTO else method
    if chosen in BY_SCORE and not has_score:
        message = f"{catalogue.path} has no lens score: its model {catalogue.info.model} gives none."
        raise ScannerError(ErrorCode.RANK_NO_SCORE, message, "Rank by examples, or scan with a model that has scores.")
    if chosen != "score" and not examples:
        message = "None of the examples is an object of the catalogue." if asked else f"{chosen} needs examples."
        hint = "Give positions on tiles of the catalogue, or a larger radius."
        if not asked:
            hint = f"Give examples, or kept marks{', or rank by --method score' if has_score else ''}."
        raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, message, hint)
    return chosen


def available(catalogue: Backend) -> tuple[Method, ...]:
    """List the methods that a catalogue allows."""
    return tuple(method for method in METHODS if catalogue.info.scores is not None or method not in BY_SCORE)


def stated_prevalence(catalogue: Backend) -> float:
    """Return the prevalence at which the lens scores of the catalogue are log-odds, or 0.001 where it has none."""
    scores = catalogue.info.scores
    return PREVALENCE if scores is None else scores.prevalence


def _combine(like: Examples, unlike: Examples | None, feedback: Feedback) -> tuple[Examples, Examples]:
    """Combine examples and counterexamples with the marks; an object that is in both lists is dropped from both."""
    hint = "Give positions on tiles of the catalogue, or a larger radius."
    if unlike is not None and not len(unlike):
        message = "None of the counterexamples is an object of the catalogue."
        raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, message, hint)
    against = unlike if unlike is not None else examples.none(like.vectors.shape[1])
    doubtful = like[against.near(like.ra, like.dec, SAME_OBJECT)]
    if len(doubtful):
        log.warning("%d objects are both example and counterexample: neither counts.", len(doubtful))
    # A mark counts more than the lists.
    like = like.without(doubtful).without(feedback.rejected).join(feedback.kept)
    return like, against.without(doubtful).without(feedback.kept).join(feedback.rejected)


def draw_ordinary(snapshot: Snapshot, where: str | None = None, seed: int = 0) -> Sample:
    """Draw the objects that stand for the whole catalogue: as many rankings as one likes may share them."""
    return random_sample.draw(snapshot, primary(snapshot.catalogue, where), SAMPLE, seed)


def fit_method(
    snapshot: Snapshot,
    method: Method,
    like: Examples,
    unlike: Examples,
    selection: Selection,
    seed: int = 0,
    apart: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    sample: Sample | None = None,
) -> Fit:
    """Fit a method to the examples, against a sample of the catalogue, and calibrate it.

    What is within 3 arcsec of ``apart``, RA and Dec in degrees, is no ordinary object. ``sample`` (None: drawn now) is
    that of ``draw_ordinary``.

    Raises:
        ScannerError: ``rank.no_ordinary``, ``rank.no_score``.
    """
    if method == "score":
        log.info("Scored by the lens score of the model")
        nothing = Points.of(examples.none(snapshot.catalogue.info.dim))
        return Fit(method, Sides(Points.of(like), Points.of(unlike), nothing), stated_prevalence(snapshot.catalogue))
    sample = sample or random_sample.draw(snapshot, selection, SAMPLE, seed)
    # Examples and their pieces must not count as ordinary objects.
    ordinary = sample[~(like.near(sample.ra, sample.dec) | unlike.near(sample.ra, sample.dec))]
    if apart is not None:
        ordinary = ordinary[~crossmatch.nearest(ordinary.ra, ordinary.dec, *apart, ONE_SYSTEM).matched]
    if not len(ordinary) and method != "nearest":
        message = "There are no other primary objects to compare examples with."
        hint = "Rank with --method nearest, or loosen --where."
        raise ScannerError(ErrorCode.RANK_NO_ORDINARY, message, hint)
    fit = Fit(method, Sides(*(Points.of(side) for side in (like, unlike, ordinary))), seed=seed)
    counts = len(like), len(unlike), len(ordinary)
    log.info("Scored by %s: %d examples, %d counterexamples, %d ordinary objects", method, *counts)
    if method == "fused":
        weights = "Fused: %.2f times the score by examples, %.2f times the lens score, each in its scatter"
        log.info(weights, *fit.scorer.in_scatter)
    if fit.calibration is None:
        log.info("No probabilities: they take %d examples at least.", FEWEST)
    return fit


def _select(
    snapshot: Snapshot,
    selection: Selection,
    fit: Fit,
    builder: ListBuilder,
    rankings: Sequence[Ranking],
    prevalence: float,
    executor: Executor | None,
) -> list[Hits]:
    """Select the objects of each list, in order."""
    score = _Orders(fit.scorer, tuple(_order(fit, ranking, prevalence) for ranking in rankings))
    explored = [ranking.next == "explore" for ranking in rankings]
    wanted = [
        min(POOL * ranking.k, max(MOST_POOLED, ranking.k)) if explore else ranking.k
        for ranking, explore in zip(rankings, explored, strict=True)
    ]
    # More than k: copies on the sky count once, and examples may be hidden.
    counts = [4 * k + 64 + len(builder.like) for k in wanted]

    while True:
        best = full_pass.best_lists(snapshot, selection, score, counts, fit.scorer.columns, executor)
        lists = [hits.unique() for hits in best]
        for number, (hits, ranking) in enumerate(zip(lists, rankings, strict=True)):
            lists[number] = hits[~builder.find_hidden(hits, ranking.hide_known, ranking.next is not None)]
        few = [
            len(hits) < k and len(every) == count
            for hits, k, every, count in zip(lists, wanted, best, counts, strict=True)
        ]
        if not any(few):
            break
        # Copies and hidden objects left fewer than k: look further down.
        counts = [8 * count if more else count for count, more in zip(counts, few, strict=True)]
    pools = [hits[:k] for hits, k in zip(lists, wanted, strict=True)]
    judged = np.concatenate([fit.sides.like.vectors, fit.sides.unlike.vectors])
    return [
        pool[choose_diverse(builder.read_vectors(snapshot, pool), judged, ranking.k)] if explore else pool
        for pool, ranking, explore in zip(pools, rankings, explored, strict=True)
    ]


def _order(fit: Fit, ranking: Ranking, prevalence: float) -> _Uncertainty | None:
    """Order by the score, or by how near the probability is to one half."""
    if ranking.next != "uncertain":
        return None
    curve = fit.calibration
    if curve is None:
        hint = "Give five examples or more (kept marks count), or use --next best or explore."
        raise ScannerError(ErrorCode.RANK_NO_PROBABILITY, "It is not known which candidates are uncertain.", hint)
    return _Uncertainty(curve, prevalence)


@dataclass(frozen=True)
class _Uncertainty:
    """How near the probability of each score is to one half."""

    curve: calibration.Calibration
    prevalence: float

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.floating]:
        return np.asarray(-np.abs(self.curve.odds(scores, self.prevalence)))


@dataclass(frozen=True)
class _Orders:
    """What each of several lists is ordered by, for the rows of a block; None is the score itself.

    The lists share the scores, which take the time.
    """

    scorer: Scorer
    orders: tuple[_Uncertainty | None, ...]

    def __call__(self, block: Block) -> list[NDArray[np.floating]]:
        scores = self.scorer.score_block(block)
        return [order(scores) if order else scores for order in self.orders]


def choose_diverse(pool: Vectors, others: Vectors, count: int) -> NDArray[np.int64]:
    """Choose ``count`` rows of ``pool`` [N, D], each least like (by cosine) ``others`` [J, D] and those before it.

    All vectors are of unit length. This is the greedy solution of the k-centre problem.

    Source: Gonzalez (1985), Theoretical Computer Science 38, 293.
    """
    # Largest cosine [N] of each row with anything chosen so far.
    closest = methods.find_nearest(pool, others)[0]
    rows: list[int] = []
    for _ in range(min(count, len(pool))):
        rows.append(int(closest.argmin()))
        closest = np.maximum(closest, along(pool, pool[rows[-1]]))
        closest[rows] = np.inf
    return np.array(rows, np.int64)

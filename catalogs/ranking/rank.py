"""Which objects of a catalogue look most like examples? One pass over all tiles, few row groups in memory at a time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking import calibration, scorers
from catalogs.ranking import feedback as marks
from catalogs.ranking import listing as ranked
from catalogs.ranking.calibration import Learned
from catalogs.ranking.feedback import Marks
from catalogs.ranking.scorers import Method
from catalogs.search import examples, full_pass, random_sample
from catalogs.search.examples import Examples
from catalogs.search.hits import Hits
from catalogs.sky.geometry import SAME_OBJECT
from catalogs.store.rows import primary
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import Snapshot, TileStore
from catalogs.store.vectors import Vectors, along

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

SAMPLE = 4000  # objects drawn at random that stand for the whole catalogue
PREVALENCE = 0.001
POOL, MOST_POOLED = 20, 20_000  # candidates for each that explore lists, and in all
Next = Literal["best", "uncertain", "explore"]
NEXT: tuple[Next, ...] = get_args(Next)


@dataclass(frozen=True)
class Ranking:
    """What a ranking was asked to do, beyond its examples.

    ``where``: only these rows. ``prevalence``: the share of them that is expected to be like the examples, on which
    probabilities are conditional. ``known``: a table of known lenses (``ra``, ``dec``, ``name``) to flag beside the
    examples. ``hide_known`` leaves out what is flagged. ``next``: list what to judge next, which leaves out what is
    flagged or marked: the ``best``; the most ``uncertain``, whose probability is nearest to one half; or, to
    ``explore``, those of the 20 k best that are least like all examples, all marks and one another (greedy k-centre).
    """

    method: Method | Literal["auto"] = "auto"
    k: int = 100
    where: str | None = None
    prevalence: float = PREVALENCE
    known: Table | None = None
    hide_known: bool = False
    next: Next | None = None
    seed: int = 0


def rank(
    catalogue: TileStore,
    like: Examples,
    unlike: Examples | None = None,
    feedback: Marks | None = None,
    ranking: Ranking | None = None,
    **asked: Any,
) -> Table:
    """The primary objects that score highest; ``asked`` are fields of ``Ranking`` to set.

    Columns: ``rank``; ``score``; ``probability`` (from five examples on); ``similarity`` (cosine with the nearest
    example), ``nearest_example`` (its name), ``nearest_id`` (-1: it is no object of the catalogue); ``known`` (within 3
    arcsec of an example or a known lens), ``known_as``; ``mark``; then those of the catalogue. Copies on the sky
    count once. Kept objects of ``feedback`` join the examples, rejected ones the counterexamples; a mark counts more
    than ``like`` and ``unlike``. Raises ``ScannerError``: ``rank.*``, ``query.bad_k``, ``where.*``,
    ``catalogue.changing``.
    """
    wanted = _checked(ranking or Ranking(**asked))
    judged = feedback or marks.nothing(catalogue.info.dim)
    taught = _taught(like, unlike, judged)
    chosen = primary(catalogue, wanted.where)
    snapshot = catalogue.snapshot()
    learned = _learned(snapshot, *taught, chosen, wanted)
    listing = ranked.Listing(catalogue, taught[0], judged, wanted.known)

    def answer(current: Snapshot) -> Table:
        hits = _listed(current, chosen, learned, listing, wanted)
        scored = hits.score if wanted.next != "uncertain" else None
        return listing.table(current, hits, learned, wanted.prevalence, scored)

    return full_pass.steady(snapshot, chosen, answer)


def _checked(ranking: Ranking) -> Ranking:
    if ranking.method not in ("auto", *scorers.METHODS):
        known = ", ".join(("auto", *scorers.METHODS))
        raise ScannerError(
            ErrorCode.RANK_BAD_METHOD, f"There is no method {ranking.method!r}.", f"Give one of {known}."
        )
    if ranking.next not in (None, *NEXT):
        hint = f"Give one of {', '.join(NEXT)}."
        raise ScannerError(ErrorCode.RANK_BAD_NEXT, f"What to judge next cannot be {ranking.next!r}.", hint)
    if ranking.k < 1:
        raise ScannerError(ErrorCode.QUERY_BAD_K, f"{ranking.k} objects cannot be ranked.", "Ask for one or more.")
    calibration.checked_prevalence(ranking.prevalence)
    return ranking


def _taught(like: Examples, unlike: Examples | None, feedback: Marks) -> tuple[Examples, Examples]:
    """Examples and counterexamples, marks included; what is both in the two lists counts for nothing."""
    if unlike is not None and not len(unlike):
        hint = "Give positions on tiles of the catalogue, or a larger radius."
        raise ScannerError(
            ErrorCode.RANK_NO_EXAMPLE, "None of the counterexamples is an object of the catalogue.", hint
        )
    against = unlike if unlike is not None else examples.none(like.vectors.shape[1])
    doubtful = like[against.near(like.ra, like.dec, SAME_OBJECT)]
    if len(doubtful):
        log.warning("%d objects are both example and counterexample: neither counts.", len(doubtful))
    like = like.without(doubtful).without(feedback.rejected).joined(feedback.kept)
    against = against.without(doubtful).without(feedback.kept).joined(feedback.rejected)
    if not len(like):
        hint = "Give positions on tiles of the catalogue, or a larger radius."
        raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, "None of the examples is an object of the catalogue.", hint)
    return like, against


def _learned(snapshot: Snapshot, like: Examples, unlike: Examples, chosen: Selection, wanted: Ranking) -> Learned:
    method = scorers.automatic(len(like)) if wanted.method == "auto" else wanted.method
    drawn = random_sample.draw(snapshot, chosen, SAMPLE, wanted.seed)
    ordinary = drawn[~(like.near(drawn.ra, drawn.dec) | unlike.near(drawn.ra, drawn.dec))].vectors
    if not len(ordinary) and method != "nearest":
        hint = "Rank with --method nearest, or let --where pass more."
        raise ScannerError(
            ErrorCode.RANK_NO_ORDINARY, "There are no other primary objects to compare examples with.", hint
        )
    scorer = scorers.learned(method, like.vectors, unlike.vectors, ordinary)
    fitted = calibration.calibrate(method, like, unlike.vectors, ordinary, wanted.seed)
    log.info(
        "Scored by %s: %d examples, %d counterexamples, %d ordinary objects",
        method,
        len(like),
        len(unlike),
        len(ordinary),
    )
    if fitted is None:
        log.info("No probabilities: they take %d examples at least.", calibration.FEWEST)
    return Learned(scorer, fitted, np.concatenate([like.vectors, unlike.vectors]))


def _listed(
    snapshot: Snapshot,
    chosen: Selection,
    learned: Learned,
    listing: ranked.Listing,
    wanted: Ranking,
) -> Hits:
    """The objects to list, in order."""
    k = min(POOL * wanted.k, max(MOST_POOLED, wanted.k)) if wanted.next == "explore" else wanted.k
    count = 4 * k + 64 + len(listing.like)
    while True:
        best = full_pass.best(snapshot, chosen, _priority(learned, wanted), count)
        shown = best.unique()
        shown = shown[~listing.hidden(shown, wanted.hide_known, wanted.next is not None)]
        if len(shown) >= k or len(best) < count:
            break
        count *= 8  # so many copies, or known ones, that too few objects are left
    if wanted.next != "explore":
        return shown[:k]
    pool = shown[:k]
    return pool[spread(listing.vectors(snapshot, pool), learned.judged, wanted.k)]


def _priority(learned: Learned, wanted: Ranking) -> full_pass.Scores:
    """What the best are chosen by: the score, or how near the probability is to one half."""
    if wanted.next != "uncertain":
        return learned.scorer
    fitted = learned.calibration
    if fitted is None:
        hint = "Give five examples or more (kept marks count), or take --next best or explore."
        raise ScannerError(ErrorCode.RANK_NO_PROBABILITY, "It is not known which candidates are uncertain.", hint)
    return lambda embedding, length: -np.abs(fitted.odds(learned.scorer(embedding, length), wanted.prevalence))


def spread(pool: Vectors, judged: Vectors, count: int) -> NDArray[np.int64]:
    """``count`` rows of ``pool`` [N, D], each the least like (by cosine) all of ``judged`` [J, D] and those before it.

    The greedy solution of the k-centre problem (Gonzalez 1985). All vectors are of unit length.
    """
    closest = scorers.nearest(pool, judged)[0]
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        chosen.append(int(closest.argmin()))
        closest = np.maximum(closest, along(pool, pool[chosen[-1]]))
        closest[chosen] = np.inf
    return np.array(chosen, np.int64)

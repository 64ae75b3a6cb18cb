"""Rankings for the page: what does not change from one to the next is kept, so that the next comes at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.bounded_cache import BoundedCache
from catalogs.ranking import Next, rank
from catalogs.ranking.feedback import RADIUS, Feedback, Mark, join_marks
from catalogs.ranking.rank import Ranking
from catalogs.search import examples
from catalogs.search.examples import Example, Examples, Unmatched
from catalogs.search.matching import match_each
from catalogs.store.backend import Snapshot
from scanner.web.site import Site

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.search.random_sample import Sample

KEPT = 100_000
"""Positions of verdicts whose objects are remembered."""


@dataclass(frozen=True)
class Part:
    """A part of a list: ``count`` objects, what comes ``next``; the model's own score orders without examples."""

    count: int
    next: Next | None = None
    hide_known: bool = False


class Ranker:
    """Ranks the catalogue of a site. It may be used by many threads."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._samples: BoundedCache[Sample] = BoundedCache(4)
        self._objects: BoundedCache[Example | Unmatched] = BoundedCache(KEPT)
        self._drawing = threading.Lock()

    def rank(
        self, parts: Sequence[Part], marks: Sequence[Mark] = (), like: Examples | None = None, where: str = ""
    ) -> tuple[Table, Feedback]:
        """List the objects of all ``parts`` together, best first, each once; and the objects of the ``marks``.

        Without an example and a mark, objects come in the order of the model's lens score.

        Raises:
            ScannerError: As ``rank`` does.
        """
        from astropy.table import unique, vstack

        store, snapshot = self._site.need_catalogue(), self._site.snapshot()
        feedback = self._match(snapshot, marks)
        rankings = [
            Ranking(
                k=part.count,
                where=where or None,
                known=self._site.known_lenses(),
                hide_known=part.hide_known,
                next=part.next,
            )
            for part in parts
        ]
        # By the lens score alone, nothing is compared with a sample.
        compared = bool(len(feedback.kept) or (like is not None and len(like)))
        sample = self._sample(snapshot, where) if compared else None
        given = like if like is not None or not marks else examples.none(store.info.dim)
        lists = rank.rank_lists(store, given, None, feedback, rankings, snapshot=snapshot, sample=sample)
        if len(lists) == 1:
            return lists[0], feedback
        rows = unique(vstack(lists, metadata_conflicts="silent"), "object_id", keep="first")
        # Objects of one score are in the order of their ids, as everywhere.
        return rows[np.lexsort((rows["object_id"], -rows["score"]))], feedback

    def _sample(self, snapshot: Snapshot, where: str) -> Sample:
        # One thread draws it, and others that ask meanwhile wait for that.
        with self._drawing:
            key = hash(snapshot.footers), where
            return self._samples.get(key, lambda: rank.draw_ordinary(snapshot, where or None))

    def _match(self, snapshot: Snapshot, marks: Sequence[Mark]) -> Feedback:
        """Find the objects of marks, each position once for as long as the tiles are the same."""
        state = hash(snapshot.footers)
        places = {(mark.ra, mark.dec): self._objects.find((state, mark.ra, mark.dec)) for mark in marks}
        fresh = [place for place, found in places.items() if found is None]
        found = match_each(snapshot, [_float(ra) for ra, _ in fresh], [_float(dec) for _, dec in fresh], RADIUS)
        for place, one in zip(fresh, found, strict=True):
            places[place] = self._objects.put((state, *place), one)
        dim = self._site.need_catalogue().info.dim

        def side(kept: bool) -> Examples:
            mine: list[Any] = [(mark, places[mark.ra, mark.dec]) for mark in marks if mark.kept is kept]
            return Examples.of([replace(one, name=mark.name) for mark, one in mine], dim)

        return join_marks(side(True), side(False))


def _float(value: float | None) -> float:
    return float("nan") if value is None else value

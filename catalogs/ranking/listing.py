"""The rows of a ranking: which are shown, and what is said of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.ranking import scorers
from catalogs.ranking.feedback import COLUMN, Marks
from catalogs.search import full_pass
from catalogs.search.examples import Examples
from catalogs.search.hits import Hits
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store import tile_reader, vectors
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_store import Snapshot, TileStore
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.ranking.calibration import Learned


class Listing:
    """What is known besides the scores: the examples, the marks, and a table of known lenses (None: not looked at)."""

    def __init__(self, catalogue: TileStore, like: Examples, feedback: Marks, known: Table | None) -> None:
        self._catalogue, self.like, self._feedback = catalogue, like, feedback
        self._known = known

    def hidden(self, hits: Hits, known: bool, judged: bool) -> NDArray[np.bool_]:
        """Which hits are left out: what is ``known``, what was ``judged`` before (known or marked)."""
        left_out = np.zeros(len(hits), bool)
        if known or judged:
            left_out |= self._flagged(hits)[0]
        if judged:
            left_out |= self._feedback.of(hits.ra, hits.dec) != ""
        return left_out

    def vectors(self, snapshot: Snapshot, hits: Hits) -> Vectors:
        """Unit vectors [N, D] of hits."""
        found = np.empty((len(hits), self._catalogue.info.dim), np.float32)
        for here, table in full_pass.taken(snapshot, hits, [EMBEDDING]):
            found[here] = vectors.unit(vectors.from_arrow(table.column(EMBEDDING)))
        return found

    def table(
        self,
        snapshot: Snapshot,
        hits: Hits,
        learned: Learned,
        prevalence: float,
        scores: NDArray[np.float32] | None,
    ) -> Table:
        """The hits in order with all that is said of them (see ``rank.rank``); ``scores`` None: work them out."""
        count, schema = len(hits), self._catalogue.schema
        parts, places = [schema.remove(schema.get_field_index(EMBEDDING)).empty_table()], [np.zeros(0, np.int64)]
        similarity, which, score = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.float32)
        for here, table in full_pass.taken(snapshot, hits, schema.names):
            unit = vectors.unit(vectors.from_arrow(table.column(EMBEDDING)))
            similarity[here], which[here] = scorers.nearest(unit, self.like.vectors)
            score[here] = learned.scorer(unit)
            parts.append(table.cast(schema).drop_columns([EMBEDDING]))
            places.append(here)
        answer = tile_reader.to_astropy(pa.concat_tables(parts).take(np.argsort(np.concatenate(places))))
        said = self._said(hits, score if scores is None else scores, similarity, which, learned, prevalence)
        for index, (name, (values, description)) in enumerate(said.items()):
            answer.add_column(values, name=name, index=index)
            answer[name].description = description
        return answer

    def _said(
        self,
        hits: Hits,
        score: NDArray[np.float32],
        similarity: NDArray[np.float64],
        which: NDArray[np.int64],
        learned: Learned,
        prevalence: float,
    ) -> dict[str, tuple[Any, str]]:
        known, known_as = self._flagged(hits)
        nearest = self.like.owner[which]
        said: dict[str, tuple[Any, str]] = {
            "rank": (np.arange(1, len(hits) + 1), "Place in the list, from 1"),
            "score": (score, "Score of the method; compare within one answer only"),
        }
        if learned.calibration is not None:
            condition = f"Of being like the examples, if {prevalence:g} of the ranked objects are"
            said["probability"] = (learned.calibration.probability(score, prevalence), condition)
        return said | {
            "similarity": (np.minimum(similarity, 1), "Cosine of the embeddings with the nearest example"),
            "nearest_example": (self.like.name[nearest], "The example that is most similar"),
            "nearest_id": (self.like.object_id[nearest], "Its object_id; -1 where it is no object of the catalogue"),
            "known": (known, "Within 3 arcsec of an example or a known lens"),
            "known_as": (known_as, "Name of the known lens within 3 arcsec"),
            COLUMN: (self._feedback.of(hits.ra, hits.dec), "Fill with kept or rejected, and give back as --feedback"),
        }

    def _flagged(self, hits: Hits) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
        """Which hits are known, and the names of the known lenses that they are."""
        known, names = self.like.near(hits.ra, hits.dec), np.full(len(hits), "", "<U1")
        if self._known is not None:
            lenses = crossmatch.nearest(hits.ra, hits.dec, self._known["ra"], self._known["dec"], ONE_SYSTEM)
            known |= lenses.found
            if lenses.found.any():
                named = np.asarray(self._known["name"]).astype(str)[lenses.index]
                names = np.where(lenses.found, named, "")
        return known, names

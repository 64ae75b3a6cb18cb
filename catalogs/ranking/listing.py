"""The rows of a ranking: which are shown, and their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.ranking import methods
from catalogs.ranking.feedback import COLUMN, Feedback
from catalogs.ranking.scorer import Points
from catalogs.search import full_pass
from catalogs.search.examples import Examples
from catalogs.search.hits import Hits
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store import tile_reader, vectors
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.schema import EMBEDDING
from catalogs.store.scores import LENS_SCORE
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.ranking.fit import Fit


class ListBuilder:
    """Builds the list from hits, the examples, the feedback and a table of known lenses (None: none are flagged)."""

    def __init__(self, catalogue: Backend, like: Examples, feedback: Feedback, known: Table | None) -> None:
        self._catalogue, self.like, self._feedback = catalogue, like, feedback
        self._known = known

    def find_hidden(self, hits: Hits, hide_known: bool, hide_judged: bool) -> NDArray[np.bool_]:
        """Find the hits to leave out: known ones, or those that are known or marked."""
        hidden = np.zeros(len(hits), bool)
        if hide_known or hide_judged:
            hidden |= self._find_known(hits)[0]
        if hide_judged:
            hidden |= self._feedback.words(hits.ra, hits.dec) != ""
        return hidden

    def read_vectors(self, snapshot: Snapshot, hits: Hits) -> Vectors:
        """Read the unit vectors [N, D] of hits."""
        embeddings = np.empty((len(hits), self._catalogue.info.dim), np.float32)
        for here, table in full_pass.take_rows(snapshot, hits, [EMBEDDING]):
            embeddings[here] = vectors.unit(vectors.from_arrow(table.column(EMBEDDING)))
        return embeddings

    def table(
        self,
        snapshot: Snapshot,
        hits: Hits,
        scores: NDArray[np.floating] | None,
        fit: Fit,
        prevalence: float,
    ) -> Table:
        """Tabulate the hits in order, with the columns of ``rank.rank``; ``scores`` (None: computed) are theirs."""
        count, schema = len(hits), self._catalogue.schema
        parts, places = [schema.remove(schema.get_field_index(EMBEDDING)).empty_table()], [np.zeros(0, np.int64)]
        # Hits are read tile by tile; ``here`` [n] are their places in the list.
        similarity, which, computed = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.float32)
        for here, table in full_pass.take_rows(snapshot, hits, schema.names):
            unit = vectors.unit(vectors.from_arrow(table.column(EMBEDDING)))
            similarity[here], which[here] = methods.find_nearest(unit, self.like.vectors)
            lens_score = (
                table.column(LENS_SCORE).to_numpy() if LENS_SCORE in schema.names else np.full(len(here), np.nan)
            )
            computed[here] = fit.scorer(Points(unit, lens_score, here))
            parts.append(table.cast(schema).drop_columns([EMBEDDING]))
            places.append(here)
        answer = tile_reader.to_astropy(pa.concat_tables(parts).take(np.argsort(np.concatenate(places))))

        score = computed if scores is None else scores
        known, known_as = self._find_known(hits)
        # These columns stand before those of the catalogue, in this order.
        columns: dict[str, tuple[Any, str]] = {
            "rank": (np.arange(1, count + 1), "Place in the list, from 1"),
            "score": (score, "Score of the method; compare within one answer only"),
        }
        if fit.calibration is not None:
            what = "a lens" if fit.method == "score" else "like the examples"
            condition = f"Of being {what}, if {prevalence:g} of the ranked objects are"
            columns["probability"] = (fit.calibration.probability(score, prevalence), condition)
        if len(self.like):
            # From the nearest vector [N] to the example that it is an orientation of.
            nearest = self.like.owner[which]
            columns |= {
                "similarity": (np.minimum(similarity, 1), "Cosine of the embeddings with the nearest example"),
                "nearest_example": (self.like.name[nearest], "The example that is most similar"),
                "nearest_id": (
                    self.like.object_id[nearest],
                    "Its object_id; -1 where it is no object of the catalogue",
                ),
            }
        columns |= {
            "known": (known, "Within 3 arcsec of an example or a known lens"),
            "known_as": (known_as, "Name of the known lens within 3 arcsec"),
            COLUMN: (
                self._feedback.words(hits.ra, hits.dec),
                "Fill with kept or rejected, and give back as --feedback",
            ),
        }
        for index, (name, (values, description)) in enumerate(columns.items()):
            answer.add_column(values, name=name, index=index)
            answer[name].description = description
        return answer

    def _find_known(self, hits: Hits) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
        """Find the hits that are known, and the names of the known lenses that they are."""
        known, names = self.like.near(hits.ra, hits.dec), np.full(len(hits), "", "<U1")
        if self._known is not None:
            lenses = crossmatch.nearest(hits.ra, hits.dec, self._known["ra"], self._known["dec"], ONE_SYSTEM)
            known |= lenses.matched
            if lenses.matched.any():
                nearest = np.asarray(self._known["name"]).astype(str)[lenses.index]
                names = np.where(lenses.matched, nearest, "")
        return known, names

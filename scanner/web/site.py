"""What a server shows: a catalogue, the tiles of its cutouts, and known lenses; and its answers to questions."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request

from catalogs import lenses
from catalogs.catalogue import Catalogue, LanceCatalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.examples import Example
from catalogs.search.matching import MATCH_RADIUS, match
from catalogs.search.ordering import ordered
from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store.backend import Snapshot
from scanner.queries.places import read_place
from scanner.queries.query import Position, QueryBuilder, ask_together, read_table
from scanner.web.bounded_cache import BoundedCache
from scanner.web.cutouts import CutoutStore
from scanner.web.question import MOST, PAGE, Question
from scanner.windows.frame import WindowFrame

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

STARTS = 24
"""Known lenses that the page offers to start from."""


@dataclass(frozen=True)
class Answer:
    """The rows that were listed so far, the examples of the question, and what gave no example."""

    rows: Table
    examples: tuple[Example, ...]
    problems: tuple[ScannerError, ...]


class Site:
    """One catalogue as the page shows it (None: only a project is shown). All of it may be used by many threads."""

    def __init__(
        self,
        catalogue: Catalogue | LanceCatalogue | None,
        *,
        root: Path | None = None,
        survey: str | None = None,
        model: str | None = None,
        device: str = "auto",
        like: Path | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.cutouts: CutoutStore | None = None
        if catalogue is not None:
            self.builder = QueryBuilder(catalogue.snapshot(), root=root, survey=survey, model=model, device=device)
            contract = catalogue.info.contract
            self.frame = WindowFrame(tuple(contract["bands"]), int(contract["window"]), float(contract["pixel_scale"]))
            if root is not None:
                self.cutouts = CutoutStore(self.builder.windows(), self.frame)
        self.uploads: dict[str, Example] = {}
        self._like = tuple(read_table(like)) if like is not None else ()
        self._answers: BoundedCache[Answer] = BoundedCache(64)
        self.maps: BoundedCache[Any] = BoundedCache(4)
        self._known: Table | None = None
        self._starts: list[Example] | None = None
        self._reading, self._searching = threading.Lock(), threading.Lock()
        # The first page does not wait for the list of the literature.
        threading.Thread(target=lambda: self.known, name="known lenses", daemon=True).start()

    def need_catalogue(self) -> Catalogue | LanceCatalogue:
        """The catalogue.

        Raises:
            ScannerError: ``catalogue.missing`` where the server shows a project alone.
        """
        if self.catalogue is None:
            hint = "Start the server with --catalog."
            raise ScannerError(ErrorCode.CATALOGUE_MISSING, "The server was started without a catalogue.", hint)
        return self.catalogue

    def snapshot(self) -> Snapshot:
        """List the tiles now."""
        return self.need_catalogue().snapshot()

    @property
    def known(self) -> Table:
        """The known lenses of the literature, read once."""
        with self._reading:
            if self._known is None:
                self._known = lenses.known()
            return self._known

    def starts(self) -> list[Example]:
        """Find known lenses that are objects of the catalogue, those of the user first; once."""
        with self._searching:
            if self._starts is None:
                snapshot = self.snapshot().touching()
                known = [Position(float(r["ra"]), float(r["dec"]), str(r["name"])) for r in self.known]
                places = _near_tiles(snapshot, [*self._like, *known])[: 4 * STARTS]
                found = match(snapshot, [p.ra for p in places], [p.dec for p in places], names=[p.name for p in places])
                self._starts = [found.one(number) for number in range(min(len(found), STARTS))]
            return self._starts

    def known_as(self, ra: Any, dec: Any) -> list[str]:
        """Name the known lens within 3 arcsec of each position, "" where there is none.

        Until the list of the literature is read, only lenses of the user's own list are known.
        """
        known = {"ra": [], "dec": [], "name": []} if self._known is None else self._known
        mine = [Position(one.ra, one.dec, one.name) for one in self._like]
        there_ra = np.concatenate([[one.ra for one in mine], np.asarray(known["ra"])])
        there_dec = np.concatenate([[one.dec for one in mine], np.asarray(known["dec"])])
        found = crossmatch.nearest(ra, dec, there_ra, there_dec, ONE_SYSTEM)
        names = []
        for index in found.index.tolist():
            if index < 0:
                names.append("")
            elif index < len(mine):
                names.append(f"your list, row {mine[index].name}" if mine[index].name.isdigit() else mine[index].name)
            else:
                names.append(str(known["name"][index - len(mine)]).split("|")[0].strip())
        return names

    def ask(self, question: Question, most: int = MOST) -> Answer:
        """Answer a question, with rows up to the end of the page that it asks for, or more; never beyond ``most``.

        Raises:
            ScannerError: If nothing in the question gives an example, or as ``ask_together`` and ``ordered`` do.
        """
        snapshot = self.snapshot()
        # A page more costs the search little, and the next page is there when it is scrolled to.
        wanted = min(most, 4 * PAGE * -(-(question.offset + question.limit) // (4 * PAGE)))
        state = hash(snapshot.footers)
        return self._answers.get((question.key(), wanted, state), lambda: self._answer(snapshot, question, wanted))

    def _answer(self, snapshot: Snapshot, question: Question, wanted: int) -> Answer:
        region, where = question.region(), question.where or None
        if not question.has_example:
            column = question.sort.removeprefix("-") or None
            down = question.sort.startswith("-")
            rows = ordered(snapshot, column, wanted, descending=down, seed=question.seed, near=region, where=where)
            return Answer(rows, (), ())
        examples, problems = self.examples(snapshot, question)
        if not examples:
            raise problems[-1]
        rows = ask_together(snapshot, examples, wanted, question.mix, where, region)
        return Answer(rows, tuple(examples), tuple(problems))

    def examples(self, snapshot: Snapshot, question: Question) -> tuple[list[Example], list[ScannerError]]:
        """Make the examples of a question; whatever gives none becomes a problem."""
        builder = self.builder.of(snapshot)
        examples: list[Example] = []
        problems: list[ScannerError] = []
        typed: list[str | int] = [*question.at, *question.id]
        for one in typed:
            try:
                place = one if isinstance(one, int) else read_place(one, self.known)
                at, ids = ([], [place]) if isinstance(place, int) else ([place], [])
                examples += builder.gather(at, ids, [])[0]
            except ScannerError as error:
                problems.append(error)
        for digest in question.upload:
            if digest in self.uploads:
                examples.append(self.uploads[digest])
            else:
                message = f"No cutout {digest[:12]!r} was uploaded since the server started."
                problems.append(ScannerError(ErrorCode.CUTOUT_UNREADABLE, message, "Upload the file again."))
        # An object that was named twice counts once.
        return list({_identity(example): example for example in examples}.values()), problems


def site_of(request: Request) -> Site:
    """The site that the server shows."""
    site: Site = request.app.state.site
    return site


def _identity(example: Example) -> object:
    return example.object_id if example.object_id is not None else (example.name, example.ra, example.dec)


def _near_tiles(snapshot: Snapshot, places: list[Position]) -> list[Position]:
    """Choose the places that some tile may hold, so that no tile is read for the others."""
    ra, dec = np.array([p.ra for p in places]), np.array([p.dec for p in places])
    inside = np.zeros(len(places), bool)
    for circle in filter(None, (footer.circle for footer in snapshot.footers)):
        close = np.flatnonzero(np.abs(dec - circle.dec) <= circle.radius + MATCH_RADIUS / 3600)
        inside[close] |= circle.contains(ra[close], dec[close])
    return [place for place, here in zip(places, inside, strict=True) if here]

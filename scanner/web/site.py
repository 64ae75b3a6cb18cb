"""What a server shows: a catalogue, the tiles of its cutouts, and known lenses; and its answers to questions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Request

from catalogs.bounded_cache import BoundedCache
from catalogs.catalogue import LanceCatalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.examples import Example, Examples
from catalogs.search.matching import MATCH_RADIUS, match
from catalogs.search.ordering import ordered
from catalogs.search.resident import ResidentStore
from catalogs.sky.crossmatch import Places
from catalogs.sky.geometry import ONE_SYSTEM
from catalogs.store.backend import Snapshot
from catalogs.store.tile_store import TileStore
from scanner.queries import known_lenses
from scanner.queries.places import read_place
from scanner.queries.query import Position, QueryBuilder, ask_together, read_table
from scanner.system.resources import usable_cores
from scanner.web.cutouts import CutoutStore
from scanner.web.question import MOST, PAGE, Question
from scanner.windows.frame import WindowFrame

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

PLACE = ("object_id", "tile", "ra", "dec")
"""Columns that say which object a row is, and where."""
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
        catalogue: TileStore | LanceCatalogue | None,
        *,
        root: Path | None = None,
        survey: str | None = None,
        model: str | None = None,
        device: str = "auto",
        like: Path | None = None,
        aladin: str | None = None,
        known: Sequence[Path] = (),
    ) -> None:
        self.aladin = aladin
        # A server reads the same columns again and again.
        self.catalogue: ResidentStore | LanceCatalogue | None = (
            ResidentStore(catalogue.path, catalogue.info) if isinstance(catalogue, TileStore) else catalogue
        )
        self.cutouts: CutoutStore | None = None
        if self.catalogue is not None:
            self.builder = QueryBuilder(self.catalogue.snapshot(), root=root, survey=survey, model=model, device=device)
            contract = self.catalogue.info.contract
            self.frame = WindowFrame(tuple(contract["bands"]), int(contract["window"]), float(contract["pixel_scale"]))
            if root is not None:
                self.cutouts = CutoutStore(self.builder.windows(), self.frame)
        self.uploads: dict[str, Example] = {}
        self._like = tuple(read_table(like)) if like is not None else ()
        self._answers: BoundedCache[Answer] = BoundedCache(64)
        self.maps: BoundedCache[Any] = BoundedCache(4)
        # A wrong list is refused now, rather than while somebody looks.
        self._known: Table | None = known_lenses.read_known(known) if known else None
        self._literature: tuple[list[str], Places] | None = None
        self._mine = self._places(None)
        self._flagged: Table | None = None
        self._starts: list[Example] | None = None
        self._reading, self._searching = threading.Lock(), threading.Lock()
        # More searches at a time than there are cores keep taking the interpreter from one another: each takes half
        # as long again.
        self._turns = threading.BoundedSemaphore(max(usable_cores(), 2))
        # The first page does not wait for the list of the literature.
        threading.Thread(target=lambda: self.known, name="known lenses", daemon=True).start()

    def need_catalogue(self) -> ResidentStore | LanceCatalogue:
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
                self._known = known_lenses.read_known()
            if self._literature is None:
                self._literature = self._places(self._known)
            return self._known

    def _places(self, known: Table | None) -> tuple[list[str], Places]:
        """The names of the lenses of the literature, and the places of the user's lenses and of those."""
        ra, dec = ([] if known is None else np.asarray(known[name]).tolist() for name in ("ra", "dec"))
        mine = self._like
        places = Places([*(one.ra for one in mine), *ra], [*(one.dec for one in mine), *dec])
        return [] if known is None else [str(name) for name in known["name"]], places

    def known_lenses(self) -> Table:
        """The lenses of the user and those of the literature, as ``rank`` flags them: ``ra``, ``dec`` and ``name``."""
        from astropy.table import Table

        known = self.known
        with self._reading:
            if self._flagged is None:
                mine = [(one.ra, one.dec, _own_name(one)) for one in self._like]
                theirs = zip(*(np.asarray(known[name]).tolist() for name in ("ra", "dec", "name")), strict=True)
                self._flagged = Table(rows=[*mine, *theirs], names=["ra", "dec", "name"])
            return self._flagged

    def lenses(self) -> Examples:
        """Find the user's lenses among the objects of the catalogue, or without such a list those of the literature.

        Raises:
            ScannerError: ``rank.no_example`` where none is an object of the catalogue.
        """
        snapshot = self.snapshot().touching()
        known = [Position(float(r["ra"]), float(r["dec"]), str(r["name"])) for r in self.known]
        places = _near_tiles(snapshot, list(self._like) or known)
        found = match(snapshot, [p.ra for p in places], [p.dec for p in places], names=[p.name for p in places])
        if not len(found):
            hint = "Give lenses that lie on the tiles of the catalogue with --like."
            raise ScannerError(ErrorCode.RANK_NO_EXAMPLE, "No known lens is an object of the catalogue.", hint)
        return found

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
        known, places = self._literature or self._mine
        mine = self._like
        found = places.nearest(ra, dec, ONE_SYSTEM)
        names = []
        for index in found.index.tolist():
            if index < 0:
                names.append("")
            elif index < len(mine):
                names.append(_own_name(mine[index]))
            else:
                names.append(known[index - len(mine)].split("|")[0].strip())
        return names

    def ask(self, question: Question, most: int = MOST, columns: tuple[str, ...] | None = None) -> Answer:
        """Answer a question, with rows up to the end of the page that it asks for, or more; never beyond ``most``.

        ``columns`` (all but the embedding by default) are those of the rows; what names an object is always among them.

        Raises:
            ScannerError: If nothing in the question gives an example, or as ``ask_together`` and ``ordered`` do.
        """
        snapshot = self.snapshot()
        # One row more tells whether there is a next page. Rows lie in as many tiles, so a search reads no others; an
        # order reads all tiles anyway, and has the next pages ready.
        wanted = question.offset + question.limit + 1
        if not question.has_example:
            wanted = 4 * PAGE * -(-wanted // (4 * PAGE))
        if columns is not None:
            columns = tuple(dict.fromkeys([*PLACE, *columns]))
        key = question.key(), min(most, wanted), columns, hash(snapshot.footers)
        return self._answers.get(key, lambda: self._answer(snapshot, question, min(most, wanted), columns))

    def _answer(
        self, snapshot: Snapshot, question: Question, wanted: int, columns: tuple[str, ...] | None = None
    ) -> Answer:
        region, where = question.region(), question.where or None
        if not question.has_example:
            column = question.sort.removeprefix("-") or None
            down = question.sort.startswith("-")
            with self._turns:
                rows = ordered(
                    snapshot,
                    column,
                    wanted,
                    descending=down,
                    seed=question.seed,
                    near=region,
                    where=where,
                    columns=columns,
                )
            return Answer(rows, (), ())
        examples, problems = self.examples(snapshot, question)
        if not examples:
            raise problems[-1]
        # An example that is not in the catalogue was cut from its tile before, which may take as long as a disk likes.
        with self._turns:
            rows = ask_together(snapshot, examples, wanted, question.mix, where, region, columns)
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


def _own_name(lens: Position) -> str:
    return f"your list, row {lens.name}" if lens.name.isdigit() else lens.name


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

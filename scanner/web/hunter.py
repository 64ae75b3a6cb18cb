"""The hunt behind the page: rounds made from questions, cut in a thread, and verdicts taken from the inspector."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from catalogs.bounded_cache import BoundedCache
from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking.feedback import Mark
from catalogs.store import rows as catalogue_rows
from scanner.hunt.cutter import Cutter
from scanner.hunt.project import Project
from scanner.hunt.round import WAITING, Round
from scanner.hunt.verdicts import Verdict
from scanner.inspection.plan import has_plan
from scanner.inspection.tables import verdicts_of
from scanner.web.pages import plain
from scanner.web.ranker import Ranker
from scanner.web.site import Site

if TYPE_CHECKING:
    from scanner.windows.by_position import Flux

log = logging.getLogger(__name__)

MOST = 20_000
"""Objects of a round."""
PATIENCE = 2.0
"""Seconds that the cutter waits with each object while somebody waits for a ranking."""


class Hunter:
    """A project as the page works on it, for one inspector; the folder is made when the first round is."""

    def __init__(self, site: Site, folder: Path, inspector: str, scheme: Path | None = None) -> None:
        self.site, self.folder, self.inspector = site, folder, inspector
        self._scheme = scheme
        self._project: Project | None = Project(folder) if (folder / "project.json").exists() else None
        self._lock = threading.Lock()
        # Held while verdicts are compared with those that stand, and added.
        self.judging = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._wanted: dict[int, NDArray[np.int64]] = {}
        self.problems: dict[str, ScannerError] = {}
        self.ranker = Ranker(site)
        self._rankings = 0
        self._nobody_waits = threading.Event()
        self._nobody_waits.set()
        self._notices: BoundedCache[list[str]] = BoundedCache(1)
        self.resume()

    @property
    def project(self) -> Project:
        """The project.

        Raises:
            ScannerError: ``hunt.missing`` before the first round.
        """
        if self._project is None and (self.folder / "project.json").exists():
            # scanner hunt made it since the server started.
            self._project = Project(self.folder)
        if self._project is None:
            raise ScannerError(ErrorCode.HUNT_MISSING, "There is nothing to inspect yet.", "Inspect a search first.")
        return self._project

    @property
    def begun(self) -> bool:
        """Whether the project has a round."""
        return (self.folder / "project.json").exists() and bool(self.project.rounds())

    @property
    def has_plan(self) -> bool:
        """Whether the project is that of a team."""
        return has_plan(self.folder)

    def add(self, objects: Any, title: str, source: str) -> Round:
        """Add a round of objects, and begin to cut them.

        Raises:
            ScannerError: ``hunt.*``, ``output.*``.
        """
        catalogue = self.site.need_catalogue()
        if "known_as" not in objects.colnames:
            objects = objects.copy()
            objects["known_as"] = self.site.known_as(objects["ra"], objects["dec"])
        with self._lock:
            if self._project is None:
                self._project = Project.create(self.folder, self._scheme)
            made = self._project.add_round(objects[:MOST], title, source, catalogue.info)
        self.resume()
        return made

    def resume(self) -> None:
        """Cut what is not cut yet, in a thread, if there are images."""
        with self._lock:
            if self._project is None or self.site.cutouts is None or (self._thread and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._cut, name="cutter", daemon=True)
            self._thread.start()

    @contextlib.contextmanager
    def ranking(self) -> Iterator[None]:
        """Let the cutter wait: it would take a core from a ranking that somebody waits for, and the interpreter too."""
        with self._lock:
            self._rankings += 1
            self._nobody_waits.clear()
        try:
            yield
        finally:
            with self._lock:
                self._rankings -= 1
                if not self._rankings:
                    self._nobody_waits.set()

    def stop(self) -> None:
        """Stop cutting, at the end of a batch; the next server goes on."""
        self._stopped.set()
        if (thread := self._thread) is not None:
            thread.join(timeout=10)

    def want(self, one: Round, numbers: NDArray[np.int64]) -> None:
        """Cut these objects of a round next, if they are not cut yet."""
        self._wanted[one.number] = numbers

    def _next(self, number: int) -> NDArray[np.int64]:
        return self._wanted.get(number, np.zeros(0, np.int64))

    def _next_round(self, seen: set[int]) -> int | None:
        """The newest round that the cutter has not seen, since that is looked at; None ends it."""
        # Whoever adds a round looks for the cutter under the lock, and so finds that it has ended.
        with self._lock:
            waiting = [one for one in self.project.rounds() if one not in seen]
            if not waiting or self._stopped.is_set():
                self._thread = None
                return None
            return waiting[-1]

    def _cut(self) -> None:
        seen: set[int] = set()
        while (number := self._next_round(seen)) is not None:
            seen.add(number)
            try:
                current = self.project.round(number)
                # The tiles of painted lenses are others, which scanner inspect fakes was given.
                if current.record.painted:
                    continue
                with Cutter(self.site.builder.windows(), current.frame) as cutter:
                    cut = partial(self._cut_later, cutter)
                    for _ in current.cut(cut, partial(self._next, current.number), self._stopped.is_set):
                        pass
                self.problems |= {f"Tile {name}": problem for name, problem in cutter.problems.items()}
            except ScannerError as error:
                log.warning("Round %d is not cut: %s", number, error.message)
                self.problems[f"Round {number}"] = error

    def _cut_later(self, cutter: Cutter, tile: str, ra: float, dec: float) -> tuple[Flux, bytes] | None:
        """Cut an object, once nobody waits for a ranking or the patience is over."""
        self._nobody_waits.wait(PATIENCE)
        return cutter(tile, ra, dec)

    def notices(self) -> list[str]:
        """Say what an inspector should know: what cannot be cut, and verdicts of another state of the catalogue."""
        said = [f"{name}: {error.message} {error.hint}" for name, error in self.problems.items()]
        catalogue = self.site.catalogue
        if not self.begun or catalogue is None:
            return said
        snapshot = self.site.snapshot()
        ids = sorted({one.object_id for one in self.project.verdicts.standing()})

        def compare() -> list[str]:
            now = catalogue_rows.of_ids(snapshot, ids, ["object_id", "ra", "dec"])
            return self.project.notices(catalogue.info, now)

        key = hash(snapshot.footers), len(self.project.verdicts.standing())
        return [*said, *self._notices.get(key, compare)]

    def marks(self) -> list[Mark]:
        """The marks of what was kept and rejected so far, as ``rank --feedback`` reads them."""
        table = verdicts_of(self.project)
        columns = zip(*(table[name].tolist() for name in ("mark", "ra", "dec")), strict=True)
        return [
            Mark(f"verdict {n}", mark == "kept", ra, dec, None) for n, (mark, ra, dec) in enumerate(columns, 1) if mark
        ]

    def progress(self, one: Round) -> dict[str, int]:
        """Count the objects of a round: all, those cut or found without pixels, triaged, graded, either."""
        standing = self.project.standing(one)
        return {
            "objects": len(one),
            "cut": int((one.states != WAITING).sum()),
            "triaged": sum(each.triage is not None for each in standing),
            "graded": sum(each.grade is not None for each in standing),
            "judged": sum(each.latest is not None for each in standing),
        }

    def choose(self, one: Round, seed: int, of: str) -> NDArray[np.int64]:
        """The numbers of the objects that one inspects, in the order of a seed.

        ``of`` is ``all``, ``ungraded``, or a word of the scheme: those whose latest verdict it is.

        Raises:
            ScannerError: ``hunt.bad_verdict``.
        """
        order = one.order(seed)
        if of in ("", "all"):
            return order
        standing = self.project.standing(one)
        if of == "ungraded":
            chosen = np.array([each.grade is None for each in standing])
        elif self.project.scheme.stage(of):
            chosen = np.array([each.latest is not None and each.latest.grade == of for each in standing])
        else:
            raise ScannerError(ErrorCode.HUNT_BAD_VERDICT, f"The scheme has no grade {of!r}.", "See scheme.toml.")
        numbers: NDArray[np.int64] = order[chosen[order]]
        return numbers

    def facts(self, one: Round, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
        """What the page knows of objects; what would bias an inspector is there once it is graded."""
        standing, states = self.project.standing(one), one.states
        hidden = ("score", "score_lens", "probability", "similarity", "rank", "nearest_example", "mark")
        told = []
        for number, row in zip(numbers.tolist(), one.rows(numbers), strict=True):
            triage, said = standing[number].triage, standing[number].grade
            # A number beyond 2^53 would be rounded by a browser.
            row["object_id"] = str(row["object_id"])
            told.append(
                {
                    "number": number,
                    "row": {
                        name: plain(value) for name, value in row.items() if said is not None or name not in hidden
                    },
                    "state": int(states[number]),
                    "triage": triage.grade if triage else "",
                    "grade": said.grade if said else "",
                    "class": said.class_ if said else "",
                    "comment": said.comment if said else "",
                }
            )
        return told

    def verdict(self, one: Round, number: int, grade: str, **said: Any) -> Verdict:
        """Make the verdict about an object of a round.

        Raises:
            ScannerError: ``hunt.bad_verdict``.
        """
        scheme = self.project.scheme
        stage = scheme.stage(grade)
        kind = said.get("class_", "")
        if not 0 <= number < len(one) or not stage or (kind and kind not in [each.name for each in scheme.classes]):
            message = f"Object {number} of round {one.number} cannot be graded {grade!r} {kind!r}."
            raise ScannerError(ErrorCode.HUNT_BAD_VERDICT, message, "Reload the page.")
        place = {name: one.place[name][number].item() for name in ("object_id", "ra", "dec")}
        return Verdict(
            inspector=self.inspector,
            round=one.number,
            tile=str(one.place["tile"][number]),
            model_sha256=one.record.model_sha256,
            stage=stage,
            grade=grade,
            **place,
            **said,
        )

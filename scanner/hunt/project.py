"""A project of a hunt: a folder that holds all that an inspector needs, so that it can be copied to another machine.

``project.json``       what the project is
``scheme.toml``        its grades, and pictures that explain them
``rounds/1``, ...      the lists of objects and their cutouts
``verdicts.sqlite``    the record of verdicts
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from catalogs.atomic import output_errors, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.sky import crossmatch
from catalogs.sky.geometry import SAME_OBJECT, close_pairs, separation
from catalogs.store.provenance import Info
from catalogs.store.tile_checks import describe_error
from scanner.hunt.round import Round, RoundRecord, make_round, refuse_links
from scanner.hunt.scheme import DEFAULT, Scheme, read_scheme
from scanner.hunt.verdicts import FILE as VERDICTS
from scanner.hunt.verdicts import Verdict, VerdictRecord

if TYPE_CHECKING:
    from astropy.table import Table

VERSION = 1
INSPECTED = ("triage", "grades")
"""Stages of inspectors; the others are those of a chair."""
# The order in which an export lists what was said of an object.
EXPORTED = (
    "mark", "object_id", "ra", "dec", "tile", "triage", "grade", "class", "comment", "inspector", "seconds", "time",
    "round", "place", "view", "stretch", "seed", "was_fake", "model_sha256",
)  # fmt: skip


@dataclass(frozen=True)
class ProjectRecord:
    """``project.json``."""

    version: int
    created: str


@dataclass(frozen=True)
class Standing:
    """What stands about one object: its latest ``triage`` and its latest ``grade`` (None: there is none)."""

    triage: Verdict | None = None
    grade: Verdict | None = None

    @property
    def latest(self) -> Verdict | None:
        """The grade, or else the triage."""
        return self.grade or self.triage


class Project:
    """A project in its folder. Any number of threads and processes may use it at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.record = read_record(load_json(folder / "project.json"), ProjectRecord)
            refuse_links(folder, ("project.json", "scheme.toml", "rounds", VERDICTS))
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = "Make one with: scanner hunt PROJECT --list CANDIDATES"
            raise ScannerError(ErrorCode.HUNT_MISSING, f"There is no project at {folder}.", hint) from error
        except (OSError, ValueError) as error:
            message = f"{folder / 'project.json'} cannot be read: {describe_error(error)}."
            raise ScannerError(ErrorCode.HUNT_DAMAGED, message, "Copy the project again.") from error
        self.scheme: Scheme = read_scheme(folder / "scheme.toml")
        self.verdicts = VerdictRecord(folder)
        self._rounds: dict[int, Round] = {}
        # By round, the number of the object at a position of a verdict (-1: none).
        self._matched: dict[int, dict[tuple[float, float], int]] = {}
        # By round, what stood when it was last asked for: the number of what had gone, of the verdicts, and the answer.
        self._standing: dict[int, tuple[int, int, list[Standing]]] = {}

    @classmethod
    def create(cls, folder: Path, scheme: Path | None = None) -> Self:
        """Make a project, or open the one that is there.

        Raises:
            ScannerError: ``hunt.bad_scheme``, ``hunt.damaged``, ``output.*``.
        """
        if not (folder / "project.json").exists():
            source = scheme or DEFAULT
            words = read_scheme(source)
            with output_errors(folder, creating=True):
                (folder / "rounds").mkdir(parents=True, exist_ok=True)
                for name in (one.picture for one in (*words.triage, *words.grades) if one.picture):
                    if (source.parent / name).is_file():
                        shutil.copyfile(source.parent / name, folder / name)
                shutil.copyfile(source, folder / "scheme.toml")
            # Last, since a folder with this file is a project.
            write_json(folder / "project.json", asdict(ProjectRecord(VERSION, _now())))
        return cls(folder)

    def rounds(self) -> list[int]:
        """List the numbers of the rounds."""
        return sorted(int(path.name) for path in (self.folder / "rounds").glob("[0-9]*") if path.name.isdigit())

    def round(self, number: int) -> Round:
        """Open a round.

        Raises:
            ScannerError: ``hunt.missing``, ``hunt.damaged``.
        """
        if number not in self._rounds:
            if number not in self.rounds():
                hint = f"Rounds: {', '.join(map(str, self.rounds())) or 'none yet'}."
                raise ScannerError(ErrorCode.HUNT_MISSING, f"The project has no round {number}.", hint)
            self._rounds[number] = self._open(number)
        return self._rounds[number]

    def _open(self, number: int) -> Round:
        folder = self.folder / "rounds" / str(number)
        try:
            refuse_links(folder.parent, [folder.name])
        except ValueError as error:
            message = f"The round {folder} cannot be read: {error}."
            raise ScannerError(ErrorCode.HUNT_DAMAGED, message, "Copy the project again.") from error
        return Round(folder)

    def add_round(
        self, objects: Table, title: str, source: str, info: Info, truth: str = "", painted: bool = False
    ) -> Round:
        """Add a list of objects of a catalogue with this ``info``; their cutouts are cut by ``Round.cut``.

        ``truth`` and ``painted`` are those of a ``RoundRecord``.

        Raises:
            ScannerError: ``hunt.bad_list``, ``output.*``.
        """
        contract = info.contract
        record = RoundRecord(
            title=title,
            source=source,
            bands=tuple(contract["bands"]),
            window=int(contract["window"]),
            pixel_scale=float(contract["pixel_scale"]),
            model_sha256=info.model_sha256,
            created=_now(),
            truth=truth,
            painted=painted,
        )
        number = max(self.rounds(), default=0) + 1
        return make_round(self.folder / "rounds" / str(number), objects, record)

    def standing(self, round_: Round) -> list[Standing]:
        """Say what stands about each object of a round, by position: another round or catalogue may have judged it."""
        listed, gone = self.verdicts.growing()
        before, read, answer = self._standing.get(round_.number, (gone, 0, []))
        # Every view of the page asks, and few verdicts are new each time.
        if before != gone or not answer:
            read, answer = 0, [Standing()] * len(round_)
        answer = list(answer)
        painted = round_.record.painted
        verdicts = [one for one in listed[read:] if one.stage in INSPECTED and one.was_fake == painted]
        # Most verdicts are about positions that were matched before.
        matched = self._matched.setdefault(round_.number, {})
        if fresh := [one for one in {(each.ra, each.dec) for each in verdicts} if one not in matched]:
            ra, dec = np.array(fresh).T
            found = crossmatch.nearest(ra, dec, round_.place["ra"], round_.place["dec"], SAME_OBJECT)
            matched.update(zip(fresh, found.index.tolist(), strict=True))
        # Oldest first: a later verdict takes the place of an earlier one.
        for verdict in verdicts:
            number = matched[verdict.ra, verdict.dec]
            if number >= 0:
                kept = answer[number]
                both = (verdict, kept.grade) if verdict.stage == "triage" else (kept.triage, verdict)
                answer[number] = Standing(*both)
        self._standing[round_.number] = gone, len(listed), answer
        # Whoever asks may change the list.
        return list(answer)

    def verdict_table(self) -> Table:
        """Make the table of all objects that were judged, a row each, with the ``mark`` that ``rank --feedback`` reads.

        A grade counts more than a triage, and a later verdict more than an earlier one. What was painted is no object
        of the sky, and has no mark.
        """
        from astropy.table import Table

        verdicts = self._triage_and_grades()
        # The position of a painted lens is that of an object of the sky, about which it says nothing.
        kinds_of_pixels = ([one for one in verdicts if one.was_fake == fake] for fake in (False, True))
        rows = []
        for group in (group for some in kinds_of_pixels for group in _same_places(some)):
            triage = next((one for one in reversed(group) if one.stage == "triage"), None)
            grade = next((one for one in reversed(group) if one.stage == "grades"), None)
            latest = grade or triage
            assert latest is not None
            facts = {**vars(latest), "class": latest.class_, "mark": self.scheme.mark(latest.grade)}
            facts["mark"] = "" if latest.was_fake else facts["mark"]
            facts |= {"triage": triage.grade if triage else "", "grade": grade.grade if grade else ""}
            facts["seconds"] = np.nan if latest.seconds is None else latest.seconds
            rows.append([facts[name] for name in EXPORTED])
        kinds = {"object_id": np.int64, "ra": float, "dec": float, "seconds": float, "round": int, "place": int}
        kinds |= {"seed": np.int64, "was_fake": bool}
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(EXPORTED)
        table = Table(
            {name: np.array(values, kinds.get(name, str)) for name, values in zip(EXPORTED, columns, strict=True)}
        )
        table["ra"].unit = table["dec"].unit = "deg"
        return table

    def _triage_and_grades(self) -> list[Verdict]:
        """The standing verdicts of inspectors; a final grade is that of a chair, about what they said."""
        return [one for one in self.verdicts.standing() if one.stage in INSPECTED]

    def notices(self, info: Info, now: Table) -> list[str]:
        """Say what an inspector should know: verdicts that are of another catalogue than that of this ``info``.

        ``now`` has the objects of the catalogue whose ids are in the record, with their ``object_id``, ``ra``, ``dec``.
        """
        # Those about painted pixels are about no object of the catalogue.
        verdicts = [one for one in self.verdicts.standing() if not one.was_fake]
        others = sum(one.model_sha256 != info.model_sha256 for one in verdicts)
        said = [f"{others} verdicts were given with another model; they are kept by position."] if others else []
        same = [one for one in verdicts if one.model_sha256 == info.model_sha256]
        places = {int(row["object_id"]): (float(row["ra"]), float(row["dec"])) for row in now}
        here = np.array([places.get(one.object_id, (np.nan, np.nan)) for one in same]).reshape(-1, 2)
        there = np.array([(one.ra, one.dec) for one in same]).reshape(-1, 2)
        # A tile that is scanned again numbers its objects anew. What is not a number is not near.
        away = int((~(separation(*here.T, *there.T) <= SAME_OBJECT)).sum())
        if away:
            said.append(
                f"{away} verdicts are about objects that have another number in the catalogue now, or are not in it: "
                "their tiles were scanned again. They are kept by position."
            )
        return said


def _same_places(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Group verdicts by the object that they are about: positions within one arcsec of each other, the nearest first.

    Two objects of one list are two, however near they are.
    """
    if not verdicts:
        return []
    # The same object has the same position in nearly all verdicts, so few distinct positions are left to compare.
    where = {place: number for number, place in enumerate(sorted({(one.ra, one.dec) for one in verdicts}))}
    places = np.array(list(where))
    group = list(range(len(places)))
    members = {number: [number] for number in group}
    # By group, the objects that it holds of each list.
    listed: list[dict[int, set[int]]] = [{} for _ in group]
    for verdict in verdicts:
        listed[where[verdict.ra, verdict.dec]].setdefault(verdict.round, set()).add(verdict.object_id)
    pairs = np.array(close_pairs(places[:, 0], places[:, 1], SAME_OBJECT), np.int64).reshape(-1, 2)
    away = separation(*places[pairs[:, 0]].T, *places[pairs[:, 1]].T)
    for one, other in pairs[np.argsort(away, kind="stable")].tolist():
        kept, joined = sorted((group[one], group[other]))
        lists = listed[kept].keys() & listed[joined].keys()
        if kept != joined and all(listed[kept][number] == listed[joined][number] for number in lists):
            for place in members[joined]:
                group[place] = kept
            members[kept] += members.pop(joined)
            listed[kept] = {**listed[joined], **listed[kept]}
    found: dict[int, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(group[where[verdict.ra, verdict.dec]], []).append(verdict)
    return list(found.values())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

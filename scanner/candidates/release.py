"""A release: the verdicts of a project as a folder that a referee, a journal and the CDS take.

``ReadMe``, ``*.dat``                    the tables as the CDS takes them
``candidates``, ``inspected``, ``verdicts``   the same as VOTable (``.vot``) and FITS, with units and UCDs
``mosaics/``                             the candidates of each grade, as PNG and PDF
``cutouts/``                             each candidate in colour, and as FITS with a WCS
``lenscat.csv``, ``sled.json``           rows for the lists that others keep
``provenance.json``                      what all this was made from, and the digest of each file
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.atomic import check_name, output_errors, write_json, write_text
from catalogs.digest import file_sha256
from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import render
from catalogs.sky.names import check_acronym
from catalogs.store.provenance import Info, software
from scanner.candidates import cds, contributions, pictures
from scanner.candidates.cds import Paper
from scanner.candidates.inspected_objects import InspectedObject, MissingGrades, blind, list_objects, ungraded
from scanner.candidates.tables import ReleaseTables, make_tables
from scanner.candidates.team import describe_team, in_sentences
from scanner.hunt.project import Project
from scanner.hunt.verdicts import Verdict
from scanner.inspection.plan import DUD, has_plan
from scanner.inspection.progress import Missing, missing_grades, open_ledger, still_blind
from scanner.inspection.record import FINAL
from scanner.windows.by_position import WindowReader

if TYPE_CHECKING:
    from astropy.table import Table

log = logging.getLogger(__name__)

KEPT = "kept"
PROVENANCE = "provenance.json"
_ABOUT = {
    "candidates": "Candidates, the best first",
    "inspected": "Every inspected object, with all its grades",
    "verdicts": "Every verdict: the latest of each inspector on each object",
}
_NAMED = 5  # objects that a message names


@dataclass(frozen=True)
class ReleaseOptions:
    """What to release, and what to call it.

    ``grades`` are those of candidates (empty: those of the scheme that count as kept). ``confident`` are the grades
    that lenscat calls so (empty: the first of the candidates'). Inspectors are numbered unless they are to be named.
    ``reference`` is that of the paper.
    """

    acronym: str
    paper: Paper
    grades: tuple[str, ...] = ()
    confident: tuple[str, ...] = ()
    name_inspectors: bool = False
    reference: str = ""
    sources: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class ReleaseReport:
    """What was released: the numbers of candidates by grade, of inspected objects, and of candidates without pixels.

    ``tests`` is the number of candidates of known truth, which lenscat and SLED are not offered.
    """

    path: Path
    candidates: Mapping[str, int]
    inspected: int
    without_pixels: int
    without_cutout: int
    tests: int


def release(
    project: Project,
    out: Path,
    options: ReleaseOptions,
    *,
    info: Info | None = None,
    reader: WindowReader | None = None,
    known: Table | None = None,
    extra: Table | None = None,
) -> ReleaseReport:
    """Write a release to the folder ``out``, which appears when it is complete.

    ``info`` is the catalogue's. ``reader`` reads the tiles; without it there are no cutouts as FITS. ``known`` are
    known lenses, and ``extra`` columns that are added by position.

    Raises:
        ScannerError: ``release.*``, ``hunt.*``, ``output.*``.
    """
    check_acronym(options.acronym)
    cds.check_installed()
    check_name(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        hint = "Give another folder, or remove this one."
        raise ScannerError(ErrorCode.RELEASE_EXISTS, f"{out} exists and is not an empty folder.", hint)
    objects = list_objects(project)
    check_complete(project, objects)
    grades = options.grades or tuple(one.name for one in project.scheme.grades if one.mark == KEPT)
    named = [one.name for one in project.scheme.grades if one.value is not None]
    if unknown := (set(grades) | set(options.confident)) - set(named):
        message = f"{', '.join(sorted(unknown))} is no grade of the project with a value."
        raise ScannerError(ErrorCode.RELEASE_BAD_OPTION, message, f"The scheme has {', '.join(named)}.")
    models = {project.round(number).record.model_sha256 for number in project.rounds()}
    if info is not None and models and info.model_sha256 not in models:
        message = f"The catalogue is of the model {info.model_sha256[:12]}..., and no list of the project is."
        raise ScannerError(ErrorCode.RELEASE_BAD_OPTION, message, "Give the catalogue that the candidates are from.")
    real = [one for one in objects if not one.is_fake]
    inspectors = name_inspectors(objects, options.name_inspectors)
    chairs = name_chairs(objects, options.name_inspectors)
    tables = make_tables(
        project, real, grades, inspectors, acronym=options.acronym, chairs=chairs, known=known, extra=extra
    )
    if not len(tables.candidates):
        message = f"None of {len(real)} inspected objects has the grade {' or '.join(grades)}."
        raise ScannerError(ErrorCode.RELEASE_NOTHING, message, "Release other grades with --grade.")
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    with output_errors(out, creating=True):
        temporary.mkdir(parents=True)
        try:
            uncut, without = _write(
                temporary, project, objects, real, tables, grades, inspectors, options, info, reader
            )
            if out.exists():
                out.rmdir()
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    counted = Counter(tables.candidates["grade"].tolist())
    by_grade = {grade: counted[grade] for grade in grades}
    return ReleaseReport(out, by_grade, len(tables.inspected), without, uncut, _count_tests(tables))


def check_complete(project: Project, objects: Sequence[InspectedObject]) -> None:
    """Refuse a project that is not graded to its end.

    Raises:
        ScannerError: ``release.no_verdicts``, ``release.ungraded``, ``release.blind``.
    """
    if not any(one.triage or one.grades for one in objects):
        hint = "Inspect it first: scanner serve --project PROJECT"
        raise ScannerError(ErrorCode.RELEASE_NO_VERDICTS, f"Nobody has judged an object of {project.folder}.", hint)
    if has_plan(project.folder):
        _check_plan(project)
        return
    owed = ungraded(project, list(objects))
    if lacking := [one for one in owed if not one.object.grades]:
        unseen = sum(not one.inspectors for one in lacking)
        message = (
            f"{len(lacking)} of {len(objects)} objects of {project.folder} lack a grade: {unseen} that nobody judged, "
            f"{len(lacking) - unseen} that were put forward. {_places(lacking)}"
        )
        raise ScannerError(ErrorCode.RELEASE_UNGRADED, message, "Judge the objects, then release.")
    if owed:
        names = blind(owed)
        message = (
            f"{', '.join(names)} still owe grades of {len(owed)} objects, and must not see the others' until then."
        )
        raise ScannerError(ErrorCode.RELEASE_BLIND, f"{message} {_places(owed)}", "Wait for their grades.")


def _check_plan(project: Project) -> None:
    """Refuse a team whose plan is not fulfilled: first while somebody would see the others' grades too early."""
    if blind := still_blind(project):
        owed = ", ".join(f"{name} ({count})" for name, count in blind.items())
        message = f"Inspectors of {project.folder} still owe grades, and must not see the others' until then: {owed}."
        raise ScannerError(ErrorCode.RELEASE_BLIND, message, "Wait for their grades: scanner inspect status")
    if missing := missing_grades(project):
        message = f"{len(missing)} objects of the plan of {project.folder} lack grades. {_places(missing)}"
        raise ScannerError(ErrorCode.RELEASE_UNGRADED, message, "Deal them to more inspectors: scanner inspect plan")
    # Of two chairs on two copies neither has the last word.
    if contradicted := [one.first for one in open_ledger(project).conflicts() if one.first.stage == FINAL]:
        message = f"{len(contradicted)} final grades of {project.folder} contradict each other. {_places(contradicted)}"
        raise ScannerError(ErrorCode.RELEASE_UNGRADED, message, "Give these objects a final grade again.")


def _places(owed: Sequence[MissingGrades | Missing | Verdict]) -> str:
    named = [one.object if isinstance(one, MissingGrades) else one for one in owed[:_NAMED]]
    places = "; ".join(f"{one.ra:.5f} {one.dec:+.5f}" for one in named)
    return f"They are at {places}{' and others' if len(owed) > _NAMED else ''}."


def name_inspectors(objects: Sequence[InspectedObject], by_name: bool) -> dict[str, str]:
    """Give each inspector what the tables say: the name, or a number, in the order of names."""
    names = sorted({name for one in objects for name in (*one.triage, *one.grades)})
    return {name: name if by_name else str(number) for number, name in enumerate(names, 1)}


def name_chairs(objects: Sequence[InspectedObject], by_name: bool) -> dict[str, str]:
    """Give each chair who had the last word what the tables say: the name, or "chair", with a number among several."""
    names = sorted({one.final.inspector for one in objects if one.final})
    numbers = [""] if len(names) == 1 else [f" {number}" for number in range(1, len(names) + 1)]
    return {name: name if by_name else f"chair{number}" for name, number in zip(names, numbers, strict=True)}


def _write(
    folder: Path,
    project: Project,
    objects: Sequence[InspectedObject],
    real: Sequence[InspectedObject],
    tables: ReleaseTables,
    grades: Sequence[str],
    inspectors: Mapping[str, str],
    options: ReleaseOptions,
    info: Info | None,
    reader: WindowReader | None,
) -> tuple[int, int]:
    """Write all files of a release; returns how many candidates have no cutout as FITS, and how many no pixels."""
    # These may be refused, so they come before what takes long.
    best = max(one.value for one in project.scheme.grades if one.value is not None)
    confident = options.confident or grades[:1]
    write_text(folder / "lenscat.csv", contributions.lenscat_rows(tables.offered, confident, options.reference or "-"))
    told = f"Grade by eye, mean of {len(inspectors)} inspector(s). {options.reference}".strip()
    write_json(folder / "sled.json", contributions.sled_rows(tables.offered, best, told))

    named = {"candidates": tables.candidates, "inspected": tables.inspected, "verdicts": tables.verdicts}
    for name, table in named.items():
        (folder / f"{name}.fits").write_bytes(_bytes(render(table, "fits")))
        (folder / f"{name}.vot").write_bytes(_bytes(render(table, "votable")))
    about = {name: (table, _ABOUT[name]) for name, table in named.items()}
    tests = _count_tests(tables)
    cds.write_cds(folder, about, options.paper, describe(project, real, grades, inspectors, info, tests))

    # Pictures, in the order of the candidates.
    by_name = {(one.ra, one.dec): one for one in real}
    chosen = [by_name[float(row["ra"]), float(row["dec"])] for row in tables.candidates]
    windows = pictures.read_windows(project, chosen, reader)
    pictures.draw_mosaics(folder / "mosaics", tables.candidates, windows, grades)
    uncut = 0
    (folder / "cutouts").mkdir()
    for row, window in zip(tables.candidates, windows, strict=True):
        path = folder / "cutouts" / contributions.file_name(str(row["name"]))
        if window is not None:
            pictures.write_picture(path.with_name(f"{path.name}.png"), *window)
        if reader is not None:
            size = reader.frame.window * reader.frame.pixel_scale
            try:
                written = pictures.write_cutout(path.with_name(f"{path.name}.fits"), row, reader, size)
            except ScannerError as error:
                log.warning("%s has no cutout: %s [%s]", row["name"], error.message, error.code)
                written = False
            uncut += not written

    facts = provenance(project, objects, grades, inspectors, options, info)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts["files"] = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_json(folder / PROVENANCE, facts)
    return uncut, sum(one is None for one in windows)


def _count_tests(tables: ReleaseTables) -> int:
    return len(tables.candidates) - len(tables.offered)


def describe(
    project: Project,
    objects: Sequence[InspectedObject],
    grades: Sequence[str],
    inspectors: Mapping[str, str],
    info: Info | None,
    tests: int = 0,
) -> str:
    """Say in sentences what the tables hold, for the ReadMe; ``tests`` of the candidates are of known truth."""
    scheme = ", ".join(f"{one.name} = {one.value:g}" for one in project.scheme.grades if one.value is not None)
    models = sorted({digest for one in objects for digest in one.models})
    survey = f"the survey {info.survey}" if info else "a survey"
    people = f"{len(inspectors)} inspector{'s' if len(inspectors) > 1 else ''}"
    team = describe_team(project)
    how = "An object that a triage put forward was graded. " if team is None else in_sentences(team)
    final = "where a chair gave a final grade, it is that. " if any(one.final for one in objects) else ""
    duds = sum(one.truth == DUD for one in objects)
    known = f"{duds} of the objects were known not to be lenses, and are no candidates. " if duds else ""
    if tests:
        known += (
            f"{tests} of the candidates were given to the inspectors as a test, or lie within 3 arcsec of such an "
            f"object: lenscat.csv and sled.json, which offer new candidates, leave them out. "
        )
    return (
        f"{len(objects)} objects of {survey} were inspected by {people}, with the grades {scheme}. {how}"
        f"The grade of an object is the one whose value is nearest to the mean of all; of two that are equally near, "
        f"the lower{'; ' + final if final else '. '}Candidates are the objects of "
        f"grade {', '.join(grades)}; of objects within 3 arcsec, which are pieces of one system, the best. {known}"
        f"Positions are of the detection in the survey's images. Names are truncated positions. "
        f"Objects were selected from a catalogue by the model(s) with SHA-256 {', '.join(models)}. "
        f"Made by {software()}; the file {PROVENANCE} has the whole selection."
    )


def provenance(
    project: Project,
    objects: Sequence[InspectedObject],
    grades: Sequence[str],
    inspectors: Mapping[str, str],
    options: ReleaseOptions,
    info: Info | None,
) -> dict[str, Any]:
    """Collect what a release was made from: catalogue, models, selection, people, dates and software."""
    verdicts = [
        v for one in objects for v in (*one.triage.values(), *one.grades.values(), *([one.final] if one.final else []))
    ]
    times = sorted(one.time for one in verdicts)
    fakes, team = [one for one in objects if one.is_fake], describe_team(project)
    tests = {"fakes": {"inspected": len(fakes), "put_forward": sum(one.is_put_forward(project) for one in fakes)}}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": software(),
        "acronym": options.acronym,
        "paper": asdict(options.paper),
        "catalogue": None if info is None else {
            "survey": info.survey, "bands": list(info.bands), "model": info.model, "model_sha256": info.model_sha256,
            "software": info.software, "created": info.created, "runtime": info.runtime, "precision": info.precision,
        },
        "selection": [
            {
                "round": number, "title": one.record.title, "source": one.record.source, "objects": len(one),
                "model_sha256": one.record.model_sha256, "created": one.record.created,
                "cutouts": {"bands": list(one.record.bands), "window": one.record.window,
                            "pixel_scale_arcsec": one.record.pixel_scale},
            }
            for number in project.rounds() for one in [project.round(number)] if not one.record.truth
        ],
        "scheme": {
            "name": project.scheme.name, "sha256": file_sha256(project.folder / "scheme.toml"),
            "values": {one.name: one.value for one in project.scheme.grades}, "released": list(grades),
        },
        "inspectors": list(inspectors.values()),
        "verdicts": {"count": len(verdicts), "first": times[0], "last": times[-1]},
        # Those of a team are in lists of their own.
        **(tests if team is None else {"team": team}),
        "inputs": {
            name: {"file": path.name, "sha256": file_sha256(path)} for name, path in options.sources.items()
        },
    }  # fmt: skip


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content

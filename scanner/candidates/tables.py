"""The tables of a release: its candidates, every inspected object with all its grades, and every verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.sky import crossmatch
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT, separation
from catalogs.sky.names import iau_name
from scanner.candidates import columns
from scanner.candidates.columns import ReleaseColumn, add
from scanner.candidates.inspected_objects import InspectedObject, grade_of, near_tests
from scanner.hunt.project import Project
from scanner.inspection.plan import DUD

if TYPE_CHECKING:
    from astropy.table import Table

NONE = "-"
"""Stands for a grade that an inspector did not give."""


@dataclass(frozen=True)
class ReleaseTables:
    """``candidates`` are rows of ``inspected``, the best first; ``verdicts`` has a row for each latest verdict.

    Objects within 3 arcsec are pieces of one system, which is one candidate: the piece of the best mean grade, and of
    equal ones the brightest. ``system`` names it in the rows of all pieces. A known dud is no candidate, however well
    it was graded. ``offered`` are the candidates to offer to others as new: without systems of known truth, which
    tested the inspectors.
    """

    candidates: Table
    inspected: Table
    verdicts: Table
    offered: Table


def make_tables(
    project: Project,
    objects: Sequence[InspectedObject],
    chosen: Sequence[str],
    inspectors: Mapping[str, str],
    *,
    acronym: str,
    chairs: Mapping[str, str],
    known: Table | None = None,
    extra: Table | None = None,
) -> ReleaseTables:
    """Make the tables of inspected objects.

    ``chosen`` are the grades of candidates. ``inspectors`` and ``chairs`` give for each name what the tables call it.
    ``known`` has ``ra``, ``dec`` (degrees) and ``name``. ``extra`` has ``ra`` and ``dec``, and columns that are added
    by position.
    """
    order = sorted(objects, key=lambda one: (one.ra, one.dec))
    names = {id(one): iau_name(one.ra, one.dec, acronym) for one in order}
    inspected = _inspected_table(project, order, [names[id(one)] for one in order], inspectors, known)
    if extra is not None:
        own = {name for number in project.rounds() for name in project.round(number).objects.column_names}
        _add_extra(inspected, extra, own | columns.ANSWER)
    is_dud = np.array([one.truth == DUD for one in order], bool)
    rows = np.flatnonzero(np.isin(inspected["grade"], list(chosen)) & ~is_dud)
    # A list may lack magnitudes.
    light = inspected["mag_auto"] if "mag_auto" in inspected.colnames else np.zeros(len(inspected))
    best = rows[np.lexsort((inspected["ra"][rows], light[rows], -inspected["grade_mean"][rows]))]
    system, firsts = _systems(inspected, best)
    place = inspected.colnames.index("grade")
    inspected.add_column(system, index=place)
    candidates, verdicts = inspected[firsts], _verdict_table(project, order, names, {**inspectors, **chairs})
    offered = candidates[~near_tests(project, candidates["ra"], candidates["dec"])]
    return ReleaseTables(candidates, inspected, verdicts, offered)


def _systems(inspected: Table, best: NDArray[np.int64]) -> tuple[Any, list[int]]:
    """Name the system of each row, "" for none; and list the rows of the candidates, in the order of ``best``."""
    from astropy.table import Table

    ra, dec = np.asarray(inspected["ra"]), np.asarray(inspected["dec"])
    system: list[str] = [""] * len(inspected)
    firsts: list[int] = []
    for row in best.tolist():
        if system[row]:
            continue
        firsts.append(row)
        near = np.flatnonzero(separation(ra[row], dec[row], ra, dec) <= ONE_SYSTEM)
        for piece in near.tolist():
            system[piece] = system[piece] or str(inspected["name"][row])
    made = Table()
    add(made, columns.SYSTEM, np.array(system, str))
    return made[columns.SYSTEM.name], firsts


def _inspected_table(
    project: Project,
    objects: Sequence[InspectedObject],
    names: Sequence[str],
    inspectors: Mapping[str, str],
    known: Table | None,
) -> Table:
    from astropy.table import Table

    grades = project.scheme.grades
    values = {one.name: one.value for one in grades if one.value is not None}
    given = [[values[v.grade] for v in one.grades.values() if v.grade in values] for one in objects]
    means = [one.mean(project) for one in objects]
    errors = [np.std(some, ddof=1) / np.sqrt(len(some)) if len(some) > 1 else np.nan for some in given]
    ra, dec = np.array([one.ra for one in objects]), np.array([one.dec for one in objects])
    table = Table()
    add(table, columns.NAME, np.array(names, str))
    add(table, columns.RA, ra)
    add(table, columns.DEC, dec)
    # The chair of a team has the last word.
    named = [one.final.grade if one.final else grade_of(mean, grades) for one, mean in zip(objects, means, strict=True)]
    add(table, columns.GRADE, np.array(named, str))
    finals = [one.final.grade if one.final else "" for one in objects]
    if any(finals):
        add(table, columns.FINAL, np.array(finals, str))
    add(table, columns.MEAN, np.array(means, float))
    add(table, columns.ERROR, np.array(errors, float))
    add(table, columns.COUNT, np.array([len(one.grades) for one in objects], np.int32))
    add(table, columns.GRADES, np.array([_said(one.grades, inspectors) for one in objects], str))
    # A team has no triage, and a project of one person no objects of known truth.
    triage, truths = [_said(one.triage, inspectors) for one in objects], [one.truth for one in objects]
    if any(triage):
        add(table, columns.TRIAGE, np.array(triage, str))
    if any(truths):
        add(table, columns.TRUTH, np.array(truths, str))
    kinds = [" ".join(sorted({v.class_ for v in one.grades.values() if v.class_})) for one in objects]
    add(table, columns.CLASSES, np.array(kinds, str))
    if known is not None:
        add(table, columns.KNOWN, np.array(name_known(ra, dec, known), str))
    add(table, columns.OBJECT, np.array([one.object_id for one in objects], np.int64))
    add(table, columns.TILE, np.array([one.tile for one in objects], str))
    for column, numbers in _photometry(project, objects):
        add(table, column, numbers)
    return table


def name_known(ra: NDArray[np.float64], dec: NDArray[np.float64], known: Table) -> list[str]:
    """Name the known lens within 3 arcsec of each position [N] in degrees, "" where there is none."""
    found = crossmatch.nearest(ra, dec, known["ra"], known["dec"], ONE_SYSTEM)
    return [str(known["name"][one]).split(" | ")[0] if one >= 0 else "" for one in found.index.tolist()]


def _said(verdicts: Mapping[str, Any], inspectors: Mapping[str, str]) -> str:
    words = [verdicts[name].grade if name in verdicts else NONE for name in inspectors]
    return "" if set(words) == {NONE} else " ".join(words)


def _photometry(project: Project, objects: Sequence[InspectedObject]) -> list[tuple[ReleaseColumn, NDArray[Any]]]:
    """The columns of the catalogue that a release repeats, NaN where an object's round lacks one.

    Magnitudes have their errors beside them, 2.5 / ln 10 times that of the flux.
    """
    rounds = {number: project.round(number) for number in project.rounds()}
    there = {number: set(one.objects.column_names) for number, one in rounds.items()}

    def read(name: str) -> NDArray[Any]:
        having = {number: one.objects.column(name) for number, one in rounds.items() if name in there[number]}
        is_text = any(pa.types.is_string(one.type) for one in having.values())
        missing: object = "" if is_text else np.nan
        places = [one.place if one.place is not None and one.place[0] in having else None for one in objects]
        values = [missing if at is None else having[at[0]][at[1]].as_py() for at in places]
        return np.array(values, str if is_text else np.float32)

    described: dict[str, ReleaseColumn] = {}
    bands: dict[str, Sequence[str]] = {}
    for one in rounds.values():
        for name in one.objects.column_names:
            if (column := columns.of_catalogue(name, one.record.bands)) is not None:
                described.setdefault(name, column)
                bands.setdefault(name, one.record.bands)
    every, found = set().union(*there.values()), []
    for name, column in described.items():
        found.append((column, read(name)))
        band = name.removeprefix("mag_")
        if name.startswith("mag_") and {f"flux_{band}", f"fluxerr_{band}"} <= every:
            flux, error = read(f"flux_{band}"), read(f"fluxerr_{band}")
            relative = np.divide(error, flux, out=np.full_like(flux, np.nan), where=flux > 0)
            found.append((columns.magnitude_error(name, bands[name]), np.float32(2.5 / np.log(10)) * relative))
    return found


def _add_extra(inspected: Table, extra: Table, own: AbstractSet[str]) -> None:
    """Add the columns of a table by position, but those of a list's ``own``.

    A row without a counterpart has NaN, or no text.
    """
    found = crossmatch.nearest(inspected["ra"], inspected["dec"], extra["ra"], extra["dec"], SAME_OBJECT)
    for name in extra.colnames:
        if name in inspected.colnames or name in own or extra[name].ndim != 1:
            continue
        values = np.asarray(extra[name])
        numeric = values.dtype.kind in "iufb"
        taken = values[np.maximum(found.index, 0)].astype(float if numeric else str)
        unit = str(extra[name].unit or "")
        about = extra[name].description or f"{name}, as it was added by position"
        digits = max((_digits(one) for one in values.tolist() if numeric and np.isfinite(one)), default=1)
        form = f"E{digits + 7}.{digits}" if numeric else ""
        column = ReleaseColumn(name, unit, extra[name].meta.get("ucd", ""), about, form)
        add(inspected, column, np.where(found.matched, taken, np.nan if numeric else ""))


def _digits(value: float) -> int:
    """Count the significant digits that give a number back."""
    return len(Decimal(repr(float(value))).normalize().as_tuple().digits)


def _verdict_table(
    project: Project, objects: Sequence[InspectedObject], names: Mapping[int, str], inspectors: Mapping[str, str]
) -> Table:
    from astropy.table import Table

    values = {one.name: one.value for one in project.scheme.grades if one.value is not None}
    rows = [
        (names[id(one)], inspectors[v.inspector], v.stage, v.grade, values.get(v.grade, np.nan), v.class_, v.time)
        for one in objects
        for verdicts in (one.triage.values(), one.grades.values(), [one.final] if one.final else [])
        for v in sorted(verdicts, key=lambda v: list(inspectors).index(v.inspector))
    ]
    described = (
        columns.NAME, columns.INSPECTOR, columns.STAGE, columns.VERDICT, columns.VALUE, columns.CLASS, columns.TIME
    )  # fmt: skip
    table = Table()
    for column, cells in zip(described, zip(*rows, strict=True), strict=True):
        add(table, column, np.array(cells, float if column.format else str))
    return table

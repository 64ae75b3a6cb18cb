"""Tables of a consensus: objects by disagreement, inspectors with their skills, a summary, and rejected objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Share
from scanner.hunt.project import Project
from scanner.inspection import PARTS as NAMES
from scanner.inspection.alpha import METRICS
from scanner.inspection.consensus import Consensus
from scanner.inspection.eye import measure_eye
from scanner.inspection.plan import has_plan

if TYPE_CHECKING:
    from astropy.table import Table

KEPT, REJECTED = "kept", "rejected"


def object_table(consensus: Consensus) -> Table:
    """Make the table of all objects with a grade, the most disputed first: a column ``grade_NAME`` for each person.

    ``g`` is the mean grade and ``g_error`` its standard error, ``spread`` the standard deviation, ``p_lens`` the
    posterior of SWAP, ``grade`` the final grade or else that of the mean.
    """
    plan, people = consensus.plan, consensus.people
    chosen = [one for one in consensus.by_disagreement().tolist() if consensus.count[one] or consensus.final[one]]
    rows = [_about(consensus, index) for index in chosen]
    for row, index in zip(rows, chosen, strict=True):
        said = zip(people, consensus.verdicts[index], strict=True)
        row |= {f"grade_{name}": one.grade if one else "" for name, one in said}
        row |= {"truth": str(plan.truth[index]), "painted": bool(plan.painted[index])}
    kinds = {**_KINDS, **{f"grade_{name}": str for name in people}, "truth": str, "painted": bool}
    return _table(rows, kinds)


_KINDS: dict[str, type] = {
    "object_id": np.int64, "ra": float, "dec": float, "tile": str, "round": int, "grades": int, "g": float,
    "g_error": float, "spread": float, "p_lens": float, "grade": str, "final": str, "class": str, "conflict": bool,
    "mark": str, "comment": str,
}  # fmt: skip


def _about(consensus: Consensus, index: int) -> dict[str, Any]:
    plan = consensus.plan
    round_, number = plan.place(index)
    final, grade = consensus.final[index], consensus.grade(index)
    said = [*(one for one in consensus.verdicts[index] if one), *([final] if final else [])]
    # What was painted is no object of the sky, and a grade that is known to be wrong teaches a ranking nothing.
    mark = consensus.scheme.mark(grade)
    is_wrong = (mark == KEPT and plan.is_dud[index]) or (mark == REJECTED and plan.is_lens[index])
    mark = "" if plan.painted[index] or is_wrong else mark
    return {
        "object_id": int(plan.object_id[index]),
        "ra": float(plan.ra[index]),
        "dec": float(plan.dec[index]),
        "tile": str(round_.place["tile"][number]),
        "round": round_.number,
        "grades": int(consensus.count[index]),
        "g": float(consensus.mean[index]),
        "g_error": float(consensus.error[index]),
        "spread": float(consensus.spread[index]),
        "p_lens": float(consensus.posterior[index]),
        "grade": grade,
        "final": final.grade if final else "",
        "class": consensus.kind(index),
        "conflict": any(one.index == index for one in consensus.conflicts),
        "mark": mark,
        "comment": "; ".join(one.comment for one in said if one.comment),
    }


def inspector_table(consensus: Consensus) -> Table:
    """Make the table of inspectors: how many lenses and duds each judged, and the skill that follows.

    ``offset`` is the mean by which a person grades higher than the mean of the others of the same objects.
    """
    rows = []
    listed = consensus.values[consensus.plan.is_listed]
    for who, (name, skill) in enumerate(zip(consensus.people, consensus.skills, strict=True)):
        others = np.delete(listed, who, axis=1)
        both = np.isfinite(listed[:, who]) & np.isfinite(others).any(axis=1)
        offset = np.nan
        if both.any():
            offset = float((listed[both, who] - np.nanmean(others[both], axis=1)).mean())
        rows.append(
            {
                "inspector": name,
                "graded": int(np.isfinite(consensus.values[:, who]).sum()),
                "offset": offset,
                "lenses": skill.lenses,
                "right_lenses": skill.right_lenses,
                "p_lens": skill.p_lens,
                "duds": skill.duds,
                "right_duds": skill.right_duds,
                "p_dud": skill.p_dud,
                "information": skill.information,
            }
        )
    kinds: dict[str, type] = {"inspector": str, "graded": int, "offset": float, "lenses": int, "right_lenses": int}
    kinds |= {"p_lens": float, "duds": int, "right_duds": int, "p_dud": float, "information": float}
    table = _table(rows, kinds)
    table["information"].unit = "bit"
    return table


def summary_table(consensus: Consensus) -> Table:
    """Make the table of numbers of the whole team, with 95 % intervals where there are: alpha and objects by grade."""
    rows: list[dict[str, Any]] = []

    def add(name: str, value: float, low: float = np.nan, high: float = np.nan) -> None:
        rows.append({"quantity": name, "value": float(value), "low": float(low), "high": float(high)})

    listed = consensus.plan.is_listed
    add("objects", listed.sum())
    add("inspectors", len(consensus.people))
    add("grades", np.isfinite(consensus.values[listed]).sum())
    add("conflicts", len(consensus.conflicts))
    for metric in METRICS:
        alpha = consensus.alpha(metric)
        add(f"alpha, {metric}", alpha.value, alpha.low, alpha.high)
    for grade in consensus.scheme.grades:
        add(f"grade {grade.name}", len(consensus.by_grade(grade.name)))
    return _table(rows, {"quantity": str, "value": float, "low": float, "high": float})


def verdicts_of(project: Project) -> Table:
    """Make the table of what was judged, with the ``mark`` that ``rank --feedback`` reads.

    That of a team is its consensus: a row for each listed object with a grade. That of one person is its verdicts.

    Raises:
        ScannerError: ``inspect.damaged``, ``hunt.*``.
    """
    if not has_plan(project.folder):
        return project.verdict_table()
    table = object_table(Consensus.of(project))
    # Duds and known lenses were chosen for what they are, so they say nothing about what the search finds.
    return table[np.array(_listed(project, table), bool)]


def _listed(project: Project, table: Table) -> list[bool]:
    searched = {number for number in project.rounds() if not project.round(number).record.truth}
    return [number in searched for number in table["round"].tolist()]


def negative_table(project: Project) -> Table:
    """Make the table of hard negatives: objects that were graded and rejected, by their kind, for training cutouts.

    Raises:
        ScannerError: ``inspect.damaged``, ``inspect.no_truth`` where nothing was rejected, ``hunt.*``.
    """
    table = verdicts_of(project)
    # What a triage passed over in a mosaic was hardly looked at, and is no hard negative.
    rejected = [row for row in table if row["mark"] == REJECTED and row["grade"]]
    if not rejected:
        hint = "Grade more objects first."
        raise ScannerError(ErrorCode.INSPECT_NO_TRUTH, f"No graded object of {project.folder} is rejected.", hint)
    rows = [
        {**{name: row[name] for name in ("object_id", "ra", "dec", "tile", "grade")}, "label": str(row["class"])}
        for row in rejected
    ]
    return _table(rows, {"object_id": np.int64, "ra": float, "dec": float, "tile": str, "grade": str, "label": str})


def _table(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, type]) -> Table:
    from astropy.table import Table

    table = Table({name: np.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    for name in ("ra", "dec"):
        if name in table.colnames:
            table[name].unit = "deg"
    return table


def completeness_table(consensus: Consensus) -> Table:
    """Make the table of the completeness of the eye: bins of each property, with 95 % intervals after Wilson.

    Raises:
        ScannerError: ``inspect.no_truth``.
    """
    total, bins = measure_eye(consensus)
    nowhere = {"low": np.nan, "high": np.nan, "median": np.nan}
    rows: list[dict[str, Any]] = [{"property": "all", **nowhere, "share": total}]
    for name, several in bins.items():
        rows += [
            {"property": name, **{end: getattr(one, end) for end in nowhere}, "share": one.found} for one in several
        ]
    for row in rows:
        share: Share = row.pop("share")
        row |= {"lenses": share.total, "found": share.found, "completeness": share.value}
        row |= {"interval_low": share.low, "interval_high": share.high}
    numbers = ("low", "high", "median", "completeness", "interval_low", "interval_high")
    kinds: dict[str, type] = {"property": str, **dict.fromkeys(numbers, float), "lenses": int, "found": int}
    return _table(rows, {name: kinds[name] for name in rows[0]})


PARTS: dict[str, Callable[[Consensus], Table]] = dict(
    zip(NAMES, (object_table, inspector_table, summary_table, completeness_table), strict=True)
)

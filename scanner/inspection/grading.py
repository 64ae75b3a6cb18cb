"""Grades of an inspector, from the page or from a program."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.project import Project
from scanner.hunt.verdicts import Verdict
from scanner.inspection.ledger import Ledger
from scanner.inspection.progress import open_ledger
from scanner.inspection.record import BLIND, CHAIR, FINAL, REVISED


def make_verdict(
    ledger: Ledger,
    inspector: str,
    index: int,
    grade: str,
    class_: str = "",
    *,
    batch: str,
    at: int = 0,
    final: bool = False,
    comment: str = "",
    seconds: float | None = None,
    place: int = 0,
    stretch: str = "",
) -> Verdict:
    """Make the verdict about an object of the plan: a blind one, a revised one, or the final one of a chair.

    The uuid is made of inspector, ``batch`` and the number ``at`` in it, so that what is sent twice is one verdict.

    Raises:
        ScannerError: ``hunt.bad_verdict`` for an unknown grade or kind, ``inspect.not_assigned`` for another's object.
    """
    plan, scheme = ledger.plan, ledger.plan.project.scheme
    if not 0 <= index < len(plan) or not (final or index in plan.assigned.get(inspector, ())):
        message = f"{inspector} has no object {index} to grade."
        raise ScannerError(ErrorCode.INSPECT_NOT_ASSIGNED, message, "Reload the page; the plan may have changed.")
    if scheme.stage(grade) != "grades" or class_ not in ("", *(one.name for one in scheme.classes)):
        message = f"The scheme has no grade {grade!r} {class_!r}."
        raise ScannerError(ErrorCode.HUNT_BAD_VERDICT, message, "See scheme.toml.")
    round_, number = plan.place(index)
    before = ledger.said(inspector, index)
    view = CHAIR if final else REVISED if before is not None and before.seen else BLIND
    return Verdict(
        uuid=f"{inspector}/{batch}/{at}",
        batch=f"{inspector}/{batch}",
        inspector=inspector,
        round=round_.number,
        object_id=int(plan.object_id[index]),
        ra=float(plan.ra[index]),
        dec=float(plan.dec[index]),
        tile=str(round_.place["tile"][number]),
        model_sha256=round_.record.model_sha256,
        stage=FINAL if final else "grades",
        grade=grade,
        class_=class_,
        comment=comment,
        seconds=seconds,
        view=view,
        place=place,
        stretch=stretch,
        seed=plan.record.seed,
        was_fake=bool(plan.painted[index]),
    )


def give_grades(project: Project, inspector: str, grades: Mapping[int, str]) -> None:
    """Record grades by object of the plan, in the name of an inspector: those of a program, all or none.

    Raises:
        ScannerError: ``hunt.bad_verdict``, ``inspect.not_assigned``, ``inspect.no_plan``, ``inspect.damaged``,
            ``hunt.*``.
    """
    ledger, batch = open_ledger(project), uuid.uuid4().hex
    numbered = enumerate(grades.items())
    project.verdicts.add(
        [make_verdict(ledger, inspector, index, grade, batch=batch, at=at) for at, (index, grade) in numbered]
    )

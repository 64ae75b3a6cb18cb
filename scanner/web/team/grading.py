"""Grading: the addresses of one inspector. No answer has a score, a name or a grade of others before the own grade.

Objects have keys that are another's for every inspector, and tell neither a list nor a position: so a fake is served
like all others.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from scanner.hunt.round import CUT
from scanner.hunt.verdicts import Verdict
from scanner.inspection.grading import make_verdict
from scanner.inspection.ledger import Ledger
from scanner.inspection.record import BLIND
from scanner.web.hunt import hunter_of
from scanner.web.kept import KEPT
from scanner.web.pages import page, plain, sky_links, wants_html
from scanner.web.team.people import consensus_of, inspector_of, ledger_of, shown_columns

router = APIRouter(prefix="/grade", tags=["team"])
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Key = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$")]
_Uuid = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")]
# Held from reading what an inspector has seen until the row that depends on it is on disk.
_writing = threading.Lock()


class Graded(BaseModel):
    """One grade: the key of the object, and what it is."""

    key: str = Field(max_length=40)
    grade: str = Field(max_length=100)
    class_: str = Field(default="", max_length=100, alias="class")
    comment: str = Field(default="", max_length=2000)
    seconds: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    place: int = Field(default=0, ge=0, lt=2**31)


class Grades(BaseModel):
    """Grades that were given together, and are undone together; sent twice, they count once."""

    batch: _Uuid
    verdicts: list[Graded] = Field(max_length=500)
    stretch: str = Field(default="", max_length=100)


class Undo(BaseModel):
    """An undo; sent twice, it happens once."""

    batch: _Uuid


@router.get("/{name}", response_model=None)
def overview(request: Request, name: Name) -> Response:
    """Say how far the inspector is, and what the grades mean."""
    ledger = ledger_of(request)
    progress = _progress(ledger, inspector_of(request, name))
    if not wants_html(request):
        return JSONResponse({"inspector": name, **progress, "feedback": ledger.plan.record.feedback})
    scheme = ledger.plan.project.scheme
    feedback = ledger.plan.record.feedback
    return page(request, "team_grades.html", name=name, progress=progress, scheme=scheme, feedback=feedback)


@router.get("/{name}/one", response_model=None)
def one_by_one(request: Request, name: Name, at: Annotated[int, Query(ge=-1, lt=2**31)] = -1) -> Response:
    """Show the objects of the inspector one by one; by default from the first that is not graded."""
    ledger = ledger_of(request)
    plan, scheme = ledger.plan, ledger.plan.project.scheme
    mine = plan.record.assignments.get(inspector_of(request, name), ())
    objects = [_own(ledger, name, index) for index in mine]
    ungraded = next((place for place, one in enumerate(objects) if not one["grade"]), 0)
    first = plan.project.round(plan.record.rounds[mine[0]]).record if mine else None
    data = {
        # What waits in a browser belongs to one inspector of one plan.
        "project": plan.key(name, -1),
        "name": name,
        "bands": list(first.bands) if first else [],
        "window": first.window if first else 0,
        "pixel_scale": first.pixel_scale if first else 0.0,
        "at": min(at, max(len(mine) - 1, 0)) if at >= 0 else ungraded,
        "objects": objects,
        "grades": [{"name": one.name, "key": one.key} for one in scheme.grades],
        "classes": [{"name": one.name, "key": one.key, "grade": one.grade} for one in scheme.classes],
    }
    if not wants_html(request):
        return JSONResponse(data)
    return page(request, "team_one.html", data=data, scheme=scheme, name=name)


@router.get("/{name}/objects/{key}", response_model=None)
def describe(request: Request, name: Name, key: Key) -> Response:
    """Describe an object by what its pixels are: magnitudes, size, flags."""
    ledger = ledger_of(request)
    index = _index(ledger, inspector_of(request, name), key)
    round_, number = ledger.plan.place(index)
    columns = {one: plain(round_.objects.column(one)[number].as_py()) for one in shown_columns(ledger.plan)}
    return JSONResponse({**_own(ledger, name, index), "columns": columns})


@router.post("/{name}/objects/{key}/reveal", response_model=None)
def reveal(request: Request, name: Name, key: Key, asked: Undo) -> Response:
    """Show what is known of an object that the inspector has graded: its place, score, and what others say.

    The blind grade stays from now on; another one is kept as a revised one.
    """
    with _writing:
        ledger = ledger_of(request)
        index = _index(ledger, inspector_of(request, name), key)
        said = ledger.said(name, index)
        if said is None:
            raise ScannerError(ErrorCode.INSPECT_BLIND, "This object is not graded yet.", "Grade it first.")
        # On disk before anything is shown.
        ledger.record.reveal(f"{name}/{asked.batch}", name, said.blind.uuid)
    consensus = consensus_of(request)
    round_, number = ledger.plan.place(index)
    row = {one: plain(round_.objects.column(one)[number].as_py()) for one in round_.objects.column_names}
    row["object_id"] = str(row["object_id"])
    others = ledger.by(index)
    final = ledger.final(index)
    return JSONResponse(
        {
            "row": row,
            "truth": str(ledger.plan.truth[index]),
            "painted": bool(ledger.plan.painted[index]),
            "links": [] if ledger.plan.painted[index] else sky_links(row),
            "said": [
                {"inspector": one, "grade": each.blind.grade, "class": each.blind.class_, "comment": each.blind.comment}
                for one, each in others.items()
            ],
            "mean": plain(float(consensus.mean[index])),
            "final": final.grade if final else "",
        }
    )


@router.get("/{name}/windows/{key}", response_class=Response)
def window(request: Request, name: Name, key: Key) -> Response:
    """The cutout of an object: float32 scales [B], then float16 [B, S, S], little-endian."""
    ledger = ledger_of(request)
    round_, number = ledger.plan.place(_index(ledger, inspector_of(request, name), key))
    state = int(round_.states[number])
    if state == 0:
        hunter_of(request).want(round_, np.array([number]))
    headers = {
        **(KEPT if round_.is_settled(np.array([number])) else {"Cache-Control": "no-store"}),
        "Scanner-Bands": ",".join(round_.record.bands),
        "Scanner-Size": str(round_.record.window),
        "Scanner-Pixel-Scale": f"{round_.record.pixel_scale:.6f}",
        "Scanner-States": str(state),
    }
    return Response(round_.window(np.array([number])), media_type="application/octet-stream", headers=headers)


@router.get("/{name}/wide/{key}", response_class=Response)
def wide(request: Request, name: Name, key: Key) -> Response:
    """The picture of the wide field around an object, as WebP."""
    ledger = ledger_of(request)
    round_, number = ledger.plan.place(_index(ledger, inspector_of(request, name), key))
    picture = round_.wide(number) if round_.states[number] == CUT else None
    if picture is None:
        raise ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no picture of this object.", "Wait until it is cut.")
    return Response(picture, media_type="image/webp", headers=KEPT)


@router.get("/{name}/picture/{grade}", response_class=Response)
def example_picture(request: Request, name: Name, grade: str) -> Response:
    """The picture that explains a grade."""
    inspector_of(request, name)
    project = hunter_of(request).project
    picture = next((one.picture for one in project.scheme.grades if one.name == grade and one.picture), "")
    path = project.folder / picture
    if not picture or path.is_symlink() or not path.is_file():
        raise ScannerError(ErrorCode.HUNT_MISSING, f"The grade {grade!r} has no picture.", "See scheme.toml.")
    return FileResponse(path, headers=KEPT)


@router.post("/{name}/verdicts", status_code=201)
def grade(request: Request, name: Name, said: Grades) -> dict[str, Any]:
    """Add grades, all or none. They are on disk when this answers.

    Where the plan says so, the answer tells whether the inspector was right of objects that are a test.
    """
    with _writing:
        ledger = ledger_of(request)
        inspector_of(request, name)
        made = [_verdict(ledger, name, said, at, each) for at, each in enumerate(said.verdicts)]
        hunter_of(request).project.verdicts.add(made)
    ledger.refresh()
    answer: dict[str, Any] = {"saved": len(made), **_progress(ledger, name)}
    if ledger.plan.record.feedback:
        answer["feedback"] = _feedback(ledger, name, said)
    return answer


@router.post("/{name}/undo")
def undo(request: Request, name: Name, asked: Undo) -> dict[str, Any]:
    """Withdraw the newest grades of the inspector that stand; they stay in the record."""
    with _writing:
        ledger = ledger_of(request)
        for index, verdict in ledger.newest_batch(inspector_of(request, name)):
            standing = ledger.said(name, index)
            if verdict.view == BLIND and standing is not None and standing.seen:
                message = "You have seen what others say of an object of this batch, so its blind grades stay."
                hint = "Grade the object again: that is kept as a revised grade."
                raise ScannerError(ErrorCode.INSPECT_REVEALED, message, hint)
        withdrawn = hunter_of(request).project.verdicts.undo(name, f"{name}/{asked.batch}")
    ledger.refresh()
    keys = [ledger.plan.key(name, ledger.plan.index_of(one)) for one in withdrawn]
    return {"withdrawn": len(withdrawn), "keys": keys, **_progress(ledger, name)}


def _index(ledger: Ledger, name: str, key: str) -> int:
    """The object of a key of an inspector.

    Raises:
        ScannerError: ``inspect.not_assigned``.
    """
    found = ledger.plan.by_key(name).get(key)
    if found is None:
        message = f"{name} has no object {key!r} to grade."
        raise ScannerError(ErrorCode.INSPECT_NOT_ASSIGNED, message, "Reload the page; the plan may have changed.")
    return found


def _own(ledger: Ledger, name: str, index: int) -> dict[str, Any]:
    """What an inspector may always know of an object: the key, and what they said themselves."""
    said = ledger.said(name, index)
    latest = (said.revised or said.blind) if said else None
    return {
        "key": ledger.plan.key(name, index),
        "grade": latest.grade if latest else "",
        "class": latest.class_ if latest else "",
        "comment": latest.comment if latest else "",
        "seen": bool(said and said.seen),
    }


def _progress(ledger: Ledger, name: str) -> dict[str, int]:
    assigned = ledger.plan.assigned.get(name, frozenset())
    return {"assigned": len(assigned), "graded": len(assigned & ledger.graded(name))}


def _verdict(ledger: Ledger, name: str, said: Grades, at: int, each: Graded) -> Verdict:
    index = _index(ledger, name, each.key)
    about: dict[str, Any] = {
        "comment": each.comment,
        "seconds": each.seconds,
        "place": each.place,
        "stretch": said.stretch,
    }
    return make_verdict(ledger, name, index, each.grade, each.class_, batch=said.batch, at=at, **about)


def _feedback(ledger: Ledger, name: str, said: Grades) -> list[dict[str, Any]]:
    scheme, told = ledger.plan.project.scheme, []
    for each in said.verdicts:
        index = _index(ledger, name, each.key)
        if ledger.plan.is_test[index]:
            lens = bool(ledger.plan.is_lens[index])
            right = (scheme.mark(each.grade) == "kept") == lens
            told.append({"key": each.key, "truth": str(ledger.plan.truth[index]), "right": right})
    return told

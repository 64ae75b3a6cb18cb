"""The chair's pages: how far everybody is, what all say together, final grades, and the gallery."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.names import iau_name
from scanner.candidates.samp import broadcast
from scanner.figures.canvas import FORMATS as FIGURES
from scanner.figures.composite import compose_rgb, encode_png
from scanner.hunt import VERDICT_FORMATS
from scanner.hunt.export import encode
from scanner.inspection import PARTS, tables
from scanner.inspection.consensus import Consensus
from scanner.inspection.gallery import describe_grade, draw_grades, read_flux
from scanner.inspection.grading import make_verdict
from scanner.inspection.progress import missing_grades, status_table, still_blind
from scanner.web.hunt import hunter_of
from scanner.web.kept import KEPT
from scanner.web.pages import page, plain, sky_links, wants_html
from scanner.web.team.people import chair_of, consensus_of, ledger_of

router = APIRouter(prefix="/team", tags=["team"])
PageNumber = Annotated[int, Query(alias="page", ge=1, lt=2**31)]
PAGE = 50
_Uuid = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")]


class Final(BaseModel):
    """A final grade of an object, by its number in the plan; sent twice, it counts once."""

    batch: _Uuid
    object: int = Field(ge=0, lt=2**31)
    grade: str = Field(max_length=100)
    class_: str = Field(default="", max_length=100, alias="class")
    comment: str = Field(default="", max_length=2000)


@router.get("", response_model=None)
def status(request: Request) -> Response:
    """Say how far everybody is, what is missing, and how far they agree."""
    chair_of(request)
    consensus = consensus_of(request)
    project = hunter_of(request).project
    facts = {
        "status": _rows(status_table(project)),
        "missing": len(missing_grades(project)),
        "blind": still_blind(project),
        "inspectors": _rows(tables.inspector_table(consensus)),
        "summary": _rows(tables.summary_table(consensus)),
        "conflicts": [
            {"object": one.index, "inspector": one.inspector, "grades": [one.first.grade, one.second.grade]}
            for one in consensus.conflicts
        ],
    }
    if not wants_html(request):
        return JSONResponse(facts)
    return page(request, "team_status.html", facts=facts, parts=PARTS, completeness=_completeness(consensus))


@router.get("/consensus", response_model=None)
def show_consensus(
    request: Request, page_number: PageNumber = 1, order: Literal["disagreement", "grade"] = "disagreement"
) -> Response:
    """List the objects with the grades of everybody, the most disputed first, or the best."""
    chair_of(request)
    consensus = consensus_of(request)
    indices = consensus.by_disagreement()
    if order == "grade":
        indices = np.argsort(-np.nan_to_num(consensus.mean, nan=-1), kind="stable")
    graded = [one for one in indices.tolist() if consensus.count[one] or consensus.final[one]]
    pages = max(-(-len(graded) // PAGE), 1)
    page_number = min(page_number, pages)
    rows = [_object(consensus, one) for one in graded[(page_number - 1) * PAGE : page_number * PAGE]]
    data = {"people": list(consensus.people), "objects": rows, "page": page_number, "pages": pages, "order": order}
    if not wants_html(request):
        return JSONResponse(data)
    return page(request, "team_consensus.html", data=data, scheme=consensus.scheme, total=len(graded))


@router.get("/table/{part}", response_model=None)
def table(
    request: Request,
    part: Annotated[str, PathParameter(json_schema_extra={"enum": list(PARTS)})],
    format: Annotated[str, Query(json_schema_extra={"enum": list(VERDICT_FORMATS)})] = "csv",
) -> Response:
    """Export a part of the consensus as a table, as scanner inspect agree does."""
    chair_of(request)
    if part not in tables.PARTS:
        raise ScannerError(ErrorCode.HUNT_MISSING, f"A consensus has no part {part!r}.", f"Parts: {', '.join(PARTS)}.")
    body = encode(tables.PARTS[part](consensus_of(request)), format)
    media = "text/csv" if format == "csv" else "application/octet-stream"
    name = f"{part}.{'vot' if format == 'votable' else format}"
    return Response(body, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@router.get("/picture/{index}", response_class=Response)
def picture(request: Request, index: int) -> Response:
    """Compose the colour picture of an object of the plan from its cutout, as PNG."""
    chair_of(request)
    plan = ledger_of(request).plan
    if not 0 <= index < len(plan):
        raise ScannerError(ErrorCode.HUNT_MISSING, f"The plan has no object {index}.", f"It has {len(plan)}.")
    round_, number = plan.place(index)
    flux = read_flux(round_, number)
    if flux is None:
        raise ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no picture of this object.", "Wait until it is cut.")
    body = encode_png(compose_rgb(flux, round_.record.bands))
    return Response(body, media_type="image/png", headers=KEPT)


@router.post("/final", status_code=201)
def decide(request: Request, said: Final) -> dict[str, Any]:
    """Give an object its final grade. It is on disk when this answers, and a later one takes its place."""
    person = chair_of(request)
    if person is None:
        message = "A final grade needs the name of a chair, and this is the token of the server."
        hint = "Invite a chair with: scanner inspect invite PROJECT NAME --chair"
        raise ScannerError(ErrorCode.INSPECT_BAD_TOKEN, message, hint)
    ledger = ledger_of(request)
    about: dict[str, Any] = {"batch": said.batch, "comment": said.comment, "final": True}
    verdict = make_verdict(ledger, person.name, said.object, said.grade, said.class_, **about)
    ledger.plan.project.verdicts.add([verdict])
    return {"saved": 1, "object": said.object, "final": said.grade}


@router.get("/gallery", response_model=None)
def gallery(request: Request) -> Response:
    """Show the listed objects by grade, the best first."""
    chair_of(request)
    consensus = consensus_of(request)
    kept = [one for one in consensus.scheme.grades if one.mark != "rejected"]
    of_grade = ([_object(consensus, index) for index in consensus.by_grade(one.name)] for one in kept)
    groups = [
        {"grade": one.name, "meaning": one.meaning, "objects": objects}
        for one, objects in zip(kept, of_grade, strict=True)
    ]
    # All lists of a plan have one frame.
    frame = consensus.plan.place(0)[0].frame
    side = frame.window * frame.pixel_scale
    if not wants_html(request):
        return JSONResponse({"groups": groups, "side": side})
    return page(request, "team_gallery.html", groups=groups, figures=FIGURES, side=side)


@router.post("/gallery/broadcast")
def broadcast_gallery(request: Request) -> dict[str, Any]:
    """Send the objects of the gallery, with the grades of all, by SAMP to the programs on the machine of the server."""
    chair_of(request)
    consensus = consensus_of(request)
    kept = [one.name for one in consensus.scheme.grades if one.mark != "rejected"]
    table = tables.verdicts_of(hunter_of(request).project)
    table = table[np.isin(table["grade"], kept)]
    if not len(table):
        message = f"No object has a grade {' or '.join(kept)} yet."
        raise ScannerError(ErrorCode.INSPECT_NO_TRUTH, message, "Grade more objects.")
    return {"rows": len(table), "receivers": [asdict(one) for one in broadcast(table, "Gallery")]}


@router.get("/gallery/figure", response_class=Response)
def figure(
    request: Request,
    format: Annotated[Literal["png", "pdf"], Query()] = "pdf",
    grade: Annotated[list[str], Query()] = [],  # noqa: B006  # FastAPI reads the default
) -> Response:
    """Draw the gallery as the figure of a paper, as scanner inspect gallery does."""
    chair_of(request)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"gallery.{format}"
        draw_grades(consensus_of(request), path, grade)
        body = path.read_bytes()
    media = "image/png" if format == "png" else "application/pdf"
    name = f'attachment; filename="gallery.{format}"'
    return Response(body, media_type=media, headers={"Content-Disposition": name})


def _object(consensus: Consensus, index: int) -> dict[str, Any]:
    plan, final = consensus.plan, consensus.final[index]
    place = {"ra": float(plan.ra[index]), "dec": float(plan.dec[index])}
    numbers = {name: plain(float(getattr(consensus, name)[index])) for name in ("mean", "error", "spread", "posterior")}
    said = zip(consensus.people, consensus.verdicts[index], strict=True)
    return {
        "object": index,
        "object_id": str(plan.object_id[index]),
        **place,
        "name": iau_name(place["ra"], place["dec"]),
        **numbers,
        "grade": consensus.grade(index),
        "words": describe_grade(consensus, index),
        "final": final.grade if final else "",
        "class": consensus.kind(index),
        "truth": str(plan.truth[index]),
        "painted": bool(plan.painted[index]),
        "links": [] if plan.painted[index] else sky_links(place),
        "said": {name: {"grade": one.grade, "class": one.class_, "comment": one.comment} for name, one in said if one},
    }


def _completeness(consensus: Consensus) -> list[dict[str, Any]]:
    try:
        return _rows(tables.completeness_table(consensus))
    except ScannerError as error:
        if error.code != ErrorCode.INSPECT_NO_TRUTH:
            raise
        return []


def _rows(table: Any) -> list[dict[str, Any]]:
    return [{name: plain(row[name]) for name in table.colnames} for row in table]

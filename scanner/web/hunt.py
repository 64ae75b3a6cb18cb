"""Hunt: the addresses of a project's rounds, their cutouts and their verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi import Path as PathPart
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.matching import match
from catalogs.store import rows as catalogue_rows
from scanner.hunt import VERDICT_FORMATS
from scanner.hunt.export import encode
from scanner.hunt.round import Round
from scanner.hunt.scheme import Scheme
from scanner.inspection.tables import verdicts_of
from scanner.web.hunter import MOST, Hunter
from scanner.web.kept import KEPT
from scanner.web.maps import MapView, read_points, select
from scanner.web.pages import page, wants_html
from scanner.web.question import Question
from scanner.web.ranker import Part
from scanner.web.site import site_of
from scanner.web.upload import read_list

router = APIRouter(prefix="/hunt", tags=["hunt"])
Number = Annotated[int, PathPart(ge=0, lt=2**31)]
Seed = Annotated[int, Query(ge=0, lt=2**31)]
PageNumber = Annotated[int, Query(alias="page", ge=1, lt=2**31)]
PageSize = Annotated[int, Query(ge=1, le=200)]
_Uuid = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")]


class NewRound(BaseModel):
    """A round to make: the first ``count`` objects of a question, or those inside the lasso of a map.

    ``by`` begins it from what no question lists: the highest lens scores, or what is most like the known lenses; the
    filter of the question holds. Known lenses are left out of those unless ``with_known``.
    """

    question: Question = Question()
    by: Literal["question", "score", "lenses"] = "question"
    with_known: bool = False
    map: MapView | None = None
    count: int = Field(default=500, ge=1, le=20_000)
    title: str = Field(default="", max_length=200)


class Said(BaseModel):
    """One verdict: the number of the object in the round, and what it is."""

    number: int = Field(ge=0, lt=2**31)
    grade: str = Field(max_length=100)
    class_: str = Field(default="", max_length=100, alias="class")
    comment: str = Field(default="", max_length=2000)
    seconds: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    place: int = Field(default=0, ge=0, lt=2**31)


class Batch(BaseModel):
    """Verdicts that were given together, and are undone together; sent twice, they count once."""

    batch: _Uuid
    verdicts: list[Said] = Field(max_length=500)
    view: Literal["mosaic", "one"]
    stretch: str = Field(default="", max_length=100)
    seed: int = Field(default=0, ge=0, lt=2**31)
    others: bool = Field(default=False, description="Leave out what was triaged meanwhile, in another window.")


class Undo(BaseModel):
    """An undo; sent twice, it happens once."""

    batch: _Uuid


class Rerank(BaseModel):
    """A round to make from the grades: the best ``count`` objects, ``uncertain`` of them the most uncertain ones."""

    count: int = Field(default=200, ge=1, le=20_000)
    uncertain: int = Field(default=0, ge=0, le=20_000)


def hunter_of(request: Request) -> Hunter:
    """The hunt of the server.

    Raises:
        ScannerError: ``hunt.missing`` where it was started without a project.
    """
    hunter: Hunter | None = request.app.state.hunter
    if hunter is None:
        hint = "Start the server with --project FOLDER."
        raise ScannerError(ErrorCode.HUNT_MISSING, "The server has no project to keep verdicts in.", hint)
    return hunter


@router.get("", response_model=None)
def overview(request: Request) -> Response:
    """List the rounds of the project, and how far each is."""
    hunter = hunter_of(request)
    rounds = [hunter.project.round(number) for number in hunter.project.rounds()] if hunter.begun else []
    told = [
        {"number": one.number, "title": one.record.title, "created": one.record.created, **hunter.progress(one)}
        for one in reversed(rounds)
    ]
    if not wants_html(request):
        facts = {"project": hunter.folder.name, "inspector": hunter.inspector, "rounds": told}
        return JSONResponse({**facts, "notices": hunter.notices()})
    is_part = "hx-request" in request.headers
    notices = [] if is_part else hunter.notices()
    template = "rounds.html" if is_part else "hunt.html"
    scheme = hunter.project.scheme if hunter.begun else None
    return page(request, template, rounds=told, hunter=hunter, notices=notices, scheme=scheme)


@router.post("/rounds", status_code=201)
def add_round(request: Request, asked: NewRound) -> dict[str, Any]:
    """Make a round of the first objects of a question; their cutouts are cut while one begins to look."""
    site, hunter = site_of(request), hunter_of(request)
    if asked.map is not None:
        chosen = select(read_points(site, asked.map), asked.map).object_id[: asked.count]
        rows = catalogue_rows.of_ids(site.snapshot(), chosen.tolist())
        made = hunter.add(rows, asked.title.strip() or f"From the map {asked.map.name}", f"map {asked.map.name}")
        return {"round": made.number, "objects": len(made), "at": f"/hunt/{made.number}/mosaic"}
    if asked.by != "question":
        like = site.lenses() if asked.by == "lenses" else None
        part = Part(asked.count, hide_known=not asked.with_known)
        title = "By the lens score" if like is None else f"Like {len(like)} known lenses"
        with hunter.ranking():
            rows, _ = hunter.ranker.rank([part], like=like, where=asked.question.where)
            made = hunter.add(rows, asked.title.strip() or title, f"{asked.by} {asked.question.where}".strip())
        return {"round": made.number, "objects": len(made), "at": f"/hunt/{made.number}/mosaic"}
    answer = site.ask(asked.question.model_copy(update={"offset": 0, "limit": asked.count}), most=asked.count)
    title = asked.title.strip() or asked.question.title()
    made = hunter.add(answer.rows[: asked.count], title, asked.question.address())
    return {"round": made.number, "objects": len(made), "at": f"/hunt/{made.number}/mosaic"}


@router.post("/rerank", status_code=201)
def rerank(request: Request, asked: Rerank) -> dict[str, Any]:
    """Make a round of what the grades so far make most likely, without what was judged."""
    hunter = hunter_of(request)
    parts = [Part(max(asked.count - asked.uncertain, 0), "best"), Part(asked.uncertain, "uncertain")]
    with hunter.ranking():
        rows, feedback = hunter.ranker.rank([part for part in parts if part.count], hunter.marks(), like=None)
        made = hunter.add(rows, f"From {len(feedback)} verdicts", f"rerank {asked.count} {asked.uncertain}")
    return {"round": made.number, "objects": len(made), "at": f"/hunt/{made.number}/mosaic"}


@router.post("/lists", status_code=201)
def add_list(
    request: Request,
    file: Annotated[UploadFile, File(description="A table with ra and dec, in the order to inspect.")],
    title: Annotated[str, Form(max_length=200)] = "",
) -> dict[str, Any]:
    """Make a round of a list of candidates, such as ``scanner rank`` writes; ``missing`` counts what is no object."""
    site, hunter = site_of(request), hunter_of(request)
    snapshot = site.snapshot()
    name, places = read_list(file)
    if len(places) > MOST:
        message = f"{name} has {len(places)} rows; a round has at most {MOST}."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, message, "Give the best of them.")
    found = match(snapshot, [one.ra for one in places], [one.dec for one in places])
    made = hunter.add(
        catalogue_rows.of_ids(snapshot, found.object_id.tolist()), title.strip() or Path(name).stem, f"list {name}"
    )
    missing = len(found.unmatched)
    return {"round": made.number, "objects": len(made), "missing": missing, "at": f"/hunt/{made.number}/mosaic"}


@router.get("/verdicts", response_model=None)
def verdicts(
    request: Request,
    format: Annotated[str, Query(json_schema_extra={"enum": list(VERDICT_FORMATS)})] = "csv",
) -> Response:
    """Export a row for each object that was judged, as a table; ``rank --feedback`` reads the CSV."""
    media = "text/csv" if format == "csv" else "application/octet-stream"
    ending = {"votable": "vot", "ds9": "reg", "table": "txt"}.get(format, format)
    body = encode(verdicts_of(hunter_of(request).project), format)
    return Response(
        body, media_type=media, headers={"Content-Disposition": f'attachment; filename="verdicts.{ending}"'}
    )


@router.get("/picture/{grade}", response_class=Response)
def example_picture(request: Request, grade: str) -> Response:
    """The picture that explains a grade."""
    project = hunter_of(request).project
    # The scheme names a file beside itself, and only what it names is readable.
    picture = next((one.picture for one in _words(project.scheme) if one.name == grade and one.picture), "")
    path = project.folder / picture
    if not picture or path.is_symlink() or not path.is_file():
        raise ScannerError(ErrorCode.HUNT_MISSING, f"The grade {grade!r} has no picture.", "See scheme.toml.")
    return FileResponse(path, headers=KEPT)


@router.post("/undo")
def undo(request: Request, asked: Undo) -> dict[str, Any]:
    """Withdraw the newest verdicts of the inspector that stand; they stay in the record."""
    hunter = hunter_of(request)
    withdrawn = hunter.project.verdicts.undo(hunter.inspector, asked.batch)
    first = withdrawn[0] if withdrawn else None
    return {
        "withdrawn": len(withdrawn),
        "round": first.round if first else None,
        "view": first.view if first else None,
        "seed": first.seed if first else 0,
        "place": min((one.place for one in withdrawn), default=0),
        "object_ids": [str(one.object_id) for one in withdrawn],
    }


@router.get("/{number}/mosaic", response_model=None)
def mosaic(
    request: Request,
    number: Number,
    page_number: PageNumber = 1,
    size: PageSize = 100,
    seed: Seed = 1,
) -> Response:
    """Show one page of a round as a mosaic, in the order of a seed (0: that of the list)."""
    hunter, one = _round(request, number)
    order = one.order(seed)
    pages = -(-len(order) // size)
    page_number = min(page_number, pages)
    numbers = order[(page_number - 1) * size : page_number * size]
    data = {
        **_frame(one),
        "project": hunter.project.record.created,
        "round": number,
        "page": page_number,
        "pages": pages,
        "size": size,
        "seed": seed,
        "windows": f"/hunt/{number}/windows?page={page_number}&size={size}&seed={seed}",
        "next": f"/hunt/{number}/windows?page={page_number + 1}&size={size}&seed={seed}" if page_number < pages else "",
        "objects": hunter.facts(one, numbers),
        "triage": [_word(each) for each in hunter.project.scheme.triage],
    }
    if not wants_html(request):
        return JSONResponse(data)
    return page(request, "mosaic.html", data=data, round=one.record, scheme=hunter.project.scheme)


@router.get("/{number}/one", response_model=None)
def one_by_one(
    request: Request,
    number: Number,
    at: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    seed: Seed = 0,
    of: Annotated[str, Query(max_length=100)] = "all",
) -> Response:
    """Show the objects of a round one by one; ``of`` chooses all, the ungraded, or those of a triage or grade."""
    hunter, one = _round(request, number)
    numbers = hunter.choose(one, seed, of)
    data = {
        **_frame(one),
        "project": hunter.project.record.created,
        "round": number,
        "seed": seed,
        "of": of,
        "at": min(at, max(len(numbers) - 1, 0)),
        "numbers": numbers.tolist(),
        "objects": hunter.facts(one, numbers),
        "grades": [_word(each) for each in hunter.project.scheme.grades],
        "classes": [
            {"name": each.name, "key": each.key, "grade": each.grade} for each in hunter.project.scheme.classes
        ],
    }
    if not wants_html(request):
        return JSONResponse(data)
    return page(request, "one.html", data=data, round=one.record, scheme=hunter.project.scheme)


@router.head("/{number}/windows", include_in_schema=False)
@router.get("/{number}/windows", response_class=Response)
def windows(
    request: Request,
    number: Number,
    page_number: PageNumber = 1,
    size: PageSize = 100,
    seed: Seed = 1,
) -> Response:
    """The cutouts of a page: for each object float32 scales [B], then float16 [B, S, S], little-endian."""
    hunter, one = _round(request, number)
    numbers = one.order(seed)[(page_number - 1) * size : page_number * size]
    # What somebody looks at is cut before the rest.
    hunter.want(one, numbers)
    return _packed(one, numbers, without_body=request.method == "HEAD")


@router.get("/{number}/windows/{place}", response_class=Response)
def window(request: Request, number: Number, place: Number) -> Response:
    """The cutout of one object, by its number in the list, packed as those of a page."""
    hunter, one = _round(request, number)
    numbers = np.array([_place(one, place)])
    hunter.want(one, numbers)
    return _packed(one, numbers)


@router.get("/{number}/wide/{place}", response_class=Response)
def wide(request: Request, number: Number, place: Number) -> Response:
    """The picture of the wide field around an object, as WebP."""
    _, one = _round(request, number)
    picture = one.wide(_place(one, place))
    if picture is None:
        raise ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no picture of this object.", "Wait until it is cut.")
    return Response(picture, media_type="image/webp", headers=KEPT)


@router.post("/{number}/verdicts", status_code=201)
def add_verdicts(request: Request, number: Number, said: Batch) -> dict[str, Any]:
    """Add verdicts of one view, all or none. They are on disk when this answers."""
    hunter, one = _round(request, number)
    made = [
        hunter.verdict(
            one,
            each.number,
            each.grade,
            uuid=f"{said.batch}/{at}",
            batch=said.batch,
            class_=each.class_,
            comment=each.comment,
            seconds=each.seconds,
            view=said.view,
            place=each.place,
            stretch=said.stretch,
            seed=said.seed,
        )
        for at, each in enumerate(said.verdicts)
    ]
    with hunter.judging:
        if said.others:
            standing = hunter.project.standing(one)
            made = [each for each, of in zip(made, said.verdicts, strict=True) if standing[of.number].triage is None]
        hunter.project.verdicts.add(made)
    return {"saved": len(made), **hunter.progress(one)}


def _round(request: Request, number: int) -> tuple[Hunter, Round]:
    hunter = hunter_of(request)
    return hunter, hunter.project.round(number)


def _place(one: Round, place: int) -> int:
    if place >= len(one):
        hint = f"The last one is {len(one) - 1}."
        raise ScannerError(ErrorCode.HUNT_MISSING, f"The round has no object number {place}.", hint)
    return place


def _packed(one: Round, numbers: Any, without_body: bool = False) -> Response:
    headers = {
        # What is not cut yet must be asked for again.
        **(KEPT if one.is_settled(numbers) else {"Cache-Control": "no-store"}),
        "Scanner-Bands": ",".join(one.record.bands),
        "Scanner-Size": str(one.record.window),
        "Scanner-Pixel-Scale": f"{one.record.pixel_scale:.6f}",
        "Scanner-States": "".join(map(str, one.states[numbers])),
    }
    return Response(
        b"" if without_body else one.window(numbers), media_type="application/octet-stream", headers=headers
    )


def _frame(one: Round) -> dict[str, Any]:
    return {"bands": list(one.record.bands), "window": one.record.window, "pixel_scale": one.record.pixel_scale}


def _words(scheme: Scheme) -> list[Any]:
    return [*scheme.triage, *scheme.grades]


def _word(one: Any) -> dict[str, Any]:
    return {"name": one.name, "key": one.key, "meaning": one.meaning, "rest": one.rest}

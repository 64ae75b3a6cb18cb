"""Search: the addresses that list objects, describe one, and give the pixels of their cutouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import render
from catalogs.search.examples import Example
from catalogs.store import rows as catalogue_rows
from catalogs.store.schema import EMBEDDING, HEALPIX
from catalogs.store.scores import LENS_SCORE
from catalogs.store.voparquet import facts
from scanner.candidates.samp import broadcast
from scanner.figures.composite import compose_rgb, encode_png
from scanner.hunt.round import pack
from scanner.queries.query import describe_query
from scanner.web.cutouts import Spot
from scanner.web.kept import KEPT
from scanner.web.pages import page, plain, row_values, wants_html
from scanner.web.question import HTML, MOST, Question, join_filter, make_term, split_filter
from scanner.web.site import Answer, Site, site_of

if TYPE_CHECKING:
    from astropy.table import Table

router = APIRouter(tags=["search"])
RightAscension = Annotated[float, Query(ge=-360, le=360, allow_inf_nan=False)]
Declination = Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False)]
TileName = Annotated[str, Query(max_length=100)]
MOST_SENT = 500
"""Rows of a search that are saved, or sent to other programs."""
FieldOfView = Literal["cutout", "wide"]
MEDIA = {
    "votable": "application/x-votable+xml",
    "fits": "application/fits",
    "json": "application/json",
    "csv": "text/csv",
}


@router.get("/", include_in_schema=False)
def home(request: Request) -> Response:
    return RedirectResponse("/hunt" if site_of(request).catalogue is None else "/search")


@router.get("/search", response_model=None)
def search(request: Request, question: Annotated[Question, Query()]) -> Response:
    """List the objects that look most like the examples; without one, objects in the order of a column.

    Browsers get a page, programs JSON; ``format`` gives the rows as a table in any format of the command line.
    """
    site = site_of(request)
    as_page = question.format == HTML or (question.format == "" and wants_html(request))
    answer = site.ask(question, columns=_shown(site) if as_page else None)
    part = answer.rows[question.offset : question.offset + question.limit]
    more = question.offset + question.limit
    following = question.address(offset=more) if more < min(len(answer.rows), MOST) else None
    if question.format not in ("", HTML):
        body = render(answer.rows[: question.offset + question.limit][question.offset :], question.format)
        return Response(body, media_type=MEDIA.get(question.format, "text/plain"))
    known = site.known_as(part["ra"], part["dec"]) if len(part) else []
    if not as_page:
        return JSONResponse(_to_json(question, answer, part, known, following))
    values: dict[str, Any] = {
        "question": question,
        "answer": answer,
        "rows": list(zip(row_values(part), known, strict=True)),
        "following": following,
        "has_similarity": "similarity" in part.colnames,
    }
    if "hx-request" in request.headers:
        return page(request, "cards.html", **values)
    return page(
        request,
        "search.html",
        parts=[(one, _without(question, number)) for number, one in enumerate(split_filter(question.where))],
        fields=_fields(site),
        uploads={site.uploads[one].name: one for one in question.upload if one in site.uploads},
        examples=[(one, describe_query(one), _drop(site, question, answer.examples, one)) for one in answer.examples],
        **values,
    )


@router.post("/search/broadcast")
def broadcast_rows(request: Request, question: Question) -> dict[str, Any]:
    """Send the first 500 rows of a search by SAMP to the programs on the machine of the server, such as TOPCAT."""
    rows = site_of(request).ask(question.model_copy(update={"offset": 0, "limit": MOST_SENT})).rows[:MOST_SENT]
    return {"rows": len(rows), "receivers": [asdict(one) for one in broadcast(rows, question.title())]}


@router.get("/starts", include_in_schema=False)
def starts(request: Request) -> Response:
    """The known lenses to start from, as a part of the page: to find them may take a while."""
    return page(request, "starts.html", starts=site_of(request).starts())


@router.get("/filter", include_in_schema=False)
def add_filter(
    request: Request,
    question: Annotated[Question, Query()],
    column: str = "",
    low: str = "",
    high: str = "",
    value: str = "",
) -> Response:
    """Add a part to the filter of a question, as the form of the page does."""
    schema = site_of(request).need_catalogue().schema
    if column not in schema.names:
        raise ScannerError(ErrorCode.COLUMN_UNKNOWN, f"There is no column {column!r}.", "Choose one of the list.")
    term = make_term(schema.field(column), low, high, value)
    parts = [*split_filter(question.where), *([term] if term else [])]
    return RedirectResponse(question.address(where=join_filter(parts), offset=0), 303)


@router.get("/objects/{object_id}", response_model=None)
def describe_object(request: Request, object_id: int) -> Response:
    """Describe an object: all its columns."""
    site = site_of(request)
    if not 0 <= object_id < 2**63:
        raise ScannerError(ErrorCode.QUERY_UNKNOWN_OBJECT, f"There is no object {object_id}.", "Search by position.")
    found = catalogue_rows.of_ids(site.snapshot(), [object_id])
    if not len(found):
        message = f"The catalogue has no object {object_id}."
        raise ScannerError(ErrorCode.QUERY_UNKNOWN_OBJECT, message, "Search by position; the nearest object is taken.")
    row, known = found[0], site.known_as(found["ra"], found["dec"])[0]
    if not wants_html(request):
        return JSONResponse({**{name: plain(row[name]) for name in found.colnames}, "known_as": known})
    # Photometry is a table of its own, and the position stands above it.
    placed = {"object_id", "tile", "ra", "dec", "mag_auto", "flux_auto", HEALPIX}
    placed |= {f"{kind}_{band}" for kind in ("mag", "flux", "fluxerr") for band in site.need_catalogue().info.bands}
    others = [column for column in found.itercols() if column.name not in placed]
    return page(request, "object.html", row=row, known=known, others=others, frame=site.frame)


@router.get("/cutouts/picture", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def picture(
    request: Request,
    ra: RightAscension,
    dec: Declination,
    tile: TileName = "",
    field: FieldOfView = "cutout",
) -> Response:
    """Compose the colour picture around a position (degrees), as PNG; ``tile`` is one of the catalogue."""
    site = site_of(request)
    return Response(
        _store(site).picture(_spot(site, ra, dec, tile), field == "wide"), media_type="image/png", headers=KEPT
    )


@router.get("/cutouts/window", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def window(
    request: Request,
    ra: RightAscension,
    dec: Declination,
    tile: TileName = "",
    field: FieldOfView = "cutout",
) -> Response:
    """Read the pixels around a position in all bands: float32 scales [B], then float16 [B, S, S], little-endian.

    A flux in nJy is the scale of its band times the number; NaN is no data. The header ``Scanner-Bands`` names the
    bands, ``Scanner-Size`` is S, ``Scanner-Pixel-Scale`` is in arcsec. The first row is the southernmost.
    """
    site = site_of(request)
    return window_answer(
        _store(site).window(_spot(site, ra, dec, tile), field == "wide"), site.frame.bands, site.frame.pixel_scale
    )


@router.get("/cutouts/upload/{digest}", response_class=Response)
def uploaded_picture(request: Request, digest: str) -> Response:
    """Compose the colour picture of an uploaded cutout, as PNG."""
    site = site_of(request)
    example = site.uploads.get(digest)
    if example is None or example.pixels is None:
        raise ScannerError(ErrorCode.QUERY_UNKNOWN_OBJECT, "No such cutout was uploaded.", "Upload the file again.")
    return Response(encode_png(compose_rgb(example.pixels, site.frame.bands)), media_type="image/png", headers=KEPT)


def window_answer(flux: Any, bands: Sequence[str], pixel_scale: float) -> Response:
    """Pack a window as ``window`` describes it."""
    numbers, scale = pack(flux)
    headers = {
        **KEPT,
        "Scanner-Bands": ",".join(bands),
        "Scanner-Size": str(flux.shape[-1]),
        "Scanner-Pixel-Scale": f"{pixel_scale:.6f}",
    }
    return Response(
        scale.astype("<f4").tobytes() + numbers.tobytes(), media_type="application/octet-stream", headers=headers
    )


def _store(site: Site) -> Any:
    if site.cutouts is None:
        hint = "Start the server with --root, the folder of the images."
        raise ScannerError(ErrorCode.QUERY_NO_ROOT, "The server has no folder of images.", hint)
    return site.cutouts


def _spot(site: Site, ra: float, dec: float, tile: str) -> Spot:
    # A name of the catalogue's own tiles leads to no other file than theirs.
    if tile and not any(footer.tile == tile for footer in site.snapshot().footers):
        raise ScannerError(
            ErrorCode.QUERY_OUTSIDE_COVERAGE, f"The catalogue has no tile {tile!r}.", "Leave out the tile."
        )
    return Spot(ra % 360.0, dec, tile)


def _to_json(question: Question, answer: Answer, part: Table, known: Sequence[str], following: str | None) -> Any:
    columns = [
        {"name": name, "unit": str(part[name].unit or ""), "description": part[name].description or ""}
        for name in part.colnames
    ]
    return {
        "question": question.model_dump(exclude={"format"}),
        "examples": [
            {
                "name": one.name,
                "object_id": one.object_id,
                "ra": plain(one.ra),
                "dec": plain(one.dec),
                "is": describe_query(one),
            }
            for one in answer.examples
        ],
        "problems": [{"code": one.code, "message": one.message, "hint": one.hint} for one in answer.problems],
        "columns": columns,
        "rows": [
            {**{name: plain(value) for name, value in row.items()}, "known_as": name_of}
            for row, name_of in zip(row_values(part), known, strict=True)
        ],
        "next": following,
    }


def _shown(site: Site) -> tuple[str, ...]:
    """The columns of an object that its card shows."""
    return tuple(name for name in ("mag_auto", LENS_SCORE) if name in site.need_catalogue().schema.names)


def _fields(site: Site) -> list[dict[str, str]]:
    """The columns that a filter may use: name, type, unit and description."""
    columns = [field for field in site.need_catalogue().schema if field.name not in (EMBEDDING, HEALPIX)]
    return [{"unit": "", "description": "", **facts(one), "name": one.name, "kind": str(one.type)} for one in columns]


def _without(question: Question, number: int) -> str:
    parts = split_filter(question.where)
    return question.address(where=join_filter(parts[:number] + parts[number + 1 :]), offset=0)


def _drop(site: Site, question: Question, examples: Sequence[Example], one: Example) -> str:
    """Write the address of the question without one of its examples, naming the objects by their ids."""
    rest = [other for other in examples if other is not one]
    return question.address(
        at=[other.name for other in rest if other.object_id is None and other.ra is not None],
        id=[other.object_id for other in rest if other.object_id is not None],
        upload=[digest for digest in question.upload if site.uploads.get(digest) is not one],
        offset=0,
    )

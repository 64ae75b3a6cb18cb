"""HTML and JSON of the answers: templates, the choice between the two, and errors as both."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException

from catalogs.errors import ErrorCode, ScannerError

if TYPE_CHECKING:
    from astropy.table import Table

HERE = Path(__file__).parent
STATIC = HERE / "static"
PERSON, TOKEN = "scanner.person", "scanner.token"
"""Places in the scope of a request: the member of the team who asks, and the token of that person."""

_MISSING = {
    ErrorCode.QUERY_UNKNOWN_OBJECT,
    ErrorCode.QUERY_OUTSIDE_COVERAGE,
    ErrorCode.QUERY_NO_OBJECT,
    ErrorCode.MAP_MISSING,
    ErrorCode.HUNT_MISSING,
    ErrorCode.TILE_MISSING_FILE,
}
# Nothing is wrong with the request. The page keeps verdicts that are answered so, and sends them again.
_NOT_NOW = {
    ErrorCode.HUNT_NOT_SAVED,
    ErrorCode.HUNT_DAMAGED,
    ErrorCode.OUTPUT_FULL,
    ErrorCode.OUTPUT_NO_LOCKS,
    ErrorCode.OUTPUT_READ_ONLY,
}


def wants_html(request: Request) -> bool:
    """Whether the answer should be a page, or a part of one: programs ask for JSON or for anything.

    A browser asks for ``text/html``, and htmx, which asks for a part, for anything.
    """
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


@cache
def asset(name: str) -> str:
    """Write the address of a file of the page, with a digest, so that browsers may keep it for good."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def environment() -> Environment:
    """The templates; everything that they print is escaped."""
    made = Environment(
        loader=PackageLoader("scanner.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = asset
    made.filters |= {"number": show_number, "sky": sky_links, "angle": _path_part}
    return made


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page."""
    state, person = request.app.state, request.scope.get(PERSON)
    # An inspector of a team is blind, and the page must not hold the token of the server, which sees all.
    sees_all = person is None or person.chair
    text = (
        environment()
        .get_template(template)
        .render(
            catalogue=state.site.catalogue if sees_all else None,
            token=request.scope.get(TOKEN, state.token),
            has_images=state.site.cutouts is not None,
            has_project=state.hunter is not None and sees_all,
            has_team=state.hunter is not None and sees_all and state.hunter.has_plan,
            grades_as=person.name if person is not None and not sees_all else None,
            **values,
        )
    )
    return HTMLResponse(text, status, {"Vary": "Accept, HX-Request"})


def show_number(value: Any, digits: int = 3) -> str:
    """Write a number for people; a dash where there is none."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}f}" if math.isfinite(value) else "–"
    return str(value)


def sky_links(row: Any) -> list[tuple[str, str]]:
    """List pages of other services about a position, which open only when they are clicked."""
    ra, dec = float(row["ra"]), float(row["dec"])
    return [
        ("ESASky", f"https://sky.esa.int/esasky/?target={ra:.6f}%20{dec:.6f}&fov=0.02&cooframe=J2000&sci=true"),
        ("Legacy", f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"),
        (
            "SIMBAD",
            f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={ra:.6f}%20{dec:+.6f}&Radius=5&Radius.unit=arcsec",
        ),
    ]


def _path_part(value: Any) -> str:
    return quote(str(value), safe="")


def row_values(table: Table) -> list[dict[str, Any]]:
    """Make a dictionary of each row, of Python's own values: one of astropy's rows costs more than its card."""
    columns = [table[name].tolist() for name in table.colnames]
    return [dict(zip(table.colnames, values, strict=True)) for values in zip(*columns, strict=True)]


def plain(value: Any) -> Any:
    """Make a value of a table JSON: NaN and infinity, which JSON lacks, become null."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def install_errors(app: FastAPI) -> None:
    """Answer errors with their code, message and hint, as a page or as JSON."""

    def answer(request: Request, status: int, code: str, message: str, hint: str) -> Response:
        facts = {"code": code, "message": message, "hint": hint}
        if not wants_html(request):
            return JSONResponse(facts, status)
        template = "error_part.html" if "hx-request" in request.headers else "error.html"
        return page(request, template, status, error=facts)

    @app.exception_handler(ScannerError)
    def scanner_error(request: Request, error: ScannerError) -> Response:
        status = 404 if error.code in _MISSING else 503 if error.code in _NOT_NOW else 400
        return answer(request, status, error.code, error.message, error.hint)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return answer(
            request, 422, ErrorCode.WEB_BAD_REQUEST, f"The request cannot be read: {told}.", "See /openapi.json."
        )

    @app.exception_handler(HTTPException)
    def missing(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, ErrorCode.WEB_NO_PAGE, str(error.detail), "Start from the address /.")

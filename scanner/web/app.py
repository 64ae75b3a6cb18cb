"""The application: the routes of the page behind its guard."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from scanner import __version__
from scanner.web import hunt, maps, pages, search, sky, upload
from scanner.web.hunter import Hunter
from scanner.web.kept import Kept
from scanner.web.site import Site
from scanner.web.team.chair import router as chair_router
from scanner.web.team.grading import router as grading_router
from scanner.web.team.guard import TeamGuard


class Assets(StaticFiles):
    """Files of the page; an address with a digest leads to the same bytes for good."""

    def file_response(self, *args: Any, **options: Any) -> Any:
        response = super().file_response(*args, **options)
        scope = args[2] if len(args) > 2 else options["scope"]
        kept = "private, max-age=31536000, immutable" if b"v=" in scope["query_string"] else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def make_app(
    site: Site,
    hunter: Hunter | None = None,
    token: str | None = None,
    hosts: Collection[str] = (),
    cookie: str = "scanner",
) -> FastAPI:
    """Make the application of a site and its hunt.

    ``token`` (by default a new one) opens it, and ``hosts`` are names of the server besides those of loopback.
    """
    # The reference pages of FastAPI load scripts from elsewhere; /openapi.json has all that they show.
    app = FastAPI(title="scanner", version=__version__, docs_url=None, redoc_url=None)
    app.state.site, app.state.hunter = site, hunter
    app.state.token = token or secrets.token_urlsafe(32)
    app.include_router(search.router)
    app.include_router(upload.router)
    app.include_router(hunt.router)
    app.include_router(maps.router)
    app.include_router(sky.router)
    app.include_router(grading_router)
    app.include_router(chair_router)
    app.mount("/static", Assets(directory=pages.STATIC), name="static")
    pages.install_errors(app)
    folder = hunter.folder if hunter is not None else None
    app.add_middleware(Kept)
    app.add_middleware(TeamGuard, token=app.state.token, hosts=hosts, cookie=cookie, folder=folder)
    return app

"""The guard of a team: who asks, by token, and which addresses that person may have.

An inspector has the addresses of the own grades and nothing else, so that no answer can show a score or what others
say. A chair, and the token of the server itself, have all.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl

from scanner.inspection import team
from scanner.inspection.team import Inspector, Team
from scanner.web.guard import HEADERS, App, Guard, Receive, Scope, Send
from scanner.web.pages import PERSON, TOKEN


class TeamGuard:
    """A ``Guard`` for each member of the team of the project in ``folder``, and one for all others."""

    def __init__(
        self, app: App, token: str, hosts: Collection[str] = (), cookie: str = "scanner", folder: Path | None = None
    ) -> None:
        self._app, self._hosts, self._cookie, self._folder = app, hosts, cookie, folder
        self._server = Guard(app, token, hosts, cookie)
        self._lock = threading.Lock()
        self._team: Team | None = None
        self._state: tuple[int, int] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _token(scope, self._cookie) if scope["type"] == "http" else ""
        person = self._person(token) if token else None
        if person is None:
            await self._server(scope, receive, send)
        else:
            personal = _Personal(self._app, person, token)
            await Guard(personal, token, self._hosts, self._cookie)(scope, receive, send)

    def _person(self, token: str) -> Inspector | None:
        if self._folder is None:
            return None
        path = self._folder / team.FILE
        with self._lock:
            # Somebody may be invited while the server runs.
            try:
                found = path.stat()
            except FileNotFoundError:
                return None
            state = (found.st_mtime_ns, found.st_ino)
            if self._team is None or state != self._state:
                self._team, self._state = Team(self._folder), state
            return self._team.of_token(token)


class _Personal:
    """The application for one person."""

    def __init__(self, app: App, person: Inspector, token: str) -> None:
        self._app, self._person, self._token = app, person, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        home = "/team" if self._person.chair else f"/grade/{self._person.name}"
        path = scope["path"]
        if path == "/":
            await _answer(send, 303, {"location": home})
        elif self._person.chair or path == home or path.startswith((f"{home}/", "/static/")):
            await self._app({**scope, PERSON: self._person, TOKEN: self._token}, receive, send)
        else:
            message = f"{self._person.name} grades at {home}, blind to all else."
            await _answer(send, 403, {}, {"code": "inspect.blind", "message": message, "hint": f"Open {home}."})


def _token(scope: Scope, cookie: str) -> str:
    """The token that a request comes with: in its address, as a bearer, or as a cookie."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    in_address = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "")
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    if in_address or kind.lower() == "bearer":
        return str(in_address or bearer.strip())
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        morsel = None
    return str(morsel.value) if morsel else ""


async def _answer(send: Send, status: int, headers: dict[str, str], told: dict[str, str] | None = None) -> None:
    fields = {**HEADERS, "cache-control": "no-store", "content-type": "application/json", **headers}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": json.dumps(told).encode() if told else b""})

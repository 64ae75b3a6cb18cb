"""The guard before every request: who may ask, from which page, and what a browser may do with the answer.

Programs of this machine's other users reach 127.0.0.1 as well, so each request needs the token of the server: as a
cookie, which the printed address sets once, or as ``Authorization: Bearer``. Pages of other sites can make a browser
send requests with its cookies; ``Host`` and ``Origin`` tell those apart, and what changes state needs a header that no
foreign page can set.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from catalogs.errors import ErrorCode

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
SAFE = frozenset({"GET", "HEAD"})
TOKEN_HEADER = "x-scanner-token"
LARGEST_BODY = 64 * 2**20
"""Bytes of a request: an uploaded cutout is the largest."""

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets through what has the token, from this site; ``hosts`` are names of the server besides those of loopback."""

    def __init__(self, app: App, token: str, hosts: Collection[str] = (), cookie: str = "scanner") -> None:
        self._app, self._token, self._hosts, self._cookie = app, token, LOCAL | set(hosts), cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None and not self._has_token(headers):
            await self._admit(scope, send)
        elif refusal is not None:
            await _answer(send, 403, *refusal)
        else:
            await self._app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[str, str] | None:
        """Say why the request is refused, as code and message; None where it is not."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name not in self._hosts and f"[{name}]" not in self._hosts:
            return ErrorCode.WEB_BAD_HOST, f"This server is not called {host!r}; name it with --allow-host."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return ErrorCode.WEB_BAD_ORIGIN, "The request comes from a page of another site."
        if headers.get("sec-fetch-site", "none") == "cross-site" and scope["method"] not in SAFE:
            return ErrorCode.WEB_BAD_ORIGIN, "The request comes from a page of another site."
        if scope["method"] not in SAFE and not (self._bearer(headers) or self._same(headers.get(TOKEN_HEADER, ""))):
            return ErrorCode.WEB_NO_TOKEN, f"What changes state needs the token in the header {TOKEN_HEADER}."
        if (
            int(headers.get("content-length", "0") if headers.get("content-length", "0").isdigit() else "0")
            > LARGEST_BODY
        ):
            return ErrorCode.WEB_TOO_LARGE, f"The request is larger than {LARGEST_BODY // 2**20} MB."
        return None

    def _same(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def _bearer(self, headers: dict[str, str]) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._same(token.strip())

    def _has_token(self, headers: dict[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            morsel = None
        return self._bearer(headers) or (morsel is not None and self._same(morsel.value))

    async def _admit(self, scope: Scope, send: Send) -> None:
        """Set the cookie if the address holds the token, and take it out of the address; refuse any other request."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] in SAFE and any(name == "token" and self._same(value) for name, value in query):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            # The path begins with one slash, so that it cannot lead to another site.
            place = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000"
            await _answer(
                send, 303, headers={"location": place.encode("ascii", "ignore").decode(), "set-cookie": cookie}
            )
        else:
            message = "Open the address that scanner serve printed; it holds the token of this server."
            await _answer(send, 401, ErrorCode.WEB_NO_TOKEN, message)


def _limited(receive: Receive) -> Receive:
    """Cut off a body that is longer than it said."""
    size = 0

    async def limited() -> dict[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > LARGEST_BODY else message

    return limited


def _with_headers(send: Send) -> Send:
    async def sends(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
            # What depends on a session is kept by no shared cache.
            if b"cache-control" not in names:
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sends


async def _answer(
    send: Send, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None
) -> None:
    body = json.dumps({"code": code, "message": message}).encode() if code else b""
    fields = {**HEADERS, "content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

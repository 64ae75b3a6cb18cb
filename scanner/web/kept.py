"""Answers that a browser keeps: while this server runs they stay the same, and so they are not made again."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT = {"Cache-Control": "private, no-cache"}
"""Headers of an answer that stays the same while the server runs. A browser asks whether it still does."""


class Kept:
    """Tags such answers with a word of this run of the server, and answers 304 where the browser has the word.

    The next server of an address may show another project, catalogue or folder of images.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._tag = app, f'"{secrets.token_urlsafe(16)}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return

        async def tag(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if headers.get("Cache-Control") == KEPT["Cache-Control"]:
                    headers["ETag"] = self._tag
            await send(message)

        if self._tag in Headers(scope=scope).get("If-None-Match", ""):
            await Response(status_code=304, headers={**KEPT, "ETag": self._tag})(scope, receive, send)
        else:
            await self._app(scope, receive, tag)

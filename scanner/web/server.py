"""The server: it listens, says where, and stops on Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Collection

import uvicorn

from catalogs.errors import ErrorCode, ScannerError
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site

log = logging.getLogger(__name__)

BACKLOG = 512
"""Connections that may wait."""


def serve(
    site: Site,
    hunter: Hunter | None,
    host: str,
    port: int,
    *,
    token: str | None = None,
    hosts: Collection[str] = (),
    announce: Callable[[str], None] = log.info,
) -> None:
    """Serve a site and its hunt until it is interrupted; ``announce`` is called with the address, token included.

    ``port`` 0 is any free one. ``hosts`` are names that browsers may use for this machine besides ``host``.

    Raises:
        ScannerError: ``web.port``.
    """
    token = token or secrets.token_urlsafe(32)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        hint = "Give another --port; 0 takes any that is free."
        raise ScannerError(
            ErrorCode.WEB_PORT, f"Port {port} of {host} cannot be used: {error.strerror}.", hint
        ) from error
    with listener:
        # Whoever reads the address may ask at once: connections wait until the server runs.
        listener.listen(BACKLOG)
        bound = listener.getsockname()[1]
        names = {*hosts, host} - {"0.0.0.0", "::"}
        # Cookies do not tell ports apart, so that of each server has a name of its own.
        app = make_app(site, hunter, token, names, cookie=f"scanner-{bound}")
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{bound}/?token={token}")
        config = uvicorn.Config(
            app,
            backlog=BACKLOG,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        try:
            # Ctrl-C is how a server ends; it is nothing to resume.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            if hunter is not None:
                hunter.stop()

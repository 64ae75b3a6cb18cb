"""Downloads: one remote file to one local file, complete and of the announced size, or an error with a hint."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import random
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from catalogs.atomic import output_errors
from catalogs.errors import ErrorCode, ScannerError
from scanner.remote import vospace
from scanner.survey.urls import VOSPACE, scheme
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0, 16.0)
"""Seconds to wait before a failed transfer is retried; up to half as much is added at random."""

CONNECT, SILENCE = 30.0, 120.0
"""Timeouts in seconds: of a connection, and of a transfer that has stopped."""

SETUP = (ErrorCode.REMOTE_NOT_INSTALLED, ErrorCode.OUTPUT_FULL, ErrorCode.OUTPUT_READ_ONLY)
"""Codes of errors that every tile would have."""

_INSTALL = "pip install 'unions-scanner[remote]'"

Wait = Callable[[float], None]
"""Waits for a number of seconds; raises if the scan is stopped meanwhile."""


def fetch(url: str, target: Path, wait: Wait) -> None:
    """Copy ``url`` to ``target``, which appears complete or not at all; failed transfers are retried.

    Raises:
        FileNotFoundError: There is no such file.
        ScannerError: ``remote.denied``, ``remote.broken`` (after all tries), ``remote.unknown_scheme``, and ``SETUP``.
    """
    # A name of its own: two processes may share the folder.
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    for pause in (*PAUSES, None):
        try:
            with output_errors(part):
                _copy(url, part, wait)
                part.replace(target)
            return
        except (FileNotFoundError, ScannerError):
            raise
        except Exception as error:  # each kind of server has a library with errors of its own
            if pause is None:
                tries = len(PAUSES) + 1
                raise ScannerError(
                    ErrorCode.REMOTE_BROKEN,
                    f"{url} could not be fetched in {tries} tries: {_one_line(error)}.",
                    "Check the server and the network. The tile is retried on the next run.",
                ) from error
            log.info("%s: %s; retrying in some seconds.", url, _one_line(error))
            # Many workers retry at once after an outage: spread them.
            wait(pause * random.uniform(1.0, 1.5))
        finally:
            part.unlink(missing_ok=True)


def _copy(url: str, part: Path, wait: Wait) -> None:
    if scheme(url) in VOSPACE:
        vospace.copy(url, part, wait)
        return
    system, path = _file_system(url)
    try:
        announced = _receive(system, path, part, wait)
    except PermissionError as error:
        raise denied(url, _one_line(error)) from error
    except Exception as error:
        status = getattr(error, "status", None)
        if status in (401, 403, 407):
            raise denied(url, _one_line(error)) from error
        # 410 is "gone"; fsspec itself turns 404 into FileNotFoundError.
        if status == 410:
            raise FileNotFoundError(url) from error
        raise
    # A connection that breaks in the middle may look like the end of the file.
    received = part.stat().st_size
    if announced is not None and received != announced:
        raise OSError(f"received {received} bytes of {announced}")


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    try:
        import fsspec

        return fsspec.url_to_fs(url, **_settings(url))  # type: ignore[no-any-return]
    except ImportError as error:
        why = f"{scheme(url)}: URLs need a package that is not installed: {error}."
        raise ScannerError(ErrorCode.REMOTE_NOT_INSTALLED, why, _INSTALL) from error
    except ValueError as error:
        why = f"{url} cannot be fetched: {error}."
        raise ScannerError(
            ErrorCode.REMOTE_UNKNOWN_SCHEME, why, "Give http, https, s3, gs, vos, ... or a path."
        ) from error


def _settings(url: str) -> dict[str, Any]:
    """Options for HTTP: a timeout on pauses, not on the time of a large file; bytes without content encoding."""
    if scheme(url) not in ("http", "https"):
        return {}
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    return {"client_kwargs": {"timeout": patience, "trust_env": True}, "headers": {"Accept-Encoding": "identity"}}


def _receive(system: Any, path: str, part: Path, wait: Wait) -> int | None:
    """Copy a file; returns the announced size in bytes. The scan can be stopped meanwhile, or between two blocks."""
    from fsspec.callbacks import Callback

    class Blocks(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            wait(0.0)

    blocks = Blocks()
    # Over HTTP, fsspec's ``info`` reports every error, even a broken connection, as a missing file.
    size: int | None = None if "http" in system.protocol else system.info(path).get("size")
    if getattr(system, "async_impl", False):
        _run_until_stopped(system, system._get_file(path, str(part), callback=blocks), wait)
    else:
        system.get_file(path, str(part), callback=blocks)
    return blocks.size if size is None else size


def _run_until_stopped(system: Any, copying: Coroutine[Any, Any, None], wait: Wait) -> None:
    """Run a coroutine in the file system's own thread until it ends or ``wait`` raises, even if the server stalls."""
    running = asyncio.run_coroutine_threadsafe(copying, system.loop)
    try:
        while not concurrent.futures.wait([running], timeout=POLL).done:
            wait(0.0)
        running.result()
    finally:
        running.cancel()


def denied(url: str, why: str) -> ScannerError:
    """The error for a file that the server does not let us read."""
    hint = "Check your certificate, keys or tokens. S3 also denies missing files where listing is not allowed."
    return ScannerError(ErrorCode.REMOTE_DENIED, f"{url} may not be read: {why.rstrip('.')}.", hint)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

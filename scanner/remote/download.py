"""One remote file to one local file: whole, of the size that was announced, or an error that says what to do."""

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
"""Seconds to wait before a broken transfer is tried again, half as much again at most."""

CONNECT, SILENCE = 30.0, 120.0
"""Seconds after which a server that does not answer, or stops in the middle, counts as broken."""

SETUP = (ErrorCode.REMOTE_NOT_INSTALLED, ErrorCode.OUTPUT_FULL, ErrorCode.OUTPUT_READ_ONLY)
"""Codes of what is wrong with every tile."""

_INSTALL = "pip install 'unions-scanner[remote]'"

Wait = Callable[[float], None]
"""Waits for so many seconds; raises if the scan was stopped meanwhile."""


def fetch(url: str, target: Path, wait: Wait) -> None:
    """Copy ``url`` to ``target``, which appears whole or not at all; broken transfers are tried again.

    Raises ``FileNotFoundError`` where there is no such file, and ``ScannerError``: ``remote.denied``, ``remote.broken``
    (after all tries), ``remote.unknown_scheme``, and those of ``SETUP``.
    """
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
        except Exception as error:  # a library for each kind of server, each with errors of its own
            if pause is None:
                raise _broken(url, error) from error
            log.info("%s: %s; once more in some seconds.", url, _said(error))
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
        raise denied(url, _said(error)) from error
    except Exception as error:
        status = getattr(error, "status", None)
        if status in (401, 403, 407):
            raise denied(url, _said(error)) from error
        if status == 410:
            raise FileNotFoundError(url) from error
        raise
    received = part.stat().st_size
    if announced is not None and received != announced:
        raise OSError(f"{received} bytes came where {announced} were announced")


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    try:
        import fsspec

        return fsspec.url_to_fs(url, **_settings(url))  # type: ignore[no-any-return]
    except ImportError as error:
        why = f"{scheme(url)}: addresses need a package that is not installed: {error}."
        raise ScannerError(ErrorCode.REMOTE_NOT_INSTALLED, why, _INSTALL) from error
    except ValueError as error:
        why = f"{url} cannot be fetched: {error}."
        raise ScannerError(
            ErrorCode.REMOTE_UNKNOWN_SCHEME, why, "Give http, https, s3, gs, vos, ... or a path."
        ) from error


def _settings(url: str) -> dict[str, Any]:
    """For HTTP: no limit on the time of a large file, but on silence; and the bytes of the file, not of a packing."""
    if scheme(url) not in ("http", "https"):
        return {}
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    return {"client_kwargs": {"timeout": patience, "trust_env": True}, "headers": {"Accept-Encoding": "identity"}}


def _receive(system: Any, path: str, part: Path, wait: Wait) -> int | None:
    """Copy a file; the bytes that were announced. The scan may be stopped meanwhile, or at least between two blocks.

    Of HTTP, fsspec's ``info`` is not asked: to it any error, a broken connection too, is a file that is not there.
    """
    from fsspec.callbacks import Callback

    class Blocks(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            wait(0.0)

    blocks = Blocks()
    size: int | None = None if "http" in system.protocol else system.info(path).get("size")
    if getattr(system, "async_impl", False):
        _awaited(system, system._get_file(path, str(part), callback=blocks), wait)
    else:
        system.get_file(path, str(part), callback=blocks)
    return blocks.size if size is None else size


def _awaited(system: Any, copying: Coroutine[Any, Any, None], wait: Wait) -> None:
    """Let a coroutine run in the file system's own thread until it is through, or ``wait`` raises: a server that says
    nothing is not waited for."""
    running = asyncio.run_coroutine_threadsafe(copying, system.loop)
    try:
        while not concurrent.futures.wait([running], timeout=POLL).done:
            wait(0.0)
        running.result()
    finally:
        running.cancel()


def denied(url: str, why: str) -> ScannerError:
    """The server knows the file, perhaps, but does not give it to us."""
    hint = "Check your certificate, keys or tokens. S3 says so of a missing file too, where listing is not allowed."
    return ScannerError(ErrorCode.REMOTE_DENIED, f"{url} may not be read: {why.rstrip('.')}.", hint)


def _broken(url: str, error: Exception) -> ScannerError:
    why = f"{url} could not be fetched in {len(PAUSES) + 1} tries: {_said(error)}."
    hint = "The server or the network was down, or the file changes: the same command tries the tile again."
    return ScannerError(ErrorCode.REMOTE_BROKEN, why, hint)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

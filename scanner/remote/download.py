"""Downloads: one remote file to one local file, complete and of the announced size, or an error with a hint."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import logging
import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from catalogs.atomic import output_errors
from catalogs.errors import ErrorCode, ScannerError
from scanner.remote import vospace
from scanner.survey.urls import HTTP, VOSPACE, check, redact, scheme
from scanner.system.signals import POLL

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0, 16.0)
"""Seconds to wait before a failed transfer is retried; up to half as much is added at random."""

CONNECT, SILENCE = 30.0, 120.0
"""Timeouts in seconds: of a connection, and of a transfer that has stopped."""

LARGEST = 3 * 4 * 30_000**2
"""Bytes of a file: image, mask and variance of the largest image that is read."""

LARGEST_UNANNOUNCED = 4 * 30_000**2
"""Bytes of a file whose size the server does not announce, so that it may have no end: the image alone."""

SETUP = (ErrorCode.REMOTE_NOT_INSTALLED, ErrorCode.OUTPUT_FULL, ErrorCode.OUTPUT_READ_ONLY)
"""Codes of errors that every tile would have."""

_INSTALL = "pip install 'unions-scanner[remote]'"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NEARLY_FULL = 100_000_000

Wait = Callable[[float], None]
"""Waits for a number of seconds; raises if the scan is stopped meanwhile."""


def fetch(url: str, target: Path, wait: Wait, limit: float) -> None:
    """Copy ``url`` to ``target``, which appears complete or not at all, within ``limit`` seconds.

    Failed transfers are retried.

    Raises:
        FileNotFoundError: There is no such file.
        ScannerError: ``remote.denied``, ``remote.broken`` (after all tries), ``remote.too_slow``, ``remote.too_large``,
            ``remote.encoded``, ``remote.bad_url``, ``remote.unknown_scheme``, and ``SETUP``.
    """
    check(url)
    end = time.monotonic() + limit

    def wait_in_time(seconds: float) -> None:
        if time.monotonic() > end:
            why = f"{redact(url)} was not fetched within {limit:g} s."
            raise ScannerError(ErrorCode.REMOTE_TOO_SLOW, why, "Check the server; raise --time-limit if it is slow.")
        wait(seconds)

    # A name of its own: two processes may share the folder.
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    for pause in (*PAUSES, None):
        try:
            _copy(url, part, wait_in_time)
            part.replace(target)
            return
        except (FileNotFoundError, ScannerError):
            raise
        except Exception as error:  # each kind of server has a library with errors of its own
            if pause is None:
                raise _broken(url, part, error) from error
            log.info("%s: %s; retrying in some seconds.", redact(url), _one_line(error))
            # Many workers retry at once after an outage: spread them.
            wait_in_time(pause * random.uniform(1.0, 1.5))
        finally:
            part.unlink(missing_ok=True)


def _broken(url: str, part: Path, error: Exception) -> ScannerError:
    """The error for a file whose transfer failed each time: of the disk if that was full, else of the server."""
    if isinstance(error, OSError) and error.errno in _FULL:
        try:
            with output_errors(part):
                raise error
        except ScannerError as full:
            return full
    return ScannerError(
        ErrorCode.REMOTE_BROKEN,
        f"{redact(url)} could not be fetched in {len(PAUSES) + 1} tries: {_one_line(error)}.",
        "Check the server and the network. The tile is retried on the next run.",
    )


def _copy(url: str, part: Path, wait: Wait) -> None:
    if scheme(url) in VOSPACE:
        vospace.copy(url, part, wait)
        return
    system, path = _file_system(url)
    body = Body(url, part.parent, wait)
    try:
        _receive(system, path, part, body)
    except PermissionError as error:
        raise denied(url, _one_line(error)) from error
    except Exception as error:
        status = getattr(error, "status", None)
        if status in (401, 403, 407):
            raise denied(url, _one_line(error)) from error
        # 410 is "gone"; fsspec itself turns 404 into FileNotFoundError.
        if status == 410:
            raise FileNotFoundError(url) from error
        if isinstance(error, OSError) and error.errno in _FULL:
            part.unlink(missing_ok=True)
            body.check_room()
        raise
    # A connection that breaks in the middle may look like the end of the file.
    received = part.stat().st_size
    if body.announced is not None and received != body.announced:
        raise OSError(f"received {received} bytes of {body.announced}")


class Body:
    """What is received of a file: its announced size in bytes (None: not announced), and the bytes so far.

    ``folder`` is where it is written to.
    """

    def __init__(self, url: str, folder: Path, wait: Wait) -> None:
        self.wait, self._url, self._folder, self._received = wait, url, folder, 0
        self.announced: int | None = None

    def announce(self, size: int | None) -> None:
        """Take the size that the server says; ``remote.too_large``, or ``OSError`` where the disk has no space."""
        self.announced = size
        if size is not None and size > LARGEST:
            raise self._too_large(f"is {size:,} bytes large, more than any image ({LARGEST:,})")
        if size is not None and size > shutil.disk_usage(self._folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def receive(self, count: int) -> None:
        """Count a block; the scan can be stopped here."""
        self.wait(0.0)
        self._received += count
        if self.announced is None and self._received > LARGEST_UNANNOUNCED:
            raise self._too_large(f"has no announced size, and has not ended after {LARGEST_UNANNOUNCED:,} bytes")

    def check_room(self) -> None:
        """After a full disk: raise ``remote.too_large`` if the file itself is to blame, and others may have space."""
        free = shutil.disk_usage(self._folder).free
        if free > _NEARLY_FULL and (self.announced is None or self.announced > free):
            size = "has no announced size" if self.announced is None else f"is {self.announced:,} bytes large"
            raise self._too_large(f"{size} and does not fit in {self._folder}, where {free:,} bytes are free")

    def _too_large(self, why: str) -> ScannerError:
        hint = "Check the file on the server. If it is real, give a --scratch with more space."
        return ScannerError(ErrorCode.REMOTE_TOO_LARGE, f"{redact(self._url)} {why}.", hint)


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Chains of URLs are never followed."""
    name = scheme(url)
    url = name + url[len(name) :]
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(name)
        return kind(**kind._get_kwargs_from_urls(url), **_settings(url)), kind._strip_protocol(url)
    except ImportError as error:
        why = f"{name}: URLs need a package that is not installed: {error}."
        raise ScannerError(ErrorCode.REMOTE_NOT_INSTALLED, why, _INSTALL) from error
    except ValueError as error:
        why = f"{redact(url)} cannot be fetched: {_one_line(error)}."
        raise ScannerError(ErrorCode.REMOTE_BAD_URL, why, "Check the URL.") from error


def _settings(url: str) -> dict[str, Any]:
    """Options for HTTP: a timeout on pauses, and the bytes of the file as they are, without content encoding."""
    if scheme(url) not in HTTP:
        return {}
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    session = {"timeout": patience, "trust_env": True, "auto_decompress": False, "raise_for_status": _check_response}
    return {"client_kwargs": session, "headers": {"Accept-Encoding": "identity"}}


async def _check_response(response: Any) -> None:
    """Refuse an answer that is not the whole file as it is: a small body may unpack to any size."""
    if response.status >= 400:  # fsspec tells these apart
        return
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    # Servers may call the compression of the file itself an encoding.
    as_it_is = encoding in ("", "identity") or (encoding in ("gzip", "x-gzip") and response.url.path.endswith(".gz"))
    if response.status == 200 and as_it_is:
        return
    response.close()
    if as_it_is:  # a part of the file, or a redirection to nowhere
        raise OSError(f"the server answered with status {response.status}")
    why = f"{redact(str(response.url))} came with Content-Encoding {encoding!r}, although none was accepted."
    raise ScannerError(ErrorCode.REMOTE_ENCODED, why, "Disable compression of these files on the server.")


def _receive(system: Any, path: str, part: Path, body: Body) -> None:
    """Copy a file. The scan can be stopped meanwhile, or between two blocks."""
    from fsspec.callbacks import Callback

    class Blocks(Callback):  # type: ignore[misc]
        def set_size(self, size: int | None) -> None:
            body.announce(size)

        def relative_update(self, inc: int = 1) -> None:
            body.receive(inc)

    # Over HTTP, fsspec's ``info`` reports every error, even a broken connection, as a missing file.
    announces = "http" not in system.protocol
    if getattr(system, "async_impl", False):
        if announces:
            body.announce(_run_until_stopped(system, system._info(path), body.wait).get("size"))
        _run_until_stopped(system, system._get_file(path, str(part), callback=Blocks()), body.wait)
    else:
        if announces:
            body.announce(system.info(path).get("size"))
        system.get_file(path, str(part), callback=Blocks())


def _run_until_stopped(system: Any, coroutine: Coroutine[Any, Any, Any], wait: Wait) -> Any:
    """Run a coroutine in the file system's own thread until it ends or ``wait`` raises, even if the server stalls."""
    running = asyncio.run_coroutine_threadsafe(coroutine, system.loop)
    try:
        while not concurrent.futures.wait([running], timeout=POLL).done:
            wait(0.0)
        return running.result()
    finally:
        running.cancel()


def denied(url: str, why: str) -> ScannerError:
    """The error for a file that the server does not let us read."""
    hint = "Check your certificate, keys or tokens. S3 also denies missing files where listing is not allowed."
    return ScannerError(ErrorCode.REMOTE_DENIED, f"{redact(url)} may not be read: {why.rstrip('.')}.", hint)


def _one_line(error: Exception) -> str:
    return redact(" ".join(str(error).split()).rstrip(".")) or type(error).__name__

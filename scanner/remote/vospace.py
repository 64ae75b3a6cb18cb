"""Files of CANFAR's VOSpace, through its own programs ``vls`` and ``vcp``, which are run, never imported.

``vcp`` gives the same error for a missing file and for one that may not be read. So ``vls`` lists each folder once: an
expired certificate must not look like a missing band.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey.urls import redact
from scanner.system.signals import POLL

_NOT_THERE = re.compile(r"node ?not ?found|notfoundexception|(?<![\w./])404(?![\w./])", re.IGNORECASE)
"""Messages of the service and of ``vls`` for a missing node, not for a missing host, nor a name with 404 in it."""
_DENIED = ("permission", "forbidden", "unauthorized", "not authorized", "certificate", "can't access")
_turn = threading.Lock()
listings: dict[str, frozenset[str]] = {}
"""Names in each folder that was listed."""


def copy(url: str, target: Path, wait: Callable[[float], None]) -> None:
    """Copy a file of VOSpace; ``vcp`` verifies its checksum.

    Raises:
        FileNotFoundError: Its folder does not list it.
        ScannerError: ``remote.denied``, ``remote.not_installed``.
        OSError: The transfer failed.
    """
    folder, _, name = url.rpartition("/")
    with _turn:  # one listing at a time, and each only once
        listing = names(_program("vls"), folder, wait)
    if name not in listing:
        raise FileNotFoundError(url)
    try:
        _run([_program("vcp"), url, str(target)], url, wait)
    except FileNotFoundError as error:  # it is in the listing, so something else is wrong
        raise OSError(str(error)) from error
    if not target.is_file():
        raise OSError("vcp left no file")


def names(program: str, folder: str, wait: Callable[[float], None]) -> frozenset[str]:
    """Names in a folder, none if there is no such folder; each folder is listed once."""
    if folder not in listings:
        try:
            listings[folder] = frozenset(_run([program, folder], folder, wait).splitlines())
        except FileNotFoundError:
            listings[folder] = frozenset()
    return listings[folder]


def _run(command: list[str], url: str, wait: Callable[[float], None]) -> str:
    """Standard output of a program, which is killed if ``wait`` raises."""
    # Files, not pipes: a program that writes much must not block while nothing reads.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            while process.poll() is None:
                wait(POLL)
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode:
            message = " ".join(err.read().decode(errors="replace").split())
            raise _error(url, message or f"exit status {process.returncode}")
        return out.read().decode(errors="replace")


def _error(url: str, message: str) -> Exception:
    """What the message of a program means."""
    if any(sign in message.lower() for sign in _DENIED):
        hint = "Get a new certificate with cadc-get-cert, and check that you may read the folder."
        return ScannerError(ErrorCode.REMOTE_DENIED, f"{redact(url)} may not be read: {message}.", hint)
    return FileNotFoundError(message) if _NOT_THERE.search(message) else OSError(message)


def _program(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise ScannerError(
            ErrorCode.REMOTE_NOT_INSTALLED,
            f"vos: URLs need the program {name}, which is not on the PATH.",
            "pip install vos installs vcp and vls (separate programs under their own licence, AGPL).",
        )
    return program

"""CANFAR's VOSpace through its own programs, ``vls`` and ``vcp``, where the user has them: run, never imported.

``vcp`` says the same of a file that is not there and of one that may not be read. What is there is told by ``vls``,
once for each folder: an expired certificate must not look like a survey without a band.
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
from scanner.system.signals import POLL

_NOT_THERE = re.compile(r"node ?not ?found|notfoundexception|(?<![\w./])404(?![\w./])", re.IGNORECASE)
"""A missing node as the service and ``vls`` put it; a missing host, library or program is said in other words, and the
404 of a tile's name has a neighbour."""
_DENIED = ("permission", "forbidden", "unauthorized", "not authorized", "certificate", "can't access")
_turn = threading.Lock()
listings: dict[str, frozenset[str]] = {}
"""What folders hold, as ``vls`` said it."""


def copy(url: str, target: Path, wait: Callable[[float], None]) -> None:
    """Copy a file of VOSpace; ``vcp`` checks its sum. ``FileNotFoundError`` where its folder does not list it.

    Raises ``ScannerError`` ``remote.denied`` and ``remote.not_installed``; ``OSError`` where it broke.
    """
    folder, _, name = url.rpartition("/")
    with _turn:  # one listing at a time, and each only once
        listed = names(_program("vls"), folder, wait)
    if name not in listed:
        raise FileNotFoundError(url)
    try:
        _run([_program("vcp"), url, str(target)], url, wait)
    except FileNotFoundError as error:  # it was listed, so this is something else, or it was just removed
        raise OSError(str(error)) from error
    if not target.is_file():
        raise OSError("vcp left no file")


def names(program: str, folder: str, wait: Callable[[float], None]) -> frozenset[str]:
    """Names of what a folder holds, none if there is no such folder; asked once."""
    if folder not in listings:
        try:
            listings[folder] = frozenset(_run([program, folder], folder, wait).splitlines())
        except FileNotFoundError:
            listings[folder] = frozenset()
    return listings[folder]


def _run(command: list[str], url: str, wait: Callable[[float], None]) -> str:
    """Standard output of a program, which is ended if ``wait`` raises."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
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
            raise _failed(url, " ".join(err.read().split()) or f"exit status {process.returncode}")
        return out.read()


def _failed(url: str, said: str) -> Exception:
    plain = said.lower()
    if any(sign in plain for sign in _DENIED):
        hint = "Get a new certificate with cadc-get-cert, and check that you may read the folder."
        return ScannerError(ErrorCode.REMOTE_DENIED, f"{url} may not be read: {said}.", hint)
    if _NOT_THERE.search(said):
        return FileNotFoundError(said)
    return OSError(said)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ScannerError(
            ErrorCode.REMOTE_NOT_INSTALLED,
            f"vos: addresses need the program {name}, which is not on the PATH.",
            "pip install vos brings vcp and vls (a separate program, under its own licence: AGPL).",
        )
    return found

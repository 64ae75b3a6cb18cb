"""Scratch folders for copies on a local disk: each belongs to one process and is removed with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
from pathlib import Path

from catalogs.atomic import output_errors
from catalogs.records import load_json

if sys.platform != "win32":
    import fcntl

_PREFIX = "unions-scanner-"
_MARKER = "scratch.json"
_KIND = "scratch folder of unions-scanner"
"""What the marker says it is the marker of: other folders may have the prefix, or a file of that name."""


class Scratch:
    """A folder in ``parent`` (default: that for temporary files) as long as the ``with`` block lasts.

    Scratch folders that killed processes of this user left on this machine are removed first. Nothing else is, whatever
    its name: see ``_is_left_behind``.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent or Path(tempfile.gettempdir())
        self._counter = itertools.count()

    def __enter__(self) -> Scratch:
        with output_errors(self._parent, creating=True):
            self._parent.mkdir(parents=True, exist_ok=True)
            _sweep(self._parent)
            self._folder, self._marker = _own_folder(self._parent)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._marker)
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_folder(self) -> Path:
        """Make a folder in it."""
        folder = self._folder / str(next(self._counter))
        with output_errors(folder):
            folder.mkdir()
        return folder

    def remove(self, folder: Path) -> None:
        """Remove one of its folders."""
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove the scratch folders of processes that are gone."""
    if sys.platform == "win32":  # without locks, a process that still runs cannot be told from one that is gone
        return
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            # Nothing is opened through a link, and a FIFO is not waited for.
            descriptor = os.open(folder / _MARKER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # without a marker, or of another user
            continue
        try:
            # The kernel frees the lock of a process that is gone.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_left_behind(folder, descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, or on a disk without locks
            pass
        finally:
            os.close(descriptor)


def _is_left_behind(folder: Path, marker: int) -> bool:
    """Whether ``folder`` is scratch that this user made on this machine, and holds copies of tiles alone."""
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or not stat.S_ISREG(os.fstat(marker).st_mode):
        return False
    # A file that somebody put there stays, with the copies beside it.
    if not all(path.name == _MARKER or path.name.isdecimal() for path in folder.iterdir()):
        return False
    try:
        facts = load_json(os.read(marker, 4096))
    except ValueError:
        return False
    # Locks of a shared disk may not reach other machines.
    return isinstance(facts, dict) and (facts.get("kind"), facts.get("host")) == (_KIND, socket.gethostname())


def _own_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, and the open descriptor of its marker, which is locked as long as the process runs."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    marker = os.open(folder / _MARKER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    if sys.platform != "win32":
        # On a disk without locks no process can have one, so nothing is ever removed there.
        with contextlib.suppress(OSError):
            fcntl.flock(marker, fcntl.LOCK_EX)
    facts = {"kind": _KIND, "host": socket.gethostname(), "process": os.getpid()}
    os.write(marker, json.dumps(facts).encode())
    return folder, marker

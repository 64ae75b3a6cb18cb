"""Room for copies on a local disk: a folder of this process' own, gone with it, or swept up by the next one."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from catalogs.atomic import output_errors

if sys.platform != "win32":
    import fcntl

_PREFIX = "unions-scanner-"
_LOCK = ".lock"


class Scratch:
    """A folder below ``parent`` (default: that for temporary files) as long as the ``with`` block lasts.

    Folders of processes that were killed are removed first: nobody holds their locks.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent or Path(tempfile.gettempdir())
        self._counter = itertools.count()

    def __enter__(self) -> Scratch:
        with output_errors(self._parent):
            self._parent.mkdir(parents=True, exist_ok=True)
            _sweep(self._parent)
            self._folder, self._lock = _own_folder(self._parent)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        shutil.rmtree(self._folder, ignore_errors=True)

    def room(self) -> Path:
        """A new folder in it."""
        folder = self._folder / str(next(self._counter))
        with output_errors(folder):
            folder.mkdir()
        return folder

    def clear(self, room: Path) -> None:
        """Remove one of its folders."""
        shutil.rmtree(room, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:  # somebody else's
            continue
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # in use
            pass
        finally:
            os.close(descriptor)


def _own_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor of its lock, which is held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _locked(folder / _LOCK)
        if (folder / _LOCK).exists():  # a sweeper may have taken it between its creation and its lock
            return folder, lock
        os.close(lock)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor

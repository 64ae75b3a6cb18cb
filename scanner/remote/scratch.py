"""Scratch folders for copies on a local disk: each belongs to one process and is removed with it."""

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
    """A folder in ``parent`` (default: that for temporary files) as long as the ``with`` block lasts.

    Folders of processes that were killed, whose locks are free, are removed first.
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
    """Remove the folders of processes that are gone."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        # The kernel frees the lock of a process that is gone.
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:  # of another user
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
    """A new folder, and the open descriptor of its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _open_locked(folder / _LOCK)
        # Another process may have removed it between its creation and its lock.
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _open_locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
